import { accessSync, closeSync, constants, readFileSync, statSync, unlinkSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { getSystemErrorMap, getSystemErrorName } from 'node:util'
import { InstarError } from '../errors.ts'
import { findProgram } from '../find-program.ts'
import type { NativePty } from './native-pty.ts'
import type { Size } from './protocol.ts'
import type { Status } from './session.ts'

export interface Opening {
  readonly handle: number
  readonly command: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly size: Size
}

export interface Opened {
  readonly descriptor: number
  readonly pid: number
  readonly ptsName: string
  /** Where this process is the program's parent; else the keeper tells. */
  readonly exited: Promise<Status> | null
}

/** The keeper's program, and where its shim writes whom it started. */
export interface Shim {
  readonly program: string
  readonly pidDirectory: string
}

/**
 * Starts a program in a new terminal. With a shim the program is the keeper's child and its end is known whoever dies;
 * without, it is this process's.
 *
 * @throws {InstarError} `SESSION_CWD_INVALID`, `SESSION_COMMAND_INVALID`, `SESSION_LIMIT`, `PTY_UNAVAILABLE`
 */
export async function openSession(pty: NativePty, opening: Opening, shim: Shim | null): Promise<Opened> {
  const { command, cwd, env, size } = opening
  refuseUnusable(cwd)
  const [name = '', ...args] = command
  const program = programOf(name, cwd, env.PATH)
  if (shim === null) {
    const { master, pid, ptsName, exited } = fork(pty, program, args, { env, cwd, size })
    return { descriptor: master, pid, ptsName, exited }
  }
  const pidFile = join(shim.pidDirectory, String(opening.handle))
  const shimArgs = ['shim', pidFile, '--', name, program, ...args]
  const { master, ptsName, exited } = fork(pty, shim.program, shimArgs, { env, cwd, size })
  const { code } = await exited
  try {
    return { descriptor: master, pid: takePid(pidFile, name, code === 0), ptsName, exited: null }
  } catch (error) {
    closeSync(master)
    throw error
  }
}

function fork(
  pty: NativePty,
  file: string,
  args: string[],
  options: { env: Readonly<Record<string, string>>; cwd: string; size: Size },
): ReturnType<NativePty['fork']> {
  try {
    return pty.fork(file, args, options)
  } catch (cause) {
    // forkpty(3) fails for want of terminals, of descriptors or of processes.
    throw new InstarError('SESSION_LIMIT', 'the system gives no terminal', { cause })
  }
}

/** A line that was written a moment ago: to read it on the spot takes less than to have a thread do it. */
function takePid(file: string, name: string, isStarted: boolean): number {
  let text = ''
  try {
    text = readFileSync(file, 'latin1')
    unlinkSync(file)
  } catch {
    // The shim could not write it down, and has ended what it started.
  }
  const pid = /^(\d+)\n$/.exec(text)?.[1]
  // Where the shim did not start it, a number is what a daemon that was killed has left there.
  if (pid !== undefined && isStarted) return Number(pid)
  const errno = Number(/^error (\d+)\n$/.exec(text)?.[1])
  const reason = getSystemErrorMap().has(-errno) ? getSystemErrorName(-errno) : 'it could not be started'
  throw new InstarError('SESSION_COMMAND_INVALID', `${name}: ${reason}`)
}

function refuseUnusable(cwd: string): void {
  const refused = (why: string, cause?: unknown) =>
    new InstarError('SESSION_CWD_INVALID', `the working directory ${cwd} ${why}`, { cause })
  if (!isAbsolute(cwd)) throw refused('is not an absolute path')
  let isDirectory: boolean
  try {
    isDirectory = statSync(cwd).isDirectory()
    if (isDirectory) accessSync(cwd, constants.X_OK)
  } catch (cause) {
    throw refused((cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : 'cannot be entered', cause)
  }
  if (!isDirectory) throw refused('is not a directory')
}

/** Says before anything is started that nothing is there. */
function programOf(name: string, cwd: string, path: string | undefined): string {
  const program = findProgram(name, cwd, path)
  if (program !== undefined) return program
  const why = name === '' ? 'the command is empty' : `there is no program ${name}`
  throw new InstarError('SESSION_COMMAND_INVALID', why)
}
