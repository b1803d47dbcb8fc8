import { randomUUID } from 'node:crypto'
import type { Answer, Daemon, Failure, Handoff, SupervisionContext, Wish } from '../machines/index.ts'
import { type ErrorRecord, errorFrom, errorRecord, InstarError } from './errors.ts'
import { type DaemonWorld, daemonOf } from './flows/daemon-world.ts'
import type { Interpreter } from './run/interpreter.ts'
import { until } from './run/until.ts'
import { askDaemon } from './sessions/ask-daemon.ts'
import { daemonDirectory } from './sessions/daemon-place.ts'

export interface DaemonAsked {
  /** Aborted, this caller gives up; what was asked for goes on. */
  readonly signal?: AbortSignal | undefined
}

export interface DaemonStatus {
  readonly name: string
  /** Absolute path of what belongs to it. */
  readonly directory: string
  /** The version that a daemon started now would have. */
  readonly wanted: string
  /** `unclear`: something is there that does not answer as it should; `failure` says how. */
  readonly state: 'running' | 'absent' | 'unclear'
  readonly running:
    | (Daemon & { readonly startedAt: number; readonly sessions: number; readonly connections: number })
    | null
  readonly failure: ErrorRecord | null
  /** Why the last update to `wanted` left the old daemon; it is not tried again by itself. */
  readonly kept: Failure | null
}

export interface DaemonUpdate {
  readonly daemon: string
  readonly outcome: Handoff['outcome']
  readonly predecessor: number
  readonly successor: number | null
  /** The version of who serves now, as its own code says. */
  readonly version: string
  readonly sessions: number
  /** How long no byte flowed; null where it was kept, or where the answer was lost to a crash of the controller. */
  readonly freezeMs: number | null
  /** Why it was kept. */
  readonly reason: Failure | null
}

/** What a managed daemon works with; the controller owns all of it. */
export interface DaemonHost {
  readonly interpreter: Interpreter
  readonly world: DaemonWorld
  /** Replace an older daemon without being asked. */
  readonly autoUpdate: boolean
}

const machine = 'daemon-supervision'

/** What a daemon says of itself; for this no controller is needed. */
export async function daemonStatus(
  world: Pick<DaemonWorld, 'home' | 'version'>,
  name: string,
  signal: AbortSignal = new AbortController().signal,
): Promise<DaemonStatus> {
  const directory = daemonDirectory(world.home, name)
  const head = { name, directory, wanted: world.version, running: null, failure: null, kept: null }
  try {
    const info = await askDaemon(directory, (daemon) => daemon.info(), signal)
    if (info === undefined) return { ...head, state: 'absent' }
    const { startedAt, sessions, connections } = info
    return { ...head, state: 'running', running: { ...daemonOf(world, info), startedAt, sessions, connections } }
  } catch (error) {
    signal.throwIfAborted()
    return { ...head, state: 'unclear', failure: errorRecord(error) }
  }
}

/**
 * One session daemon, by name: started, updated and stopped through the one run that supervises it, so that no two of
 * these can race. Who asks for what is under way gets its answer.
 */
export class ManagedDaemon {
  constructor(
    readonly name: string,
    private readonly host: DaemonHost,
  ) {}

  /** Absolute path of what belongs to it. */
  get directory(): string {
    return daemonDirectory(this.host.world.home, this.name)
  }

  /** Asks the daemon itself. */
  async status({ signal }: DaemonAsked = {}): Promise<DaemonStatus> {
    const { world, interpreter } = this.host
    const context = interpreter.active(machine, this.name)?.context as SupervisionContext | undefined
    const kept = context?.kept?.wanted === world.version ? context.kept.failure : null
    return { ...(await daemonStatus(world, this.name, signal)), kept }
  }

  /**
   * Sees that one runs: adopts the one that does, else starts one.
   *
   * @throws {InstarError} `DAEMON_SPAWN_FAILED`, `DAEMON_STOPPING`, `DAEMON_SILENT`, `DAEMON_DENIED`.
   */
  async start(asked: DaemonAsked = {}): Promise<Daemon> {
    const { daemon } = await this.ask('start', asked)
    return daemon!
  }

  /**
   * Replaces the daemon by one of the host's version, also where it has that already. Its terminals and clients go on.
   * Where that fails nothing has changed, and the outcome is `kept`.
   *
   * @throws {InstarError} `DAEMON_NOT_RUNNING`, `DAEMON_GONE`, `DAEMON_STOPPING`.
   */
  async update(asked: DaemonAsked = {}): Promise<DaemonUpdate> {
    const { handoff, daemon } = await this.ask('update', asked)
    return { daemon: this.name, ...handoff!, version: daemon!.version }
  }

  /**
   * Ends every session and the daemon, and starts a new one. Where none runs one is started.
   *
   * @throws {InstarError} `DAEMON_SPAWN_FAILED`, `DAEMON_STOPPING`, `DAEMON_SILENT`.
   */
  async restart(asked: DaemonAsked = {}): Promise<{ readonly daemon: Daemon; readonly ended: number }> {
    const { daemon, ended } = await this.ask('restart', asked)
    return { daemon: daemon!, ended }
  }

  /**
   * Ends every session and the daemon. Where none runs there is nothing to do.
   *
   * @throws {InstarError} `DAEMON_SILENT` where it does not end.
   */
  async stop(asked: DaemonAsked = {}): Promise<{ readonly ended: number }> {
    const { ended } = await this.ask('stop', asked)
    return { ended }
  }

  /** Looks after a daemon that was left running: adopts it, and updates it where it is older than the host. */
  async supervise(): Promise<void> {
    await this.run()
  }

  private async ask(wish: Wish, { signal }: DaemonAsked): Promise<Answer> {
    const { interpreter } = this.host
    const id = randomUUID()
    const run = await this.run()
    await interpreter.send(run, { type: wish, id } as { type: string })
    const answerIn = (context: unknown) => (context as SupervisionContext).answers.find(({ ids }) => ids.includes(id))
    const state = await until(
      interpreter,
      run,
      ({ status, context }) => status !== 'active' || answerIn(context) !== undefined,
      { signal },
    )
    const answer = answerIn(state.context)
    if (answer === undefined)
      throw new InstarError('DAEMON_UNKNOWN', `the daemon ${this.name} is not supervised any more`)
    if (answer.failure !== null) throw errorFrom(answer.failure)
    return answer
  }

  /** The run that supervises it, told what the host is now. */
  private async run(): Promise<string> {
    const { interpreter, world, autoUpdate } = this.host
    const input = { name: this.name, wanted: world.version, autoUpdate }
    const { run, context } = await interpreter.start(machine, { key: this.name, input, busy: 'join' })
    const known = context as SupervisionContext
    if (known.wanted !== world.version || known.autoUpdate !== autoUpdate)
      await interpreter.send(run, { type: 'expect', ...input } as { type: string })
    return run
  }
}
