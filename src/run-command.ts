import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { InstarError, type InstarErrorCode } from './errors.ts'
import { printable } from './printable.ts'

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
  readonly environment?: NodeJS.ProcessEnv
  /** What it means here that the program is missing or takes too long, and that it prints without end. */
  readonly failures: { readonly unreachable: InstarErrorCode; readonly failed: InstarErrorCode }
}

const stdoutBytesMax = 64 * 1024 * 1024
const stderrBytesKept = 4096
/** How long one that was asked to end has. */
const endingMs = 2000

/**
 * Runs a command to its end and takes what it printed. What it did not read of its input is nobody's concern.
 *
 * @throws {InstarError} the codes of `failures`; `ABORTED`. It has ended by then.
 */
export async function runCommand(words: readonly string[], options: RunOptions): Promise<Ran> {
  const { input, signal, deadlineMs, environment: env, failures } = options
  signal?.throwIfAborted()
  const [program, ...args] = words
  // In a group of its own: a Ctrl-C in the terminal is for us, and we decide what it means for a step that is under way.
  const child = spawn(program!, args, { env, stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  let why: InstarError | undefined
  const giveUp = (error: InstarError) => {
    why ??= error
    end(child)
  }
  const abort = () => giveUp(new InstarError('ABORTED', `${program} was ended`))
  const timer = setTimeout(() => {
    giveUp(new InstarError(failures.unreachable, `${program} did not finish within ${deadlineMs / 1000} s`))
  }, deadlineMs)
  signal?.addEventListener('abort', abort, { once: true })
  const stdout: Buffer[] = []
  let length = 0
  let stderr = Buffer.alloc(0)
  child.stdout.on('data', (bytes: Buffer) => {
    length += bytes.length
    if (length <= stdoutBytesMax) stdout.push(bytes)
    else giveUp(new InstarError(failures.failed, `${program} printed more than ${stdoutBytesMax} bytes`))
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
      throw new InstarError(failures.unreachable, `there is no program "${program}" here`, { cause: error })
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
