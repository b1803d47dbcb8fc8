import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { access, open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { isAbsolute, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { promisify } from 'node:util'
import * as z from 'zod'
import type { Child, Exit } from '../../machines/runtime-launch.ts'
import { exists, makeDirectories } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { held } from '../held.ts'
import { childEnvironment, nonceVariable } from './environment.ts'
import { lastOutput, outputPaths, trimOutput } from './output.ts'
import { abortable, letOthersIn, pause } from './pause.ts'
import {
  bootId,
  environmentHolds,
  isGroupGone,
  type ProcessEntry,
  parseStat,
  processEntry,
  processTable,
} from './processes.ts'

/**
 * Child processes that can be found again.
 *
 * A child outlives the controller that started it, and another controller must neither start it twice nor lose it. So
 * the child itself writes who it is, before it becomes the runtime: there is no moment in which it runs unrecorded.
 *
 *   <record directory>/<key>.json          the record; LF at its end is the commit mark
 *   <record directory>/<key>.stdout.log    what it printed
 *   <record directory>/<key>.stderr.log
 *
 *   { "pid": 41, "stat": "<line of /proc/PID/stat>", "nonce": "…", "start": { "key": …, "port": …, "boot": …, "ipc": … } }
 *
 * The record is created exclusively: of two that start the same key, one becomes the runtime. It is not flushed, because
 * what makes it vanish ends the process as well.
 */
const recordSchema = z.looseObject({
  pid: z.int().min(2),
  stat: z.string(),
  nonce: z.string(),
  start: z.looseObject({ key: z.string(), port: z.int().min(0).max(65_535), boot: z.string(), ipc: z.boolean() }),
})

export interface ChildPlace {
  /** Names this start; the same key never runs twice. */
  readonly key: string
  /** Absolute. Created with mode 0700 where it is missing. */
  readonly recordDirectory: string
}

export interface ChildSpec extends ChildPlace {
  /** Absolute path of the program. */
  readonly executable: string
  readonly args: readonly string[]
  readonly cwd: string
  /** Added to the host's environment. */
  readonly env?: Readonly<Record<string, string>>
  /** What it gets of the host's environment. Default: all. */
  readonly inherited?: NodeJS.ProcessEnv
  /** How much it lets others go first where processors are short, from its first moment on; see `setSessionNiceness`. */
  readonly niceness?: number
  /** Speaks to whoever started it over its input and output (`pipesOf`) instead of printing into a file. */
  readonly pipes?: true
  readonly port: number
  /** Opens a channel and remembers the message that is this text, or whose `type` is. */
  readonly ipc?: string
  readonly signal?: AbortSignal
}

export interface StartedChild {
  readonly child: Child
  /** `ended`: it was started before under this key and is gone; it was not started again. */
  readonly how: 'started' | 'adopted' | 'ended'
}

export interface Pipes {
  readonly stdin: Writable
  readonly stdout: Readable
}

// What only the process that started a child is told by the system: how it ended, and what it sent.
interface Kinship {
  readonly pid: number
  readonly exit: Promise<Exit>
  readonly pipes: Pipes | null
  readyMessage: unknown
}
const started = new Map<string, Kinship>()

const lostExit: Exit = { code: null, signal: null, lost: true }

/**
 * Becomes the runtime only as the process that its record names: `$0` record, `$1` facts as JSON, `$2` niceness of its
 * session, then the command. It sees to its niceness itself: whoever started it may have to wait for a processor because of it.
 * Built-ins only, so that it needs nothing from PATH. `set -C` makes `>` create and never overwrite. The record is read
 * back, because a shell that was held up for long may find that it has been replaced.
 */
const becomeRecorded = `
[ "$2" = 0 ] || printf %s "$2" 2>/dev/null >/proc/$$/autogroup
set -C
read -r stat 2>/dev/null </proc/$$/stat || stat=
record="{\\"pid\\":$$,\\"stat\\":\\"$stat\\",\\"nonce\\":\\"$${nonceVariable}\\",\\"start\\":$1}"
printf '%s\\n' "$record" >"$0" || exit 75
read -r written <"$0" && [ "$written" = "$record" ] || exit 75
shift 2
exec "$@"
`

/**
 * Starts a child, or finds the one that was started under this key: by this process, by one that was killed, or by one
 * that is starting it at this moment. It leads a process group of its own, reads nothing, and prints into files of mode
 * 0600. Resolves once its record is written.
 *
 * @throws {InstarError} `RUNTIME_SPAWN_FAILED` where the system refused; `details.errno` says what where it is known.
 */
export async function startChild(spec: ChildSpec): Promise<StartedChild> {
  await makeDirectories(spec.recordDirectory)
  // A second round finds what was faster than we were; a third one that its record has just been removed.
  for (let round = 0; round < 3; round += 1) {
    spec.signal?.throwIfAborted()
    const found = await findChild(spec)
    if (found !== undefined) return { child: found, how: (await isAlive(found)) ? 'adopted' : 'ended' }
    const child = await spawnChild(spec)
    if (child !== undefined) return { child, how: 'started' }
  }
  throw new InstarError('RUNTIME_SPAWN_FAILED', `the record of ${spec.key} keeps being replaced by others`)
}

/** The child whose record lies under this key, alive or not; undefined where there is none. */
export async function findChild(place: ChildPlace): Promise<Child | undefined> {
  const path = recordPath(place)
  // The writer needs microseconds. A record that stays torn lost its writer before that became a runtime.
  for (let waitedMs = 0; waitedMs < 1000; waitedMs += 10) {
    const text = await readRecord(path)
    if (text === undefined) return undefined
    if (text.endsWith('\n')) {
      const child = await parseRecord(path, text)
      if (child !== undefined) return child
      break
    }
    await pause(10)
  }
  await rm(path, { force: true })
  return undefined
}

/** Where the record of a key lies; what else belongs to that start may be named after it. */
export function recordPath({ recordDirectory, key }: ChildPlace): string {
  const name = encodeURIComponent(key).replace(/[*!'()~]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`)
  // File systems end names at 255 bytes.
  const short =
    name.length <= 180 ? name : `${name.slice(0, 140)}-${createHash('sha256').update(key).digest('hex').slice(0, 32)}`
  return join(recordDirectory, `${short}.json`)
}

async function readRecord(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return undefined
  })
}

async function parseRecord(path: string, text: string): Promise<Child | undefined> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined // a power cut left it so, and the process is gone with the power
  }
  const { data } = recordSchema.safeParse(value)
  if (data === undefined) return undefined
  const { pid, nonce, start } = data
  const { key, port, boot, ipc } = start
  const born = process.platform === 'linux' ? (parseStat(data.stat)?.start ?? 0) : await writtenAtMs(path)
  return { key, pid, port, nonce, ipc, record: path, boot, start: born }
}

async function writtenAtMs(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0, // removed while we read it: then nothing is that old
  )
}

// ---- starting

async function spawnChild(spec: ChildSpec): Promise<Child | undefined> {
  await checkStartable(spec)
  const record = recordPath(spec)
  const nonce = randomBytes(16).toString('hex')
  const env = childEnvironment({ ...spec.env, [nonceVariable]: nonce }, spec.inherited)
  const { key, port } = spec
  const facts = { key, port, boot: await bootId(), ipc: spec.ipc !== undefined }
  const kinship = await spawnWithLogs(spec, record, env, JSON.stringify(facts), nonce)
  if (process.platform === 'win32') await writeRecord(record, kinship.pid, nonce, facts)

  const child = await recorded(spec, kinship)
  if (child?.pid !== kinship.pid) return undefined // somebody else was first, and ours has given up
  started.set(record, kinship)
  return child
}

async function checkStartable({ executable, cwd }: ChildSpec): Promise<void> {
  // A missing folder or program would surface as an exit of the shell, which looks like a fault of the runtime.
  try {
    if (!isAbsolute(executable)) throw Object.assign(new Error('not an absolute path'), { code: 'EINVAL' })
    await access(executable, constants.X_OK)
    if (!(await stat(executable)).isFile()) throw Object.assign(new Error('not a file'), { code: 'EACCES' })
  } catch (cause) {
    throw spawnFailed(`cannot run ${executable}`, cause)
  }
  const isDirectory = await stat(cwd).then(
    (stats) => stats.isDirectory(),
    () => false,
  )
  if (!isDirectory) throw spawnFailed(`the working directory ${cwd} is missing`, undefined)
}

function spawnFailed(message: string, cause: unknown): InstarError {
  const errno = (cause as NodeJS.ErrnoException | undefined)?.code
  return new InstarError('RUNTIME_SPAWN_FAILED', message, { cause, ...(errno !== undefined && { details: { errno } }) })
}

async function spawnWithLogs(
  { executable, args, cwd, ipc, pipes, niceness = 0 }: ChildSpec,
  record: string,
  env: Record<string, string>,
  facts: string,
  nonce: string,
): Promise<Kinship> {
  const paths = outputPaths(record)
  const stdout = await open(paths.stdout, 'a', 0o600)
  const stderr = await open(paths.stderr, 'a', 0o600).catch(async (error) => {
    await stdout.close()
    throw error
  })
  try {
    const [program, argv] =
      process.platform === 'win32'
        ? [executable, args]
        : ['/bin/sh', ['-c', becomeRecorded, record, facts, String(niceness), executable, ...args]]
    await turnToSpawn()
    const child = spawn(program, argv, {
      cwd,
      env,
      detached: true,
      windowsHide: true,
      stdio: [
        pipes ? 'pipe' : 'ignore',
        pipes ? 'pipe' : stdout.fd,
        stderr.fd,
        ...(ipc === undefined ? [] : ['ipc' as const]),
      ],
    })
    // Before anything is awaited: by then it may have ended, or sent its message, and neither is told twice.
    const kinship = watchOwn(child, ipc, nonce)
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject))
    return kinship
  } catch (cause) {
    // Without a record nothing would ever remove them; with one they are somebody's who was faster.
    if (!(await exists(record))) await removeFiles(record)
    throw spawnFailed(`the system did not start ${executable}`, cause)
  } finally {
    await Promise.all([stdout.close(), stderr.close()])
  }
}

let turn: Promise<void> = Promise.resolve()

/** To spawn holds up this process until there is another. */
function turnToSpawn(): Promise<void> {
  const mine = turn
  turn = mine.then(letOthersIn)
  return mine
}

function watchOwn(child: ChildProcess, ready: string | undefined, nonce: string): Kinship {
  const exit = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal, lost: false }))
  })
  const { stdin, stdout } = child
  const pipes = stdin === null || stdout === null ? null : { stdin, stdout }
  const kinship: Kinship = { pid: child.pid!, exit, pipes, readyMessage: undefined }
  child.on('error', () => {}) // of the channel: the runtime is judged by its probe and its end
  child.on('message', (message) => {
    if (isReadyMessage(message, ready, nonce)) kinship.readyMessage ??= message
  })
  // The runtime may outlive us, and we may end before it.
  child.unref()
  child.channel?.unref()
  for (const pipe of [stdin, stdout]) (pipe as Socket | null)?.unref()
  return kinship
}

/** True for `ready` itself or `{ type: ready }`. One that carries a nonce must carry ours. */
function isReadyMessage(message: unknown, ready: string | undefined, nonce: string): boolean {
  if (message === ready) return true
  if (typeof message !== 'object' || message === null) return false
  const { type, nonce: echoed } = message as { type?: unknown; nonce?: unknown }
  return type === ready && (echoed === undefined || echoed === nonce)
}

async function writeRecord(path: string, pid: number, nonce: string, start: object): Promise<void> {
  await writeFile(path, `${JSON.stringify({ pid, stat: '', nonce, start })}\n`, { flag: 'wx', mode: 0o600 })
}

const recordedWithinMs = 20_000

/** Waits until some record lies there whole. */
async function recorded(spec: ChildSpec, { exit, pid }: Kinship): Promise<Child | undefined> {
  let ended = false
  exit.then(() => {
    ended = true
  })
  for (let waitedMs = 0; waitedMs < recordedWithinMs; waitedMs += 2) {
    const lastLook = ended
    const text = await readRecord(recordPath(spec))
    if (text?.endsWith('\n')) return parseRecord(recordPath(spec), text)
    if (lastLook) break
    await pause(2)
  }
  signalQuietly(-pid, 'SIGKILL')
  const { stderr } = await lastOutput(recordPath(spec))
  await removeFiles(recordPath(spec))
  throw new InstarError(
    'RUNTIME_SPAWN_FAILED',
    `the new process could not record itself: ${stderr || 'no reason given'}`,
  )
}

// ---- recognising

/** Whether this very process runs: not a later one with its number, nor one from before a restart of the system. */
export async function isAlive(child: Child): Promise<boolean> {
  const entry = await processEntry(child.pid)
  return entry !== undefined && (await isSame(child, entry))
}

// The coarsest clock in use, that of `ps`, counts seconds.
const clockSlackMs = 2000

async function isSame(child: Child, entry: ProcessEntry): Promise<boolean> {
  if (process.platform === 'linux') return entry.start === child.start && (await bootId()) === child.boot
  return entry.start <= child.start + clockSlackMs
}

/**
 * The processes that belong to a child, itself included: its process group, also when its leader is gone; with
 * `everything`, its descendants too, and whoever else inherited its nonce.
 */
export async function familyOf(child: Child, everything = false): Promise<ProcessEntry[]> {
  if (!everything && isGroupGone(child.pid)) return []
  const table = await processTable()
  const leader = table.get(child.pid)
  // Another process has the number now, which the system gives out only when nobody of the group is left.
  const reused = leader !== undefined && !(await isSame(child, leader))
  const rebooted = (await bootId()) !== child.boot
  if (rebooted) return []

  const family = new Map<number, ProcessEntry>()
  const group = [...table.values()].filter((entry) => entry.group === child.pid || entry.pid === child.pid)
  if (!reused && (leader !== undefined || (await someCarryNonce(group, child))))
    for (const entry of group) family.set(entry.pid, entry)
  if (!everything) return [...family.values()]

  for (const entry of table.values()) if (await carriesNonce(entry, child)) family.set(entry.pid, entry)
  // Each round finds the next generation.
  for (let before = -1; before < family.size; ) {
    before = family.size
    for (const entry of table.values()) if (family.has(entry.parent)) family.set(entry.pid, entry)
  }
  return [...family.values()]
}

async function someCarryNonce(entries: readonly ProcessEntry[], child: Child): Promise<boolean> {
  const answers = await Promise.all(entries.map((entry) => carriesNonce(entry, child)))
  return answers.includes(true)
}

async function carriesNonce({ pid }: ProcessEntry, { nonce }: Child): Promise<boolean> {
  return environmentHolds(pid, `${nonceVariable}=${nonce}`)
}

/** The message that announced readiness. Not `heard` where another process holds the channel, or held it. */
export function readyMessage(child: Child): { readonly heard: boolean; readonly message?: unknown } {
  const kinship = ownKinship(child)
  return kinship === undefined ? { heard: false } : { heard: true, message: kinship.readyMessage }
}

/** What a child that was started with `pipes` reads and writes; null where another process has them, or had them. */
export function pipesOf(child: Child): Pipes | null {
  return ownKinship(child)?.pipes ?? null
}

function ownKinship({ record, pid }: Child): Kinship | undefined {
  const kinship = started.get(record)
  return kinship?.pid === pid ? kinship : undefined
}

// ---- ending

const pollMs = process.platform === 'linux' ? 200 : 1000
const trimEveryMs = 30_000

/**
 * Resolves when the child has ended. Its code is known only to the process that started it; an adopted child ends as
 * `lost`, never as 0. Does not keep this process alive.
 */
export async function exitOf(child: Child, { signal }: { signal?: AbortSignal } = {}): Promise<Exit> {
  // Whoever watches a child sees to its output as well.
  const trimming = setInterval(() => trimOutput(child.record).catch(() => {}), trimEveryMs) // a full disk: later
  trimming.unref()
  try {
    const own = ownKinship(child)
    if (own !== undefined) return await abortable(own.exit, signal)
    // Not to be able to look is no sign of death: look again.
    while (await isAlive(child).catch(() => true)) await pause(pollMs, signal, true)
    signal?.throwIfAborted()
    return lostExit
  } finally {
    clearInterval(trimming)
  }
}

export interface StopOptions {
  /** Between the request and force. */
  readonly graceMs?: number
  readonly signal?: AbortSignal
  /** Ends descendants that left the process group as well: for trial starts, which may leave nothing behind. */
  readonly everything?: boolean
}

// After SIGKILL a process is gone at once, unless it hangs in a system call.
const killedWithinMs = 10_000

/**
 * Ends a child and its process group: SIGTERM, then SIGKILL after `graceMs` (default 10 s). Resolves when they are gone,
 * and their record and output with them. Fine to call for a child that has ended, and twice.
 *
 * @throws {InstarError} `RUNTIME_UNSTOPPABLE` where SIGKILL did not help; the record stays, so that it can be tried again.
 */
export async function stopChild(child: Child, options: StopOptions = {}): Promise<void> {
  const { graceMs = 10_000, signal } = options
  const gone =
    (await endFamily(child, 'SIGTERM', graceMs, options)) ||
    (await endFamily(child, 'SIGKILL', killedWithinMs, options))
  if (!gone)
    throw new InstarError('RUNTIME_UNSTOPPABLE', `process ${child.pid} survives SIGKILL`, {
      details: { pid: child.pid },
    })
  // Waiting for the news of its end leaves no zombie behind.
  await held(abortable(ownKinship(child)?.exit ?? Promise.resolve(lostExit), signal))
  await removeFiles(child.record)
  started.delete(child.record)
}

async function endFamily(
  child: Child,
  how: 'SIGTERM' | 'SIGKILL',
  withinMs: number,
  { signal, everything }: StopOptions,
): Promise<boolean> {
  const deadline = performance.now() + withinMs
  const asked = new Set<number>()
  for (let stepMs = 5; ; stepMs = Math.min(stepMs * 2, 100)) {
    signal?.throwIfAborted()
    const family = await familyOf(child, everything)
    if (family.length === 0) return true
    if (performance.now() >= deadline) return false
    // All at once, so that a group that keeps forking cannot outrun us.
    if (how === 'SIGKILL' && family.some(({ group }) => group === child.pid)) signalQuietly(-child.pid, how)
    // Once each: many programs take a second SIGTERM as an order to drop everything.
    const unasked = family.filter(({ pid }) => !asked.has(pid))
    await Promise.all(unasked.map(({ pid }) => endProcess(pid, how)))
    for (const { pid } of unasked) asked.add(pid)
    await pause(stepMs, signal)
  }
}

async function endProcess(pid: number, how: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (process.platform !== 'win32') return signalQuietly(pid, how)
  // Windows has no request to end that a program without a window hears.
  await promisify(execFile)('taskkill', ['/pid', String(pid), '/t', '/f'], { windowsHide: true }).catch(() => {}) // looked at again next round
}

function signalQuietly(pid: number, how: NodeJS.Signals): void {
  try {
    process.kill(pid, how)
  } catch {
    // Ended already, or not ours to signal; whether it is gone is looked at next.
  }
}

async function removeFiles(record: string): Promise<void> {
  const { stdout, stderr } = outputPaths(record)
  await Promise.all([rm(stdout, { force: true }), rm(stderr, { force: true })])
  // Last: while it is there, a later call still knows what to remove.
  await rm(record, { force: true })
}
