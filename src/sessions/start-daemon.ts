import { type ChildProcess, spawn } from 'node:child_process'
import { chmod, type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { makeDirectories } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { isBundled, shippedFile } from '../package-info.ts'
import { pause } from '../runtime/pause.ts'
import { askDaemon } from './ask-daemon.ts'
import { daemonEnvironment } from './daemon-environment.ts'
import { bindDirectory, logName } from './daemon-place.ts'
import type { DaemonCommand, DaemonInfo } from './protocol.ts'

export interface DaemonStart {
  /** The daemon's own; see `daemon-place.ts`. Made where it is missing. */
  readonly directory: string
  readonly name: string
  /**
   * The program that a daemon is, before its own arguments. Default: this Node with this package's `dist/daemon.cjs`. A
   * host that is one bundle gives itself, with a word by which it knows what to do.
   */
  readonly command?: DaemonCommand | undefined
  /** Absolute path of the keeper's program; null where sessions are to end with the daemon. */
  readonly keeper: string | null
  /** Scrollback of each session. */
  readonly bufferBytes?: number | undefined
  /** Absolute path of what a session runs that names no command. */
  readonly shell?: string | undefined
  /** Aborted, nobody waits for it any more; what was started comes up, or not, by itself. */
  readonly signal: AbortSignal
}

/** A cold disk and a busy machine take long to load Node. */
const startMs = 15_000
const lookAgainMs = 20
const logTailBytes = 4096
const logTailLines = 12
/** How a keeper ends whose directory another one holds. */
const heldExit = 75

/**
 * A daemon lives long and holds little: a small nursery and one thread for the engine's own work save it 7 MB, and cost no
 * throughput that the benchmarks could see.
 */
export const nodeFlags = ['--max-semi-space-size=1', '--v8-pool-size=1'] as const

/**
 * The program of a daemon of this package.
 *
 * @throws {InstarError} `DAEMON_SPAWN_FAILED` in a bundle, of which only the host knows how it becomes a daemon.
 */
export function defaultCommand(): DaemonCommand {
  if (isBundled)
    throw new InstarError('DAEMON_SPAWN_FAILED', 'a host that is a bundle has to say which command is its daemon', {
      hint: 'Give `sessions.command`, such as [process.execPath, process.argv[1], "session-daemon"], and call `runDaemon` there.',
    })
  return [process.execPath, ...nodeFlags, shippedFile('dist/daemon.cjs')]
}

/**
 * Starts a daemon that outlives this process and its terminal, and resolves when it answers.
 *
 * @throws {InstarError} `DAEMON_RUNNING` where one serves in this directory; `DAEMON_SPAWN_FAILED` with the end of its
 *   log, and then nothing of it runs; `DAEMON_DENIED`.
 */
export async function startDaemon(start: DaemonStart): Promise<DaemonInfo> {
  const { directory, signal } = start
  await makeDirectories(directory)
  await chmod(directory, 0o700)
  const info = () => askDaemon(directory, (daemon) => daemon.info(), signal)
  if ((await info()) !== undefined) throw running(directory)
  const log = await open(join(directory, logName), 'a+', 0o600)
  try {
    const before = (await log.stat()).size
    const child = await spawnDetached(start, log)
    try {
      return await answered(child, info, signal)
    } catch (cause) {
      if (signal.aborted) throw signal.reason
      if (cause instanceof Ended && (cause.code === heldExit || (await info()) !== undefined)) throw running(directory)
      end(child)
      const said = await tail(log, before)
      if (said.includes('DAEMON_RUNNING')) throw running(directory)
      throw spawnFailed(start, said, cause)
    }
  } finally {
    await log.close()
  }
}

const running = (directory: string) => new InstarError('DAEMON_RUNNING', `a daemon serves in ${directory} already`)

async function spawnDetached(start: DaemonStart, log: FileHandle): Promise<ChildProcess> {
  const { directory, name, command = defaultCommand(), keeper, bufferBytes, shell } = start
  const args = [
    ...['--directory', directory, '--name', name],
    ...(bufferBytes === undefined ? [] : ['--buffer-bytes', String(bufferBytes)]),
    ...(shell === undefined ? [] : ['--shell', shell]),
  ]
  const [program = '', ...words] =
    keeper === null
      ? [...command, 'start', ...args]
      : [keeper, '--directory', await bindDirectory(directory), '--', ...command, 'kept', ...args]
  const child = spawn(program, words, {
    cwd: '/',
    detached: true,
    windowsHide: true,
    stdio: ['ignore', log.fd, log.fd],
    // An Electron host runs daemons by its own executable, which is a browser unless told otherwise.
    env: {
      ...daemonEnvironment(process.env),
      ...(process.versions.electron !== undefined && { ELECTRON_RUN_AS_NODE: '1' }),
    },
  })
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject)).catch((cause) => {
    throw spawnFailed(start, '', cause)
  })
  child.unref()
  return child
}

class Ended extends Error {
  constructor(
    readonly code: number | null,
    signal: string | null,
  ) {
    super(`it ended ${code === null ? `by ${signal}` : `with code ${code}`}`)
  }
}

async function answered(
  child: ChildProcess,
  info: () => Promise<DaemonInfo | undefined>,
  signal: AbortSignal,
): Promise<DaemonInfo> {
  let ended: Ended | undefined
  child.once('exit', (code, by) => {
    ended = new Ended(code, by)
  })
  const until = performance.now() + startMs
  for (;;) {
    const found = await info().catch((error) => {
      // A daemon that is killed while it comes up is followed by another; whether one does, its keeper decides.
      if (!(error instanceof InstarError) || error.code === 'DAEMON_DENIED' || signal.aborted) throw error
    })
    if (found !== undefined) return found
    if (ended !== undefined) throw ended
    if (performance.now() > until) throw new Error(`it did not answer within ${startMs} ms`)
    await pause(lookAgainMs, signal)
  }
}

/** It leads a process group, in which its daemon is too where it is a keeper. No session has begun yet. */
function end({ pid }: ChildProcess): void {
  try {
    process.kill(process.platform === 'win32' ? pid! : -pid!, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function spawnFailed({ name, directory }: DaemonStart, said: string, cause: unknown): InstarError {
  const message = `the daemon ${name} did not start${said === '' ? '' : `:\n${said}`}`
  return new InstarError('DAEMON_SPAWN_FAILED', message, { cause, details: { log: join(directory, logName) } })
}

/** The last lines of what was logged from `from` on. */
async function tail(log: FileHandle, from: number): Promise<string> {
  const { size } = await log.stat()
  const length = Math.max(0, Math.min(logTailBytes, size - from))
  const { buffer, bytesRead } = await log.read(Buffer.alloc(length), 0, length, size - length)
  return buffer.subarray(0, bytesRead).toString('utf8').trimEnd().split('\n').slice(-logTailLines).join('\n')
}
