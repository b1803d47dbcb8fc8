import childProcess from 'node:child_process'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import net from 'node:net'
import { join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'

/** Where a life ends: at its `step`-th change of the world after record `after`, at the latest before the next record. */
export interface KillPoint {
  readonly after: number
  /** Counted from 1; or the first that is called so, where what comes before it is not the same every time. */
  readonly step: Step['step'] | { readonly what: string }
  /** `torn`: half of it is done, as when a crash falls into a write. */
  readonly how: How
}

export type How = 'before' | 'torn' | 'after'

/** One change of the world that a life made, as its trace tells it. */
export interface Step {
  readonly after: number
  readonly step: number | 'commit'
  readonly what: string
  /** The ways to die here that are worth telling apart. */
  readonly hows: readonly How[]
  /** The last line of a trace whose life ended as ordered. */
  readonly died?: How
}

export const orderVariable = 'INSTAR_MORTAL'

/** What a life is told by the kill matrix. */
const Order = z.object({
  /** Absolute, without symlinks. */
  home: z.string(),
  /** The last record that is durable as this life begins. */
  lastSeq: z.int(),
  trace: z.string(),
  point: z
    .object({
      after: z.int(),
      step: z.union([z.int(), z.literal('commit'), z.object({ what: z.string() })]),
      how: z.enum(['before', 'torn', 'after']),
    })
    .nullable(),
})

/**
 * Makes this process one that a kill matrix can end at any change that it makes to the world: to files below its home,
 * by starting or signalling a process, by opening a connection. The first statement of a program for `killMatrix`; where
 * no kill matrix started the program, it does nothing.
 *
 * It works by replacing functions of Node, so the program under it is the real one. Modules that have copied functions
 * of `node:fs` before this call keep them, and what the program changes by other means is noticed only where it says so
 * to what is returned.
 */
export function mortal(): Mortal {
  const text = process.env[orderVariable]
  if (text === undefined) return immortal
  delete process.env[orderVariable]
  const { home, ...order } = Order.parse(JSON.parse(text))
  const life = new MortalLife(order)
  watchFiles(life, home)
  watchProcesses(life)
  watchConnections(life)
  syncBuiltinESMExports()
  return { change: (what, run) => life.make({ what, hows: ['before', 'after'] }, run) }
}

export interface Mortal {
  /** Makes a change of the world that is made by means of which `mortal` knows nothing: it can die before it or after. */
  change<Result>(what: string, run: () => Result): Result
}

const immortal: Mortal = { change: (_, run) => run() }

/** A change of the world that is about to be made. */
interface Change {
  readonly what: string
  /** Does half of it, at once. */
  readonly tear?: () => void
  /** How many records it makes durable. */
  readonly commits?: number
  readonly hows?: readonly How[]
}

// As they are before they are replaced.
const { writeSync, writeFileSync, readdirSync, rmSync, openSync, existsSync, lstatSync } = fs
const kill = process.kill.bind(process)

/** Counts what this process does, and ends it where it was ordered to. */
class MortalLife {
  private seq: number
  private count = 0
  private readonly trace: number
  private readonly point: KillPoint | null

  constructor({ lastSeq, trace, point }: Omit<z.infer<typeof Order>, 'home'>) {
    this.seq = lastSeq
    this.trace = openSync(trace, 'a')
    this.point = point
  }

  /** Makes the change, or dies at it. What changes nothing is null. */
  make<Result>(change: Change | null, run: () => Result): Result {
    if (change === null) return run()
    const { what, tear, commits, hows = tear === undefined ? ['before'] : ['before', 'torn'] } = change
    const step: Step = { after: this.seq, step: commits === undefined ? ++this.count : 'commit', what, hows }
    this.tell(step)
    const how = this.fateAt(step)
    if (how === 'torn') tear?.()
    if (how === 'before' || how === 'torn') this.die(step, how)
    const result = run()
    const made = () => {
      if (how === 'after') this.die(step, how)
      if (commits === undefined) return
      this.seq += commits
      this.count = 0
    }
    if (result instanceof Promise)
      return result.then((value) => {
        made()
        return value
      }) as Result
    made()
    return result
  }

  private fateAt({ after, step, what }: Step): How | null {
    const { point } = this
    if (point?.after !== after) return null
    if (typeof point.step === 'object' ? point.step.what === what : point.step === step) return point.how
    return step === 'commit' ? 'before' : null
  }

  private die(step: Step, died: How): never {
    this.tell({ ...step, died })
    kill(process.pid, 'SIGKILL')
    throw new Error('a process outlives its SIGKILL')
  }

  private tell(step: Step): void {
    writeSync(this.trace, `${JSON.stringify(step)}\n`)
  }
}

// ---- files

type Callable = (this: any, ...args: any[]) => any

function replace(owner: any, name: string, by: (original: Callable) => Callable): void {
  // What is attached to the original, such as its form for `promisify`, stays.
  owner[name] = Object.assign(by(owner[name]), owner[name])
}

const changingFunctions = [
  'appendFile',
  'chmod',
  'copyFile',
  'cp',
  'link',
  'mkdir',
  'mkdtemp',
  'open',
  'rename',
  'rm',
  'rmdir',
  'symlink',
  'truncate',
  'unlink',
  'writeFile',
] as const

function watchFiles(life: MortalLife, home: string): void {
  const paths = new WeakMap<object, string>()
  const pathsOfOpen = new Map<number, string>()
  for (const name of changingFunctions) {
    const watched =
      (original: Callable): Callable =>
      (...args) =>
        life.make(changeBy(name, args, home), () => original(...args))
    for (const form of [name, `${name}Sync`]) replace(fs, form, watched)
    replace(fs.promises, name, watched)
  }
  let handlesAreWatched = false
  replace(fs.promises, 'open', (original) => async (...args) => {
    const handle = await original(...args)
    const { fd } = handle
    paths.set(handle, pathIn(args[0]))
    pathsOfOpen.set(fd, pathIn(args[0]))
    // Their class is not to be had without one of them.
    if (!handlesAreWatched) watchHandles(life, home, Object.getPrototypeOf(handle), paths)
    handlesAreWatched = true
    handle.once('close', () => pathsOfOpen.delete(fd)) // the number may be another file's next
    return handle
  })
  replace(fs, 'writeSync', (original) => (fd, data, ...rest) => {
    const path = below(home, pathsOfOpen.get(fd) ?? '/')
    return life.make(path === null ? null : writing(fd, path, data, rest[2]), () => original(fd, data, ...rest))
  })
}

function watchHandles(life: MortalLife, home: string, prototype: object, paths: WeakMap<object, string>): void {
  for (const name of ['write', 'writev', 'writeFile', 'appendFile', 'truncate'])
    replace(
      prototype,
      name,
      (original) =>
        function (data, ...rest) {
          const path = below(home, paths.get(this) ?? '/')
          const change = path === null ? null : writing(this.fd, path, data, name === 'write' ? rest[2] : undefined)
          return life.make(change, () => original.call(this, data, ...rest))
        },
    )
}

/** What a call of `node:fs` is about to change in the home; null for nothing. */
function changeBy(name: (typeof changingFunctions)[number], args: readonly unknown[], home: string): Change | null {
  const target = pathIn(name === 'symlink' || name === 'link' || name === 'copyFile' ? args[1] : args[0])
  const path = below(home, target)
  if (path === null) return null
  switch (name) {
    case 'writeFile':
      return { what: `write ${path}`, tear: () => writeFileSync(target, half(args[1])) }
    case 'rm':
      return existsSync(target) ? { what: `remove ${path}`, tear: () => removeHalf(target) } : null
    case 'mkdir':
      return existsSync(target) ? null : { what: `make ${path}` }
    case 'open':
      return mayCreate(args[1]) && !existsSync(target) ? { what: `create ${path}` } : null
    case 'rename':
      return { what: `rename ${path} to ${below(home, pathIn(args[1]))}` }
    default:
      return { what: `${name} ${path}` }
  }
}

/** Of whatever journal lies below the home: a process writes one. */
const segment = /(^|[/\\])\d{16}\.segment$/

/** @param position Where it is to be in the file; by default behind what was written last. */
function writing(fd: number, path: string, data: unknown, position?: number): Change {
  const tear = (bytes: Uint8Array) => void writeSync(fd, bytes, 0, bytes.length, position)
  if (!segment.test(path)) return { what: `write ${path}`, tear: () => tear(half(data)) }
  // A frame, see `src/journal/format.ts`: eight digits, a TAB, JSON; and room behind it.
  const bytes = Buffer.from(data as Uint8Array)
  const { seq, records } = JSON.parse(bytes.toString('utf8', 9))
  const tearFrame = () => tear(half(bytes.subarray(0, bytes.indexOf('\n'))))
  return { what: `commit ${seq}`, tear: tearFrame, commits: records.length, hows: ['before', 'torn', 'after'] }
}

const pathIn = (path: unknown) => resolve(path instanceof URL ? fileURLToPath(path) : String(path))

/** The path below the home; null for what lies elsewhere. */
function below(home: string, path: string): string | null {
  const rest = relative(home, path)
  return rest === '' || rest === '..' || rest.startsWith(`..${sep}`) ? null : rest
}

function half(data: unknown): Uint8Array {
  const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as string)
  return bytes.subarray(0, Math.ceil(bytes.length / 2))
}

function removeHalf(path: string): void {
  const entries = lstatSync(path).isDirectory() ? readdirSync(path, { recursive: true, encoding: 'utf8' }) : []
  for (const entry of entries.slice(0, Math.ceil(entries.length / 2)))
    rmSync(join(path, entry), { recursive: true, force: true })
}

function mayCreate(flags: unknown): boolean {
  return typeof flags === 'number' ? (flags & fs.constants.O_CREAT) !== 0 : /^[wa]/.test(String(flags ?? 'r'))
}

// ---- processes and connections

function watchProcesses(life: MortalLife): void {
  replace(
    childProcess.ChildProcess.prototype,
    'spawn',
    (original) =>
      function (options: { file: string }) {
        // Right after it, the new process runs and nobody has noted it.
        const change: Change = { what: `spawn ${options.file}`, hows: ['before', 'after'] }
        return life.make(change, () => original.call(this, options))
      },
  )
  replace(process, 'kill', () => (pid: number, signal?: string | number) => {
    const asksOnly = signal === 0
    return life.make(asksOnly ? null : { what: `send ${signal ?? 'SIGTERM'}` }, () => kill(pid, signal))
  })
}

function watchConnections(life: MortalLife): void {
  replace(
    net.Socket.prototype,
    'connect',
    (original) =>
      function (...args) {
        return life.make({ what: 'connect' }, () => original.apply(this, args))
      },
  )
}
