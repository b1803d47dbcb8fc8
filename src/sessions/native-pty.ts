import { closeSync, fstatSync, readdirSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { InstarError } from '../errors.ts'
import { packagePlaces, requireFrom } from '../unbundled-packages.ts'
import { findDescriptorCalls } from './descriptor-calls.ts'
import type { Size } from './protocol.ts'
import { signalName } from './signal-name.ts'

export interface Forked {
  /** Non-blocking; and closed on exec, where the addon for descriptors is; see {@link closeStrayMasters}. */
  readonly master: number
  readonly pid: number
  /** Such as `/dev/pts/3`. */
  readonly ptsName: string
  readonly exited: Promise<{ code: number | null; signal: string | null }>
}

export interface ForkOptions {
  /** The whole environment of the program. */
  readonly env: Readonly<Record<string, string>>
  /** Empty: this process's own. */
  readonly cwd: string
  readonly size: Size
}

export interface NativePty {
  /**
   * Starts a program that leads a session of its own on a new terminal. It gets no other descriptor of this process. A
   * program or directory that is not there shows as a message on the terminal and exit code 1.
   *
   * @throws Where the system gives no terminal or no process.
   */
  fork(file: string, args: readonly string[], options: ForkOptions): Forked
  /** @throws Where the descriptor is no terminal. */
  resize(master: number, size: Size): void
}

/** The native part of node-pty 1.2, as its own JavaScript calls it. */
interface Binding {
  fork(
    file: string,
    args: readonly string[],
    env: readonly string[],
    cwd: string,
    columns: number,
    rows: number,
    uid: number,
    gid: number,
    utf8: boolean,
    helperPath: string,
    onExit: (code: number, signal: number) => void,
  ): { fd: number; pid: number; pty: string }
  resize(fd: number, columns: number, rows: number, xPixel: number, yPixel: number): void
}

let loaded: NativePty | undefined

/**
 * Loads the native part of node-pty, once; not its terminals, whose reading cannot be stopped at an exact byte.
 *
 * @param options.from A file or directory to look for `node-pty` from. Default: see {@link packagePlaces}.
 * @throws {InstarError} `PTY_UNAVAILABLE`, `PLATFORM_UNSUPPORTED`
 */
export function loadNativePty({ from }: { from?: string } = {}): NativePty {
  if (process.platform === 'win32') throw new InstarError('PLATFORM_UNSUPPORTED', 'sessions need a Unix terminal')
  loaded ??= load(from === undefined ? packagePlaces() : [from])
  return loaded
}

function load(places: readonly string[]): NativePty {
  const causes: unknown[] = []
  for (const place of places) {
    try {
      return bindingFrom(place)
    } catch (error) {
      causes.push(error)
    }
  }
  const cause = causes[0]
  const reason = cause instanceof Error ? cause.message.split('\n')[0] : 'there is nowhere to look for it'
  throw new InstarError('PTY_UNAVAILABLE', `node-pty cannot be loaded: ${reason}`, { cause, details: { places } })
}

function bindingFrom(place: string): NativePty {
  const requireThere = requireFrom(place)
  const { version } = requireThere('node-pty/package.json') as { version: string }
  if (!version.startsWith('1.2.')) throw new Error(`version ${version} is not one of 1.2`)
  const loader = requireThere.resolve('node-pty/lib/utils.js')
  const { loadNativeModule } = requireThere(loader) as { loadNativeModule(name: string): Loaded }
  const { dir, module } = loadNativeModule('pty')
  return new NodePty(module, resolve(dirname(loader), dir, 'spawn-helper'))
}

interface Loaded {
  /** Relative to what loaded it. */
  readonly dir: string
  readonly module: Binding
}

const noUser = -1

class NodePty implements NativePty {
  constructor(
    private readonly binding: Binding,
    /** macOS starts programs through it. */
    private readonly helper: string,
  ) {}

  fork(file: string, args: readonly string[], { env, cwd, size }: ForkOptions): Forked {
    const pairs = Object.entries(env).map(([name, value]) => `${name}=${value}`)
    let tell!: (status: { code: number | null; signal: string | null }) => void
    const exited: Forked['exited'] = new Promise((resolve) => {
      tell = resolve
    })
    const { fd, pid, pty } = this.binding.fork(
      file,
      args,
      pairs,
      cwd,
      size.columns,
      size.rows,
      noUser,
      noUser,
      true,
      this.helper,
      (code, signal) => tell(signal === 0 ? { code, signal: null } : { code: null, signal: signalName(signal) }),
    )
    // Nothing else can be started in between: all of it runs in one turn of the one thread that starts programs.
    findDescriptorCalls().calls?.setCloseOnExec(fd)
    return { master: fd, pid, ptsName: pty, exited }
  }

  resize(master: number, { columns, rows }: Size): void {
    this.binding.resize(master, columns, rows, 0, 0)
  }
}

/** What stat(2) says of every master on Linux: the device /dev/ptmx, 5:2. */
const ptmxDevice = (5 << 8) | 2

/** Whether a descriptor is the daemon's end of a terminal, as far as the system tells; false for one that is not open. */
export function isMaster(fd: number): boolean {
  try {
    const stat = fstatSync(fd)
    return stat.isCharacterDevice() && (process.platform !== 'linux' || stat.rdev === ptmxDevice)
  } catch {
    return false // not open (any more): no master
  }
}

/**
 * Closes every terminal master of this process but those in `keep`, and returns what it closed. For a daemon's start,
 * before it opens a session: node-pty leaves its masters open on exec, so that whoever is spawned by a daemon without the
 * addon for descriptors gets those of all sessions beside those it is meant to have, and a terminal hangs up only when the
 * last of its masters is closed. The programs in the terminals get none. Does nothing except on Linux; macOS passes on only
 * what is asked for.
 */
export function closeStrayMasters(keep: ReadonlySet<number>): number[] {
  if (process.platform !== 'linux') return []
  const strays = readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => !keep.has(fd) && isMaster(fd))
  for (const fd of strays) closeSync(fd)
  return strays
}
