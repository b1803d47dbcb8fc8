// A runtime for tests. Its arguments are what it does, one after the other:
//
//   print:TEXT  complain:TEXT   a line on stdout, on stderr
//   after:MS                    waits
//   listen:PORT                 answers every request; INSTAR_NONCE in the header x-nonce, MARKER and its arguments in the body
//   status:CODE                 of those answers; before it listens
//   mute                        accepts connections and never answers
//   ready  ready:URL            sends { type: 'ready', nonce, url }
//   message:JSON                sends that
//   helper  daemon              starts another process in this group, in a group of its own; prints its pid
//   stubborn                    ignores SIGTERM
//   environment:NAME            prints NAME=value
//   where                       prints the working directory
//   record:PATH                 prints whether a record with this pid lies there
//   idle                        lives until it is ended
//   exit:CODE  throw:TEXT  die:SIGNAL
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createSocketServer } from 'node:net'

let status = 200

const steps = {
  print: (text) => console.log(text),
  complain: (text) => console.error(text),
  after: (ms) => new Promise((resolve) => setTimeout(resolve, Number(ms))),
  status: (code) => {
    status = Number(code)
  },
  listen: (port) => {
    const server = createServer((_, response) => {
      response.writeHead(status, { 'x-nonce': process.env.INSTAR_NONCE ?? '' })
      response.end(`<title>MARKER</title> ${process.argv.slice(2).join(' ')}`)
    })
    return listening(server, port)
  },
  mute: (port) =>
    listening(
      createSocketServer(() => {}),
      port,
    ),
  ready: (url) => process.send({ type: 'ready', nonce: process.env.INSTAR_NONCE, ...(url && { url }) }),
  message: (json) => process.send(JSON.parse(json)),
  helper: () => start({ detached: false }),
  daemon: () => start({ detached: true }),
  stubborn: () => process.on('SIGTERM', () => console.log('not now')),
  environment: (name) => console.log(`${name}=${process.env[name]}`),
  where: () => console.log(`in ${process.cwd()}`),
  record: (path) => {
    const pid = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).pid : undefined
    console.log(`recorded: ${pid === process.pid}`)
  },
  idle: () => new Promise(() => setInterval(() => {}, 60_000)),
  exit: (code) => process.exit(Number(code)),
  throw: (text) => {
    throw new Error(text)
  },
  die: (signal) => {
    process.kill(process.pid, signal)
    return steps.idle()
  },
}

function listening(server, port) {
  return new Promise((resolve, reject) => server.once('error', reject).listen(Number(port), '127.0.0.1', resolve))
}

function start(options) {
  const { pid } = spawn(process.execPath, ['-e', 'setInterval(() => {}, 60_000)'], { stdio: 'ignore', ...options })
  console.log(`started ${pid}`)
}

for (const argument of process.argv.slice(2)) {
  const [, name, value] = /^(\w+):?(.*)$/s.exec(argument)
  await steps[name](value)
}
