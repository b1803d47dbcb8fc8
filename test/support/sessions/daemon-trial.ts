import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, open, readdir, readFile, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectDaemon, type DaemonClient } from '../../../src/sessions/client.ts'
import { daemonEnvironment } from '../../../src/sessions/daemon-environment.ts'
import { eventually } from './eventually.ts'
import { hasEnded, MarkedProcesses } from './processes.ts'

/** What a trial runs. */
export interface DaemonProgram {
  /** `daemon-main.js`, or the bundle of a host. */
  readonly main: string
  /** By which a host knows that it is to be a daemon. */
  readonly word?: string
  readonly keeper: string
  /** The Node that runs it; default: this one. */
  readonly node?: string
  /** What Node is given before its program; default: nothing. */
  readonly nodeFlags?: readonly string[]
}

/** As `upgrade` takes it. */
export function commandOf({
  main,
  word,
  node = process.execPath,
  nodeFlags = [],
}: DaemonProgram): [string, ...string[]] {
  return [node, ...nodeFlags, main, ...(word === undefined ? [] : [word])]
}

export interface TrialOptions {
  /** Default: none. */
  readonly keeper?: boolean
  /** More arguments of the daemon. */
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** How many descriptors it may have. */
  readonly filesMax?: number
}

/** What a daemon may leave in its directory when it was asked to stop. */
const lasting = /^(lock|daemon\.log|offsets|generation|code|exits(\/[^/]+\.json)?|pids|journals(\/.*)?)$/

/**
 * A daemon in a directory of its own. Disposing it stops the daemon, and is an error where a process, a socket or a file
 * is left over; in any case nothing is left then.
 */
export class DaemonTrial implements AsyncDisposable {
  readonly processes = new MarkedProcesses()
  /** What the daemons wrote to their log, once the trial is over. */
  finalLog = ''

  private readonly clients: DaemonClient[] = []
  private ending: Promise<void> | null = null

  private constructor(
    /** Goes with the trial; the daemon's directory is in it. */
    readonly temporary: string,
    private readonly program: DaemonProgram,
    private readonly options: TrialOptions,
  ) {}

  static async start(program: DaemonProgram, options: TrialOptions = {}): Promise<DaemonTrial> {
    const temporary = await realpath(await mkdtemp(join(tmpdir(), 'instar-trial-')))
    const trial = new DaemonTrial(temporary, program, options)
    try {
      await trial.launch()
    } catch (cause) {
      const log = await trial.log()
      await trial[Symbol.asyncDispose]()
      throw new Error(`the daemon did not start: ${log}`, { cause })
    }
    return trial
  }

  /** The daemon's directory. */
  get directory(): string {
    return join(this.temporary, 'main')
  }

  get socket(): string {
    return join(this.directory, 'daemon.sock')
  }

  /** Starts a daemon, or a keeper that does, and resolves when it answers. */
  async launch(): Promise<void> {
    const { keeper = false, filesMax } = this.options
    const before = await this.processes.all()
    const limited = filesMax === undefined ? [] : ['/bin/sh', '-c', `ulimit -n ${filesMax}; exec "$0" "$@"`]
    const program = keeper
      ? [
          this.program.keeper,
          '--directory',
          this.directory,
          '--',
          ...this.daemonCommand,
          'kept',
          ...this.daemonArguments,
        ]
      : [...this.daemonCommand, 'start', ...this.daemonArguments]
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    const log = await open(join(this.temporary, 'start.log'), 'a', 0o600)
    const command = [...limited, ...program]
    const child = spawn(command[0]!, command.slice(1), {
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      env: daemonEnvironment({ ...process.env, ...this.options.env, ...this.processes.environment }),
    })
    await log.close()
    const failed = new Promise<never>((_, reject) => {
      child.on('error', reject)
      child.on('exit', (code, signal) => reject(new Error(`it ended with ${code ?? signal}`)))
    })
    failed.catch(() => {}) // the race below may be over
    child.unref()
    await Promise.race([failed, this.answers(before.length)])
  }

  private async answers(processesBefore: number): Promise<void> {
    await eventually(async () => {
      if (!existsSync(this.socket) || (await this.processes.all()).length <= processesBefore) return false
      try {
        await using client = await connectDaemon({ path: this.socket, reconnect: false })
        await client.info()
        return true
      } catch {
        return false // not yet
      }
    }, 'an answer of the daemon')
  }

  /** The program of the daemon, as `upgrade` takes it. */
  get daemonCommand(): [string, ...string[]] {
    return commandOf(this.program)
  }

  get daemonArguments(): string[] {
    return ['--directory', this.directory, '--name', 'main', ...(this.options.args ?? [])]
  }

  /** A client that is closed with the trial. */
  async client(options: { reconnect?: boolean } = {}): Promise<DaemonClient> {
    const client = await connectDaemon({ path: this.socket, ...options })
    this.clients.push(client)
    return client
  }

  /** Of the daemon that serves now. */
  async pid(): Promise<number> {
    await using client = await connectDaemon({ path: this.socket })
    return (await client.info()).pid
  }

  /**
   * Kills the daemon that serves now, as nothing else could. Resolves when it is gone, with all that it held: while it still
   * has its connections, what is written to them is taken and lost.
   */
  async kill(): Promise<number> {
    const pid = await this.pid()
    process.kill(pid, 'SIGKILL')
    await eventually(() => hasEnded(pid), 'its end')
    return pid
  }

  /** Kills whatever runs, and what a keeper that has not been killed yet starts meanwhile. Resolves when all is gone. */
  async killAll(): Promise<void> {
    await eventually(async () => {
      const left = await this.processes.all()
      for (const { pid } of left) killIfThere(pid)
      return left.length === 0
    }, 'the end of what was killed')
  }

  /** Everything that was logged so far. */
  async log(): Promise<string> {
    const files = [join(this.temporary, 'start.log'), join(this.directory, 'daemon.log')]
    return (await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')))).join('')
  }

  /** Files that no daemon is to leave behind. */
  async strayFiles(): Promise<string[]> {
    const entries = await readdir(this.directory, { recursive: true }).catch(() => [] as string[])
    return entries.filter((path) => !lasting.test(path))
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.ending ??= this.end()
    return this.ending
  }

  private async end(): Promise<void> {
    const complaints: string[] = []
    try {
      for (const client of this.clients) await client.close()
      complaints.push(...(await this.stop()))
      complaints.push(...(await this.strayFiles()).map((path) => `left the file ${path}`))
      // A process that ends gives up its environment, by which it is found, a little before its sockets.
      const hasSockets = async () => (await readFile('/proc/net/unix', 'utf8')).includes(this.temporary)
      await eventually(async () => !(await hasSockets()), 'the end of its sockets', 2_000).catch(() => {})
      if (await hasSockets()) complaints.push('left a socket')
      this.finalLog = await this.log()
    } finally {
      await rm(this.temporary, { recursive: true, force: true })
    }
    if (complaints.length > 0) throw new Error(`the daemon ${complaints.join('; ')}\n${this.finalLog}`)
  }

  /** What was wrong with the end of it. */
  private async stop(): Promise<string[]> {
    const complaints: string[] = []
    if ((await this.processes.all()).length > 0)
      try {
        await using client = await connectDaemon({ path: this.socket, reconnect: false })
        await client.stop()
      } catch (error) {
        complaints.push(`could not be stopped: ${error}`)
      }
    const gone = async () => (await this.processes.all()).length === 0
    if (complaints.length === 0) await eventually(gone, 'the end of all', 10_000).catch(() => {})
    for (const { pid, command } of await this.processes.all()) complaints.push(`left the process ${pid} (${command})`)
    await this.killAll()
    return complaints
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
}
