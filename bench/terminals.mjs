// The same program in a terminal of this process, in the daemon's, and in those of multiplexers seen in a terminal here.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const size = { columns: 80, rows: 24 }
const environment = { ...process.env, TERM: 'xterm-256color' }

/** A terminal of this process, read in the way that the daemon reads its own. */
export class OwnTerminal {
  #listener = () => {}
  #master
  received = 0
  /** Resolves when all of the program's output was read. */
  ended

  constructor({ Master, pty }, command) {
    const { master, pid, exited } = pty.fork(command[0], command.slice(1), { env: environment, cwd: '/', size })
    this.pid = pid
    const { promise, resolve } = withResolvers()
    this.ended = promise
    this.#master = new Master(master, {
      data: (bytes) => {
        this.received += bytes.length
        this.#listener(bytes)
      },
      end: () => {
        this.#master.close()
        exited.then(resolve)
      },
    })
    this.#master.start()
  }

  /** @param listener Called with bytes that are valid during the call. */
  onData(listener) {
    this.#listener = listener
  }

  write(bytes) {
    this.#master.write(bytes)
  }

  async end() {
    endIfThere(this.pid)
    await this.ended
  }
}

const withResolvers = () => {
  let resolve
  const promise = new Promise((done) => {
    resolve = done
  })
  return { promise, resolve }
}

/** A session of a daemon, behind the same interface. */
export class DaemonTerminal {
  #listener = () => {}
  received = 0

  constructor(session) {
    this.session = session
    this.ended = this.#follow()
  }

  static async open(client, command) {
    return new DaemonTerminal(await client.open({ command }))
  }

  onData(listener) {
    this.#listener = listener
  }

  write(bytes) {
    return this.session.write(bytes)
  }

  async end() {
    await this.session.signal('SIGKILL')
    await this.ended
  }

  async #follow() {
    for await (const { bytes } of this.session.output({ from: 'start' })) {
      if (bytes === undefined) continue
      this.received += bytes.length
      this.#listener(bytes)
    }
    await this.session.exit
  }
}

/** A session of a daemon, seen in a terminal here by a client that is a program of its own: as multiplexers are seen. */
export async function attachedTerminal({ own, sources, client, socket, command }) {
  const { id } = await client.open({ command })
  const attach = fileURLToPath(new URL('./attach.mjs', import.meta.url))
  const terminal = new OwnTerminal(own, [process.execPath, attach, sources, socket, id])
  // It draws the screen once it is there.
  await new Promise((resolve) => terminal.onData(resolve))
  return terminal
}

/** A terminal behind `relay.mjs`, behind the same interface, and reached in the way that clients reach a daemon. */
export class RelayedTerminal {
  #socket
  #direct
  #listener = () => {}

  constructor(socket, direct) {
    this.#socket = socket
    this.#direct = direct
    direct.receiveDirectly(socket, (bytes) => this.#listener(bytes))
  }

  static async open(sources, directory, command) {
    const path = join(directory, socketName())
    const relay = spawn(
      process.execPath,
      [fileURLToPath(new URL('./relay.mjs', import.meta.url)), sources, path, ...command],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
      },
    )
    relay.unref()
    while (!existsSync(path)) await sleep(20)
    const socket = connect(path)
    await once(socket, 'connect')
    return new RelayedTerminal(socket, await import(join(sources, 'src/sessions/pipe-handle.js')))
  }

  onData(listener) {
    this.#listener = listener
  }

  write(bytes) {
    this.#direct.sendDirectly(this.#socket, [bytes])
  }

  async end() {
    this.#socket.destroy()
  }
}

export const isThere = (program) => spawnSync('sh', ['-c', 'command -v "$0"', program]).status === 0

/** Multiplexers: what to run in a terminal so that `command` runs in theirs and is seen there. */
export const multiplexers = {
  async dtach(directory, command) {
    const socket = join(directory, socketName())
    // What runs in it is all that ends it.
    const named = ['sh', '-c', 'echo $$ > "$0"; exec "$@"', `${socket}.pid`, ...command]
    return {
      command: ['dtach', '-c', socket, '-E', '-z', '-r', 'none', ...named],
      close: () => endIfThere(Number(readFileSync(`${socket}.pid`, 'latin1'))),
    }
  },
  async tmux(directory, command) {
    const socket = join(directory, socketName())
    const configuration = join(directory, 'tmux.conf')
    if (!existsSync(configuration)) await writeFile(configuration, 'set -g status off\nset -s escape-time 0\n')
    return {
      command: ['tmux', '-S', socket, '-f', configuration, 'new-session', command.join(' ')],
      close: () => void spawnSync('tmux', ['-S', socket, 'kill-server']),
    }
  },
}

function endIfThere(pid) {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has come to its own end.
  }
}

let sockets = 0
const socketName = () => `mux-${++sockets}`

/** How long a printing program that waits for a key takes from there to its end; and how much of it arrived. */
export async function timeToEnd(terminal) {
  await quiet(terminal)
  const start = performance.now()
  terminal.write(letters.subarray(0, 1))
  await terminal.ended
  return { ms: performance.now() - start, received: terminal.received }
}

const letters = Buffer.from('abcdefghijklmnopqrstuvwxyz')

/** Milliseconds from a key to what it prints, `count` times. */
export async function echoTimes(terminal, count) {
  let heard = () => {}
  terminal.onData(() => heard())
  const times = []
  for (let index = 0; index < count; index += 1) {
    const start = performance.now()
    const answered = new Promise((resolve) => {
      heard = resolve
    })
    terminal.write(letters.subarray(index % letters.length, (index % letters.length) + 1))
    await answered
    times.push(performance.now() - start)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  terminal.onData(() => {})
  return times
}

/** Resolves when nothing was printed for a while. */
export async function quiet(terminal, ms = 150) {
  await new Promise((resolve) => {
    let timer = setTimeout(resolve, ms * 4)
    terminal.onData(() => {
      clearTimeout(timer)
      timer = setTimeout(resolve, ms)
    })
  })
  terminal.onData(() => {})
}
