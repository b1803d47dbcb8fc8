import {
  chmodSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import type { Server } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import * as z from 'zod'
// Not from the index: a daemon has no use for the other machines, and starts sooner without them.
import { daemonHandoff, type HandoffOutput } from '../../machines/daemon-handoff.ts'
import { daemonTakeover, type TakeoverOutput } from '../../machines/daemon-takeover.ts'
import { lockOffset } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { loadFileLocks } from '../file-locks.ts'
import { handoffEffects } from '../flows/daemon-handoff.ts'
import { takeoverEffects } from '../flows/daemon-takeover.ts'
import { openJournal } from '../journal/journal.ts'
import { Interpreter } from '../run/interpreter.ts'
import type { RunState } from '../run/run.ts'
import { pause } from '../runtime/pause.ts'
import { bindDirectory, socketName } from './daemon-place.ts'
import { descriptors, Handoff } from './handoff.ts'
import { builtKeeper } from './keeper.ts'
import { LenientLog } from './lenient-log.ts'
import type { HandoffResult } from './protocol.ts'
import { renewKeeper } from './renew-keeper.ts'
import { Takeover } from './takeover.ts'

/**
 * How a daemon process is begun. It travels by argument, never by the environment, which programs inherit.
 *
 * - `start`: nothing is inherited; takes the lock and binds the socket itself. Sessions end with the process.
 * - `kept`: by a keeper, which holds lock, socket and terminals.
 * - `successor`: by a daemon that is to be replaced.
 */
export const modes = ['start', 'kept', 'successor'] as const

const Arguments = z.strictObject({
  mode: z.enum(modes),
  directory: z.string().startsWith('/', 'must be an absolute path'),
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be a name'),
  scrollbackBytes: z
    .string()
    .regex(/^\d{1,10}$/, 'must be a number of bytes in plain digits')
    .transform(Number),
  shell: z.string().min(1),
  /** Of the keeper that holds this daemon's terminals. */
  keeper: z.string().startsWith('/', 'must be an absolute path').optional(),
})
type Arguments = z.infer<typeof Arguments>

/** @throws {InstarError} `USAGE` */
export function readArguments(args: readonly string[]): Arguments {
  const text = { type: 'string' } as const
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { directory: text, name: text, 'buffer-bytes': text, shell: text, keeper: text },
    })
    if (positionals.length !== 1) throw new Error(`one mode is needed: ${modes.join(', ')}`)
    const { 'buffer-bytes': scrollbackBytes = String(1024 * 1024), shell = userInfo().shell ?? '/bin/sh' } = values
    const { directory, name, keeper } = values
    const read = Arguments.safeParse({ mode: positionals[0], directory, name, scrollbackBytes, shell, keeper })
    if (read.success) return read.data
    const { path, message } = read.error.issues[0]!
    throw new Error(`${path.join('.') === 'scrollbackBytes' ? '--buffer-bytes' : path.join('.')}: ${message}`)
  } catch (cause) {
    throw new InstarError('USAGE', `session daemon: ${(cause as Error).message}`, { cause })
  }
}

/** To whoever started this process, who has it lead to a file. Where that takes nothing more, terminals go on. */
function log(message: string): void {
  try {
    writeSync(2, `${new Date().toISOString()} ${process.pid} ${message.replaceAll('\n', '\n  ')}\n`)
  } catch {
    // There is nowhere to say so.
  }
}

const journalsKept = 8
const answerMs = 1_000

/**
 * A session daemon, for the life of this process.
 *
 * @param args Of the daemon alone: the mode, then options. What comes before them in `process.argv` is taken for the
 *   program, and a successor is started in the same way unless it is told otherwise.
 * @throws {InstarError} `USAGE`, `DAEMON_RUNNING`, and what keeps it from taking over.
 */
export async function runDaemon(args: readonly string[]): Promise<void> {
  const { mode, directory, name, scrollbackBytes, shell, keeper: given } = readArguments(args)
  process.stderr.on('error', () => {}) // a log that takes nothing is no reason to end
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => (takeover.isOwner ? void takeover.daemon.stop() : process.exit(1)))
  process.on('SIGHUP', () => {}) // whoever started it may close its own terminal
  for (const folder of ['', 'pids', 'exits', 'journals'])
    mkdirSync(join(directory, folder), { recursive: true, mode: 0o700 })
  const lock = mode === 'start' ? takeLock(directory) : mode === 'successor' ? descriptors.lock : null
  const keeper = mode === 'start' || !hasKeeper() ? null : keeperProgram(given)
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1, process.argv.length - args.length)]
  const options = ['--directory', directory, '--name', name, ...(keeper === null ? [] : ['--keeper', keeper])]
  const settings = { scrollbackBytes, shell }

  let interpreter: Interpreter | undefined
  let server: Server | undefined
  let current: Handoff | null = null
  let handing: Promise<unknown> = Promise.resolve()
  let takenOver: Promise<RunState> | undefined

  const end = async (code: number) => {
    await interpreter?.close().catch((error) => log(String(error)))
    process.exit(code)
  }
  const takeover = new Takeover({
    name,
    directory,
    settings,
    keeper,
    log,
    restart: ({ scrollbackBytes, shell }) => [
      ...[...program, 'kept', ...options],
      ...['--buffer-bytes', String(scrollbackBytes), '--shell', shell],
    ],
    stopped: () => {
      if (!takeover.daemon.isKept) rmSync(join(directory, socketName), { force: true }) // a keeper removes its own
      // Whoever asked for a handoff meanwhile is told that there is none.
      void within(answerMs, handing).then(() => setImmediate(() => void end(0)))
    },
    listen: async (made) => {
      server = made
      if (mode === 'start') await bind(made, directory)
      else made.listen({ fd: descriptors.listener })
    },
    handOver: (command) => {
      const handed = handOver(command ?? program)
      handing = handed.catch(() => {}) // told to whoever asked
      return handed
    },
  })
  const handOver = async (command: readonly string[]): Promise<HandoffResult> => {
    await takenOver // what a predecessor still sends has to be here first
    const { run } = await interpreter!.start('daemon-handoff', { key: name, input: { name, command }, busy: 'join' })
    const { output } = await interpreter!.ended(run)
    return resultOf(output as HandoffOutput)
  }
  const world = {
    begin: () => {
      current = new Handoff(takeover.daemon, {
        options,
        keeper: keeper === null ? null : descriptors.keeper,
        lock,
        listener: () => (server as unknown as { _handle: { fd: number } })._handle.fd,
      })
      return current
    },
    current: () => current,
  }
  const journals = join(directory, 'journals')
  const flows = [
    { machine: daemonTakeover, effects: takeoverEffects(takeover) },
    { machine: daemonHandoff, effects: handoffEffects(world) },
  ]
  const journal = await openJournal({
    directory: join(journals, `${String(Date.now()).padStart(14, '0')}-${process.pid}`),
    holder: { daemon: name },
  }).catch((error) => {
    log(`this daemon begins without a journal: ${String(error)}`)
    return null
  })
  const lenient = new LenientLog(journal, (error) => log(`this daemon goes on without a journal: ${String(error)}`))
  interpreter = await Interpreter.open({ log: lenient, flows })
  interpreter.subscribe((change) => {
    if (change.type !== 'record' || change.record.ends === undefined) return
    if ((change.state.output as HandoffOutput | undefined)?.outcome === 'handed-over') setImmediate(() => void end(0))
  })
  const how = mode === 'successor' ? 'handoff' : mode === 'kept' ? 'crash' : 'start'
  const predecessor = mode === 'successor' ? process.ppid : null
  const { run } = await interpreter.start('daemon-takeover', {
    key: name,
    input: { name, how, predecessor },
    busy: 'refuse',
  })
  takenOver = interpreter.ended(run)
  const { output } = await takenOver
  const { outcome, failure } = output as TakeoverOutput
  if (outcome === 'refused') {
    log(`refused: ${failure?.code ?? ''} ${failure?.message ?? ''}`)
    await end(1)
  }
  log(`serves as ${how}`)
  forgetOldJournals(journals)
  const channel = takeover.daemon.options.keeper?.channel
  if (mode !== 'successor' || channel === undefined) return
  const said = await renewKeeper(channel).catch((error) => `the keeper could not be looked at: ${String(error)}`)
  if (said !== null) log(said)
}

/** Waits for `work`, but no longer than `ms`. */
const within = (ms: number, work: Promise<unknown>) => Promise.race([work, pause(ms)])

function resultOf({ outcome, successor, freezeMs, sessions, failure }: HandoffOutput): HandoffResult {
  return {
    outcome,
    predecessor: process.pid,
    successor: successor?.pid ?? null,
    sessions: sessions.length,
    freezeMs,
    reason:
      failure === null
        ? null
        : { code: failure.code ?? 'INTERNAL', message: failure.message, ...(failure.hint && { hint: failure.hint }) },
  }
}

/** This version's own, else the one that runs: a host may have brought it from elsewhere. */
function keeperProgram(given: string | undefined): string {
  return existsSync(builtKeeper) ? builtKeeper : (given ?? readlinkSync(`/proc/${process.ppid}/exe`))
}

/** Descriptor 3 is a socket where there is a keeper, and /dev/null where there is none. */
function hasKeeper(): boolean {
  return fstatSync(descriptors.keeper).isSocket()
}

/** @throws {InstarError} `DAEMON_RUNNING`, `NATIVE_UNLOADABLE` */
function takeLock(directory: string): number {
  const descriptor = openSync(join(directory, 'lock'), constants.O_RDWR | constants.O_CREAT, 0o600)
  if (!loadFileLocks().tryLock(descriptor, lockOffset, 1))
    throw new InstarError('DAEMON_RUNNING', `another daemon serves in ${directory}`)
  return descriptor
}

/** Under another name first, so that the socket is never found half made and a dead daemon's is replaced in one step. */
async function bind(server: Server, directory: string): Promise<void> {
  const short = await bindDirectory(directory)
  const draft = join(short, `${socketName}.new`)
  rmSync(draft, { force: true })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(draft, resolve))
  chmodSync(draft, 0o600)
  renameSync(draft, join(directory, socketName))
}

function forgetOldJournals(journals: string): void {
  const old = readdirSync(journals).sort().slice(0, -journalsKept)
  for (const name of old) rmSync(join(journals, name), { recursive: true, force: true })
}
