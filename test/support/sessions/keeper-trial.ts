import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { eventually } from './eventually.ts'
import type { Requests } from './kept-daemon.ts'
import { MarkedProcesses } from './processes.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** A keeper built as a user of the package builds it: from what is shipped, by the script that is shipped. */
export class BuiltKeeper implements AsyncDisposable {
  private constructor(
    readonly folder: string,
    readonly message: string,
  ) {}

  static async build(environment: Record<string, string> = {}): Promise<BuiltKeeper> {
    const folder = await mkdtemp(join(tmpdir(), 'instar-keeper-'))
    await cp(join(root, 'native'), join(folder, 'native'), { recursive: true })
    await cp(join(root, 'scripts/build-native.mjs'), join(folder, 'scripts/build-native.mjs'))
    const built = new BuiltKeeper(folder, await BuiltKeeper.runBuild(folder, environment))
    return built
  }

  static async runBuild(folder: string, environment: Record<string, string> = {}): Promise<string> {
    const { stderr } = await promisify(execFile)(process.execPath, [join(folder, 'scripts/build-native.mjs')], {
      env: { ...process.env, ...environment },
    })
    return stderr
  }

  get path(): string {
    return join(this.folder, 'dist/native/keeper')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }
}

export interface KeeperTrialOptions {
  readonly keeper: string
  /** What the keeper starts; it is given the directory. */
  readonly command: (directory: string) => readonly string[]
  /** Of open files, for the keeper and all below it. */
  readonly filesMax?: number
}

/** A keeper in a directory of its own, with daemons for the test below it. Nothing of it is left at the end. */
export class KeeperTrial implements AsyncDisposable {
  readonly marked = new MarkedProcesses()
  private keepers: ChildProcess[] = []

  private constructor(
    readonly directory: string,
    private readonly options: KeeperTrialOptions,
  ) {}

  static async make(options: KeeperTrialOptions): Promise<KeeperTrial> {
    return new KeeperTrial(await mkdtemp(join(tmpdir(), 'instar-kept-')), options)
  }

  /** With a daemon that serves. */
  static async start(options: KeeperTrialOptions): Promise<KeeperTrial> {
    const trial = await KeeperTrial.make(options)
    trial.startKeeper()
    try {
      await eventually(async () => (await trial.ask('info')).keeperPid !== null, 'a daemon that serves')
      return trial
    } catch (error) {
      console.error(await trial.log())
      await trial[Symbol.asyncDispose]()
      throw error
    }
  }

  startKeeper(): ChildProcess {
    const { keeper, command, filesMax } = this.options
    const args = ['--directory', this.directory, '--', ...command(this.directory)]
    const [program, ...before] =
      filesMax === undefined ? [keeper] : ['/bin/sh', '-c', `ulimit -n ${filesMax}; exec "$0" "$@"`, keeper]
    const child = spawn(program!, [...before, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...this.marked.environment },
    })
    this.keepers.push(child)
    return child
  }

  get keeper(): ChildProcess {
    return this.keepers[0]!
  }

  /** Asks whichever daemon serves, or will serve. */
  async ask<Method extends keyof Requests>(
    method: Method,
    takes: Requests[Method]['takes'] = {},
  ): Promise<Requests[Method]['gives']> {
    let answer = ''
    // A daemon that is ending may still have accepted.
    await eventually(async () => {
      answer = await this.askOnce(`${JSON.stringify({ method, takes })}\n`)
      return answer.endsWith('\n')
    }, `an answer to ${method}`)
    return JSON.parse(answer)
  }

  private askOnce(line: string): Promise<string> {
    return new Promise((resolve) => {
      let answer = ''
      const socket = createConnection(join(this.directory, 'daemon.sock'), () => socket.write(line))
      socket.on('data', (bytes) => {
        answer += bytes
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(answer))
    })
  }

  /** Types a line whose answer is not in it, and resolves when the answer has been printed. */
  async asks(handle: number, line: string, answer: string | RegExp): Promise<void> {
    await this.ask('type', { handle, text: `${line}\n` })
    await this.shows(handle, answer)
  }

  async shows(handle: number, what: string | RegExp): Promise<void> {
    let screen = ''
    await eventually(async () => {
      screen = await this.ask('screen', { handle })
      return typeof what === 'string' ? screen.includes(what) : what.test(screen)
    }, `${what} on the screen`).catch((cause) => {
      throw new Error(`the screen is ${JSON.stringify(screen)}`, { cause })
    })
  }

  /** Kills the daemon that serves, and resolves to its successor's pid when that one serves. */
  async crash(): Promise<number> {
    const { pid } = await this.ask('info')
    process.kill(pid, 'SIGKILL')
    return this.nextAfter(pid)
  }

  async nextAfter(pid: number): Promise<number> {
    let next = pid
    await eventually(async () => {
      const info = await this.ask('info')
      next = info.pid
      return next !== pid && info.keeperPid !== null
    }, 'another daemon')
    return next
  }

  /** The daemons that were started, such as `kept 123`. */
  async starts(): Promise<string[]> {
    const text = await readFile(join(this.directory, 'starts'), 'utf8').catch(() => '')
    return text.split('\n').slice(0, -1)
  }

  log(): Promise<string> {
    return readFile(join(this.directory, 'daemon.log'), 'utf8').catch(() => '')
  }

  /** How the keeper ended. */
  async ended(keeper: ChildProcess = this.keeper): Promise<number | NodeJS.Signals | null> {
    if (keeper.exitCode === null && keeper.signalCode === null) await once(keeper, 'exit')
    return keeper.signalCode ?? keeper.exitCode
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const keeper of this.keepers) if (keeper.exitCode === null) keeper.kill('SIGKILL')
    await Promise.all(this.keepers.map((keeper) => this.ended(keeper)))
    for (const { pid } of await this.marked.all()) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {} // it ended meanwhile
    }
    await eventually(async () => (await this.marked.all()).length === 0, 'the end of every process')
    await rm(this.directory, { recursive: true, force: true })
  }
}
