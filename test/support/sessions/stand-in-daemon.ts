import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bindDirectory, socketName } from '../../../src/sessions/daemon-place.ts'
import {
  type DaemonInfo,
  FrameReader,
  frameTypes,
  type HandoffResult,
  jsonFrame,
  type Method,
  numberedFrame,
  Request,
  readJson,
  splitNumbered,
} from '../../../src/sessions/protocol.ts'

/**
 * A daemon without terminals that says of itself what its first argument tells, as JSON. It stands where a real one would
 * take too long, or would not fail as a test wants it to.
 */
export interface Part {
  readonly version: string
  readonly sessions?: number
  /** What becomes of an upgrade; it is handed over where absent. */
  readonly upgrade?: 'nak' | 'dies'
  /** How long it goes on after it has handed over. */
  readonly lingersMs?: number
  /** Ends with this on its standard error instead of serving. */
  readonly refuses?: string
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  strict: false,
  options: { directory: { type: 'string' }, name: { type: 'string' }, generation: { type: 'string' } },
})
const [told = '{}', mode] = positionals
const { version, sessions = 0, upgrade, lingersMs = 100, refuses }: Part = JSON.parse(told)
const { directory, name } = values as { directory: string; name: string }
const path = join(await bindDirectory(directory), socketName)
const generation = Number(values.generation ?? 1)
const clients = new Set<Socket>()

if (refuses !== undefined) {
  process.stderr.write(`${refuses}\n`)
  process.exit(1)
}

const server = createServer((socket) => {
  clients.add(socket)
  socket.on('close', () => clients.delete(socket)).on('error', () => {})
  const reader = new FrameReader()
  socket.on('data', (bytes) => {
    for (const { type, payload } of reader.push(bytes)) {
      if (type === frameTypes.hello) welcome(socket)
      if (type === frameTypes.request) void answer(socket, payload)
    }
  })
})
if (mode === 'successor') rmSync(path, { force: true })
server.listen(path, () => process.send?.('ready'))

function welcome(socket: Socket): void {
  socket.write(jsonFrame(frameTypes.welcome, { protocol: 1, capabilities: [], version, pid: process.pid }))
}

async function answer(socket: Socket, payload: Buffer): Promise<void> {
  const { number, body } = splitNumbered(payload)
  const { method, params } = readJson(Request, body, 'a request')
  const reply = (result: unknown) =>
    new Promise<void>((resolve) => socket.write(numberedFrame(frameTypes.result, number, result), () => resolve()))
  switch (method as Method) {
    case 'info':
      return reply(info())
    case 'list':
      return reply({ sessions: [] })
    case 'stop':
      await reply({ sessions })
      rmSync(path, { force: true })
      return process.exit(0)
    case 'upgrade':
      return handOver((params as { command?: string[] }).command ?? [], reply)
    default:
      socket.write(numberedFrame(frameTypes.error, number, { code: 'METHOD_UNKNOWN', message: `no ${method}` }))
  }
}

function info(): DaemonInfo {
  return {
    name,
    version,
    node: process.versions.node,
    pid: process.pid,
    generation,
    startedAt: Date.now(),
    keeper: null,
    sessions,
    connections: clients.size,
  }
}

async function handOver(command: readonly string[], reply: (result: HandoffResult) => Promise<void>): Promise<void> {
  const kept = { outcome: 'kept', predecessor: process.pid, successor: null, sessions, freezeMs: null } as const
  if (upgrade === 'dies') process.exit(9)
  if (upgrade === 'nak') return reply({ ...kept, reason: { code: 'SNAPSHOT_INVALID', message: 'no' } })
  const [program = '', ...args] = command
  const next = String(generation + 1)
  const child = spawn(program, [...args, 'successor', '--directory', directory, '--name', name, '--generation', next], {
    detached: true,
    stdio: ['ignore', 1, 2, 'ipc'],
  })
  await new Promise((resolve) => child.once('message', resolve))
  for (const client of clients)
    client.write(jsonFrame(frameTypes.event, { type: 'handed-over', version: 'next', pid: child.pid }))
  await reply({ ...kept, outcome: 'handed-over', successor: child.pid!, freezeMs: 1.5, reason: null })
  // A little later, so that whoever asks for the version too early hears it from the wrong one.
  setTimeout(() => process.exit(0), lingersMs)
}
