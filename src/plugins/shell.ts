import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { InstarError } from '../errors.ts'
import { printable } from '../printable.ts'

/** Somewhere that a POSIX shell runs scripts for us. */
export interface Shell {
  /** The command that runs `script` there with these arguments; `$1` is the first of them. */
  command(script: string, args: readonly string[]): Promise<readonly string[]>
  /** What it means that the command has ended like this before the script began. */
  explain(ran: Ran): InstarError
  close(): Promise<void>
}

export interface Ran {
  readonly code: number | null
  readonly stdout: Buffer
  /** The end of it, as text without control characters. */
  readonly stderr: string
}

export interface RunOptions {
  /** Makes what the script reads, when it is there to read it. Nothing where absent. */
  readonly input?: () => Readable
  readonly signal?: AbortSignal | undefined
  readonly deadlineMs: number
}

const stdoutBytesMax = 64 * 1024 * 1024
const stderrBytesKept = 4096
/** How long one that was asked to end has. */
const endingMs = 2000

/**
 * Runs a command to its end and takes what it printed. What it did not read of its input is nobody's concern.
 *
 * @throws {InstarError} `TARGET_UNREACHABLE` where the program is missing or took too long; `TARGET_FAILED` where it
 *   printed without end; `ABORTED`. It has ended by then.
 */
export async function runCommand(words: readonly string[], { input, signal, deadlineMs }: RunOptions): Promise<Ran> {
  signal?.throwIfAborted()
  const [program, ...args] = words
  // In a group of its own: a Ctrl-C in the terminal is for us, and we decide what it means for a step that is under way.
  const child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  let why: InstarError | undefined
  const giveUp = (error: InstarError) => {
    why ??= error
    end(child)
  }
  const abort = () => giveUp(new InstarError('ABORTED', `${program} was ended`))
  const timer = setTimeout(() => {
    giveUp(new InstarError('TARGET_UNREACHABLE', `${program} did not finish within ${deadlineMs / 1000} s`))
  }, deadlineMs)
  signal?.addEventListener('abort', abort, { once: true })
  const stdout: Buffer[] = []
  let length = 0
  let stderr = Buffer.alloc(0)
  child.stdout.on('data', (bytes: Buffer) => {
    length += bytes.length
    if (length <= stdoutBytesMax) stdout.push(bytes)
    else giveUp(new InstarError('TARGET_FAILED', `${program} printed more than ${stdoutBytesMax} bytes`))
  })
  child.stderr.on('data', (bytes: Buffer) => {
    stderr = Buffer.concat([stderr, bytes]).subarray(-stderrBytesKept)
  })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code))
    // What it has started may hold its output open for as long as it likes.
    child.once('exit', () => {
      if (why === undefined) return
      child.stdout.destroy()
      child.stderr.destroy()
    })
  })
  const fed = feed(child, input?.())
  try {
    const code = await ended
    const failure = await fed
    if (why !== undefined) throw why
    // It may have ended because it has all it wants to know; but what broke on our side is ours to tell.
    if (failure !== undefined) throw failure
    return { code, stdout: Buffer.concat(stdout), stderr: printable(stderr.toString('utf8')).trim() }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new InstarError('TARGET_UNREACHABLE', `there is no program "${program}" here`, { cause: error })
    throw error
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

/** Answers with what went wrong in reading `input`. A reader that has gone away is told by how it ended. */
async function feed(child: ChildProcess, input: Readable | undefined): Promise<unknown> {
  const stdin = child.stdin!
  if (input === undefined) {
    stdin.on('error', () => {})
    stdin.end()
    return undefined
  }
  let failure: unknown
  input.once('error', (error) => {
    failure = error
  })
  await pipeline(input, stdin).catch(() => {})
  const { code } = (failure ?? {}) as NodeJS.ErrnoException
  return code === 'EPIPE' || code === 'ERR_STREAM_PREMATURE_CLOSE' ? undefined : failure
}

function end(child: ChildProcess): void {
  child.kill('SIGTERM')
  setTimeout(() => child.kill('SIGKILL'), endingMs).unref()
}
