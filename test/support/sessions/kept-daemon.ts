// A daemon with nothing but what a keeper sees of one. It does what it is asked over the listening socket, one line of
// JSON at a time.
import { spawn } from 'node:child_process'
import { appendFileSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { KeeperChannel } from '../../../src/sessions/keeper-channel.ts'
import { Master } from '../../../src/sessions/master.ts'
import { loadNativePty } from '../../../src/sessions/native-pty.ts'
import type { DescriptorSocket } from '../../../src/sessions/send-descriptor.ts'

export interface Row {
  readonly descriptor: number
  readonly handle: number
  readonly pid: number
  readonly meta: string
}

/** What it can be asked. */
export interface Requests {
  info: {
    takes: object
    gives: {
      pid: number
      keeperPid: number | null
      isLost: boolean
      table: Row[]
      exits: { pid: number; code: number | null; signal: string | null }[]
      descriptors: Record<string, string>
    }
  }
  open: { takes: { handle: number; argv: string[] }; gives: { pid: number; isKept: boolean } }
  /** Only starts it. */
  shim: { takes: { argv: string[] }; gives: { code: number | null; file: string } }
  /** Has the master of one session kept under many handles; `unheard`: and does not listen until all is said. */
  keepMany: { takes: { handles: number[]; of: number; unheard?: boolean }; gives: boolean[] }
  type: { takes: { handle: number; text: string }; gives: null }
  screen: { takes: { handle: number }; gives: string }
  close: { takes: { handle: number }; gives: null }
  note: { takes: { handle: number; meta: string }; gives: null }
  drop: { takes: { handle: number }; gives: null }
  run: { takes: { command: string[] }; gives: boolean }
  exec: { takes: { path: string }; gives: boolean }
  bye: { takes: object; gives: null }
  /** Sends the text as it is, with the master of session `of`. */
  raw: { takes: { text: string; of?: number }; gives: boolean }
  quit: { takes: { code: number }; gives: null }
  handOver: { takes: { predecessor: 'ends-at-once' | 'ends-last'; successor: SuccessorKind }; gives: { pid: number } }
}
export type SuccessorKind = 'serves' | 'greets-late' | 'dies-after-hello' | 'dies-silently'

const [, self = '', directory = '', keeper = '', kind = 'kept', predecessorPid] = process.argv
appendFileSync(`${directory}/starts`, `${kind} ${process.pid}\n`)

const pty = loadNativePty({ from: self })
const table: Row[] = readFileSync(kind === 'kept' ? 5 : `${directory}/plan`, 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => {
    const [descriptor, handle, pid, ...meta] = line.split(' ')
    return { descriptor: Number(descriptor), handle: Number(handle), pid: Number(pid), meta: meta.join(' ') }
  })
const screens = new Map<number, string>()
const rows = new Map(table.map((row) => [row.handle, row]))
const masters = new Map(table.map(({ handle, descriptor }) => [handle, watch(handle, descriptor)]))
const exits: Requests['info']['gives']['exits'] = []
let isLost = false

const channel = new KeeperChannel(3, {
  exit: (pid, status) => exits.push({ pid, ...status }),
  lost: () => {
    isLost = true
  },
})
const server = createServer((socket) => {
  let held = ''
  socket.on('error', () => {})
  socket.on('data', async (bytes) => {
    held += bytes
    if (!held.endsWith('\n')) return
    const { method, takes } = JSON.parse(held)
    const answers: Record<string, (takes: any) => unknown> = requests
    const answer = await answers[method]!(takes)
    socket.end(`${JSON.stringify(answer ?? null)}\n`)
  })
})

function watch(handle: number, descriptor: number): Master {
  const master = new Master(descriptor, {
    data: (bytes) => screens.set(handle, (screens.get(handle) ?? '') + bytes.toString('latin1')),
    end: () => {},
  })
  master.start()
  return master
}

async function startShell(pidFile: string, argv: string[]) {
  const [argv0 = '', file = '', ...rest] = argv
  const { master, exited } = pty.fork(keeper, ['shim', pidFile, '--', argv0, file, ...rest], {
    env: process.env as Record<string, string>,
    cwd: directory,
    size: { columns: 80, rows: 24 },
  })
  const { code } = await exited
  return { master, code, file: readFileSync(pidFile, 'utf8') }
}

const requests: { [Method in keyof Requests]: (takes: Requests[Method]['takes']) => unknown } = {
  info: () => ({
    pid: process.pid,
    keeperPid: channel.keeperPid,
    isLost,
    table,
    exits,
    descriptors: Object.fromEntries(
      readdirSync('/proc/self/fd').flatMap((fd) => {
        try {
          return [[fd, readlinkSync(`/proc/self/fd/${fd}`)]]
        } catch {
          return [] // the one that the list was read through
        }
      }),
    ),
  }),
  async open({ handle, argv }) {
    const { master, file } = await startShell(`${directory}/pid-${handle}`, argv)
    const pid = Number(file)
    masters.set(handle, watch(handle, master))
    rows.set(handle, { descriptor: master, handle, pid, meta: '{}' })
    return { pid, isKept: await channel.keep(handle, pid, '{}', masters.get(handle)!.handle) }
  },
  async shim({ argv }) {
    const { master, code, file } = await startShell(`${directory}/pid-shim`, argv)
    new Master(master, { data() {}, end() {} }).close()
    return { code, file }
  },
  async keepMany({ handles, of, unheard = false }) {
    if (unheard) channel.pause()
    const { handle: pipe } = masters.get(of)!
    const kept = handles.map((handle) => channel.keep(handle, rows.get(of)!.pid, '{}', pipe))
    if (unheard) await channel.flushed()
    channel.resume()
    return Promise.all(kept)
  },
  type: ({ handle, text }) => masters.get(handle)!.write(Buffer.from(text)),
  screen: ({ handle }) => screens.get(handle) ?? '',
  close: ({ handle }) => masters.get(handle)!.close(),
  note: ({ handle, meta }) => channel.note(handle, meta),
  drop: ({ handle }) => channel.drop(handle),
  run: ({ command }) => channel.run(command),
  exec: ({ path }) => channel.exec(path),
  bye: () => channel.bye(),
  raw({ text, of }) {
    const { socket } = channel as unknown as { socket: DescriptorSocket }
    return socket.send(text, of === undefined ? undefined : masters.get(of)!.handle)
  },
  quit: ({ code }) => void setImmediate(() => process.exit(code)),
  async handOver({ predecessor, successor }) {
    await channel.flushed()
    channel.pause()
    const lines = [...rows.values()].map(({ handle, pid, meta }, index) => `${8 + index} ${handle} ${pid} ${meta}\n`)
    appendFileSync(`${directory}/plan`, lines.join(''))
    const descriptors = [...rows.values()].map(({ descriptor }) => descriptor)
    const child = spawn(process.execPath, [self, directory, keeper, successor, String(process.pid)], {
      detached: true,
      stdio: ['ignore', 1, 2, 3, 4, 'ignore', 'ignore', 7, ...descriptors],
    })
    server.close()
    if (predecessor === 'ends-last') child.once('exit', () => process.exit(0))
    else setTimeout(() => process.exit(0), 20)
    return { pid: child.pid }
  },
}

if (kind === 'greets-late') {
  // Its predecessor has ended, and for a while nobody says hello.
  while (process.ppid === Number(predecessorPid)) await sleep(5)
  await sleep(300)
}
if (kind === 'dies-silently') process.exit(0)
channel.hello()
if (kind === 'dies-after-hello') {
  await channel.flushed()
  process.exit(0)
}
server.listen({ fd: 4 })
process.on('SIGTERM', () => {
  channel.bye()
  void channel.flushed().then(() => process.exit(0))
})
