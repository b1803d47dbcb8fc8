import type {
  Adjusted,
  Adjustment,
  Arm,
  Exit,
  Failure,
  LaunchContext,
  LaunchResult,
  UpdateOutcome,
  UpdateResult,
} from '../machines/index.ts'
import type { RuntimeConfig } from './config.ts'
import { errorFrom, InstarError } from './errors.ts'
import { inUseVersion } from './flows/runtime-world.ts'
import type { ReleaseRef } from './releases/layout.ts'
import type { ReleaseStore } from './releases/store.ts'
import { Detached, type Interpreter } from './run/interpreter.ts'
import { machineName } from './run/record.ts'
import { outputOf, type RunState } from './run/run.ts'
import { aborted, until } from './run/until.ts'
import type { Schedule } from './runtime/schedule.ts'

export interface Asked {
  /** Aborted, this caller gives up; when nobody else waits for it, what was begun is undone first. */
  readonly signal?: AbortSignal | undefined
  /** What is being done, with bytes and rate while fetching. */
  readonly onProgress?: ((progress: unknown) => void) | undefined
}

export interface CheckOptions extends Asked {
  /**
   * Take what the channel names also where it is below what was in use before, for example after a bad version was
   * withdrawn. Later versions are compared with it from then on. Default false: a channel that moves back is not followed.
   */
  readonly allowOlder?: boolean | undefined
}

export interface LaunchOptions extends Asked {
  /** Put behind the configured arguments. Not used where the runtime is running already. */
  readonly args?: readonly string[] | undefined
}

export interface CheckResult {
  readonly runtime: string
  readonly outcome: Exclude<UpdateOutcome, 'cancelled'>
  /** The version that was offered; null where none was learned. */
  readonly version: string | null
  /** The version in use when the offer was looked at. */
  readonly from: string | null
  readonly code?: string
  readonly reason?: string
}

export interface Running extends AsyncDisposable {
  readonly version: string
  readonly pid: number
  readonly url: string | null
  readonly arm: Arm
  /** The version that was to run and failed in this launch; null where the first choice runs. */
  readonly insteadOf: string | null
  /** Resolves when nothing of this launch runs any more and nothing will be started again. */
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>
  stop(): Promise<void>
}

export interface RuntimeStatus {
  readonly name: string
  readonly package: string
  readonly channel: string
  readonly current: ReleaseRef | null
  readonly previous: ReleaseRef | null
  readonly knownGood: ReleaseRef | null
  readonly bundled: { readonly version: string } | null
  /**
   * The version that the next launch begins with; null where there is nothing to run. Whether its files are still whole is
   * looked at only then, and `preferArms` is not asked.
   */
  readonly nextLaunch: string | null
  readonly bans: readonly { readonly version: string; readonly reason: string; readonly at: string }[]
  readonly releases: readonly ReleaseRef[]
  readonly running: {
    readonly version: string
    readonly pid: number
    readonly url: string | null
    readonly arm: Arm
  } | null
  /** The check that ended last, whoever asked for it; null where none has, or where it is so long ago that it is forgotten. */
  readonly lastCheck: {
    readonly at: string
    readonly outcome: CheckResult['outcome']
    /** The version that was offered; null where none was learned. */
    readonly version: string | null
    readonly reason: string | null
  } | null
  /** Null where nothing is scheduled. */
  readonly nextCheckInMs: number | null
  readonly problems: readonly { readonly at: string; readonly code: string; readonly reason: string }[]
}

/** What a managed runtime works with; the controller owns all of it. */
export interface RuntimeHost {
  readonly home: string
  readonly interpreter: Interpreter
  readonly store: ReleaseStore
  /** Nothing but the bundled version is launched. */
  readonly development: boolean
}

/**
 * One configured runtime: looked for, launched and adjusted through runs of its machines. Checks and launches are
 * single-flight: who asks while one is under way gets its answer.
 */
export class ManagedRuntime {
  /** Set by the controller where checks are scheduled. */
  schedule: Schedule | null = null
  private readonly waiting = new Map<string, number>()
  /** Launches that began here and that nobody has been handed yet; only these may end because nobody waits. */
  private readonly unclaimed = new Set<string>()

  constructor(
    readonly name: string,
    private readonly config: RuntimeConfig,
    private readonly host: RuntimeHost,
  ) {}

  /**
   * Looks for a newer version, and proves and stages it where there is one. The outcome says what was found; failures of
   * the network or the disk are the outcome `check-failed`.
   *
   * @throws {InstarError} `ABORTED` when `signal` aborts, or somebody else cancelled the check.
   */
  async check({ signal, onProgress, allowOlder = false }: CheckOptions = {}): Promise<CheckResult> {
    const { engines, minimumReleaseAgeMs } = this.config.policy
    const input = { runtime: this.name, policy: { engines, minimumReleaseAgeMs, allowOlder } }
    // One that is under way may look for newer versions only.
    const busy = allowOlder ? 'wait' : 'join'
    const { run } = await this.host.interpreter.start('runtime-update', { key: this.name, input, busy })
    const ended = await this.concluded(run, { signal, onProgress })
    const { outcome, version, from, failure } = outputOf<UpdateResult>(ended)
    if (outcome === 'cancelled') throw new InstarError('ABORTED', `the check of ${this.name} was cancelled`)
    return {
      runtime: this.name,
      outcome,
      version,
      from,
      ...(failure?.code !== undefined && { code: failure.code }),
      ...(failure !== null && { reason: failure.message }),
    }
  }

  /**
   * Runs the best version there is: what was staged last, else the last known-good, else the bundled one. Resolves when
   * it has proven to be up; from then on it is watched, and started again when it crashes.
   *
   * @throws {InstarError} `RUNTIME_UNUSABLE` when no arm would start; `RUNTIME_UNSTOPPABLE`; `ABORTED`.
   */
  async launch({ signal, onProgress, args = [] }: LaunchOptions = {}): Promise<Running> {
    const input = { runtime: this.name, args: [...args], probationMs: this.config.probationMs }
    const { interpreter } = this.host
    const { run, seq, startedSeq } = await interpreter.start('runtime-launch', { key: this.name, input, busy: 'join' })
    if (seq === startedSeq) this.unclaimed.add(run)
    const state = await this.settled(run, { signal, onProgress })
    if (state.status !== 'active' || !state.tags?.includes('ready')) throw unusable(this.name, state)
    this.unclaimed.delete(run)
    return this.handle(state)
  }

  /** The runtime as it runs now, or null. */
  running(): RuntimeStatus['running'] {
    const state = this.host.interpreter.active('runtime-launch', this.name)
    if (!state?.tags?.includes('ready')) return null
    const { candidate, child, url } = state.context as LaunchContext
    return { version: candidate!.version, arm: candidate!.arm, pid: child!.pid, url }
  }

  /** Everything about it, read from the disk now. */
  async status(): Promise<RuntimeStatus> {
    const { store, development } = this.host
    const state = await store.state(this.name)
    const { pointer, bans, problems } = state
    const { package: packageName, channel, bundled } = this.config
    return {
      name: this.name,
      package: packageName,
      channel,
      current: refOf(pointer.current),
      previous: refOf(pointer.previous),
      knownGood: refOf(pointer.knownGood),
      bundled: bundled ? { version: bundled.version } : null,
      nextLaunch: development ? (bundled?.version ?? null) : inUseVersion(state, this.config),
      bans: Object.entries(bans).map(([version, { reason, at }]) => ({ version, reason, at })),
      releases: (await store.list(this.name)).map(({ version, digest }) => ({ version, digest })),
      running: this.running(),
      lastCheck: this.lastCheck(),
      nextCheckInMs: this.schedule?.state().nextInMs ?? null,
      problems,
    }
  }

  /**
   * Points the next launch at the version before the current one, and bans the current one so that no check brings it
   * back. What runs goes on running.
   *
   * @throws {InstarError} `NOTHING_TO_ROLL_BACK` where the bundled version is in use already.
   */
  async rollback({ signal }: Asked = {}): Promise<{ from: string | null; to: string | null }> {
    const { current } = await this.host.store.pointer(this.name)
    if (current === null)
      throw new InstarError('NOTHING_TO_ROLL_BACK', `${this.name} uses no release that was staged here`)
    const { from = null, to = null } = await this.adjust({ kind: 'rollback', from: refOf(current)! }, signal)
    return { from, to }
  }

  /** Never stages or launches `version` again, until it is unbanned. What runs goes on running. */
  async ban(version: string, reason = 'banned by a person', { signal }: Asked = {}): Promise<void> {
    await this.adjust({ kind: 'ban', version, reason }, signal)
  }

  async unban(version: string, { signal }: Asked = {}): Promise<void> {
    await this.adjust({ kind: 'unban', version }, signal)
  }

  /** Removes old releases beyond what the policy keeps; never one that is in use or could be gone back to. */
  async prune({ signal }: Asked = {}): Promise<{ removed: readonly string[] }> {
    const { removed = [] } = await this.adjust({ kind: 'prune' }, signal)
    return { removed }
  }

  /**
   * Writes the command that the host ships for this runtime, `NAME` and `NAME.cmd`. It needs no controller: it runs the
   * release that the pointer names, after comparing it with its seal, else the bundled one; or what
   * INSTAR_RUNTIME_OVERRIDE names, and nothing else where that is missing. Arguments and exit codes pass through.
   *
   * @param options.directory Absolute; created where it is missing.
   * @param options.name The command's name; the runtime's where absent.
   * @param options.launcher Where the built `launcher.js` is, for a host that bundles this module elsewhere.
   */
  async writeLauncher(options: { directory: string; name?: string; launcher?: string }): Promise<void> {
    const { writeLauncher } = await import('./runtime/write-launcher.ts')
    const { entry, node, bundled } = this.config
    const { home } = this.host
    const program = { home, runtime: this.name, entry, bundled, ...(node !== undefined && { node }) }
    await writeLauncher({ name: this.name, ...options, ...program })
  }

  /** Ends what a launch started, and waits for it. */
  async stop({ signal }: Asked = {}): Promise<void> {
    const active = this.host.interpreter.active('runtime-launch', this.name)
    if (active !== undefined) await this.stopRun(active.run, { signal })
  }

  private lastCheck(): RuntimeStatus['lastCheck'] {
    const isCheck = ({ machine, key }: RunState) => machineName(machine) === 'runtime-update' && key === this.name
    for (const { at, output } of this.host.interpreter.list().filter(isCheck).reverse()) {
      const { outcome, version = null, failure = null } = (output ?? {}) as Partial<UpdateResult>
      // One that is under way or was cancelled has learned nothing.
      if (outcome === undefined || outcome === 'cancelled') continue
      return { at: new Date(at).toISOString(), outcome, version, reason: failure?.message ?? null }
    }
    return null
  }

  private async stopRun(run: string, { signal }: Asked = {}): Promise<void> {
    const { interpreter } = this.host
    try {
      await interpreter.send(run, { type: 'stop' })
    } catch (error) {
      // It ended by itself, perhaps so long ago that it is forgotten.
      if (error instanceof InstarError && (error.code === 'RUN_ENDED' || error.code === 'RUN_UNKNOWN')) return
      throw error
    }
    const state = await until(
      this.host.interpreter,
      run,
      ({ status, tags }) => status !== 'active' || isBlocked({ tags }),
      { signal },
    )
    if (state.status === 'active') throw unusable(this.name, state)
  }

  private handle(state: RunState): Running {
    const { candidate, child, url, insteadOf } = state.context as LaunchContext
    const exited = this.host.interpreter.ended(state.run).then((ended) => {
      const exit: Exit | null = ended.status === 'done' ? (ended.output as LaunchResult).exit : null
      return { code: exit?.code ?? null, signal: exit?.signal ?? null }
    })
    // Whoever does not ask is not to be told by a rejection either: the controller closes before the runtime ends.
    exited.catch(() => {})
    const stop = () => this.stopRun(state.run)
    const { version, arm } = candidate!
    return { version, arm, insteadOf, pid: child!.pid, url, exited, stop, [Symbol.asyncDispose]: stop }
  }

  private async adjust(adjustment: Adjustment, signal: AbortSignal | undefined): Promise<Adjusted> {
    const { interpreter } = this.host
    const input = { runtime: this.name, adjustment }
    const { run } = await interpreter.start('runtime-adjust', { key: this.name, input, busy: 'wait' })
    const ended = await interpreter.ended(run, signal === undefined ? {} : { signal }).catch(rethrowAborted(signal))
    const { adjusted, failure } = outputOf<{ adjusted: Adjusted | null; failure: Failure | null }>(ended)
    if (failure !== null) throw errorFrom(failure)
    return adjusted!
  }

  /** Resolves when the launch is ready, has ended, or waits for a person. */
  private settled(run: string, asked: Asked): Promise<RunState> {
    const isSettled = ({ status, tags }: RunState) =>
      status !== 'active' || tags?.includes('ready') || isBlocked({ tags })
    const giveUp = async () => {
      if (this.unclaimed.delete(run)) await this.tellAndWait(run, 'stop')
    }
    return this.sharing(run, giveUp, asked, () => until(this.host.interpreter, run, isSettled, asked))
  }

  private concluded(run: string, asked: Asked): Promise<RunState> {
    const isOver = ({ status }: RunState) => status !== 'active'
    return this.sharing(
      run,
      () => this.tellAndWait(run, 'cancel'),
      asked,
      () => until(this.host.interpreter, run, isOver, asked),
    )
  }

  /**
   * Runs `wait`; when the last of those who wait for a run gives up, so does the run. A controller that closes gives up
   * nothing: what is under way goes on when the home is opened again.
   */
  private async sharing(
    run: string,
    giveUp: () => Promise<void>,
    { signal }: Asked,
    wait: () => Promise<RunState>,
  ): Promise<RunState> {
    this.waiting.set(run, (this.waiting.get(run) ?? 0) + 1)
    try {
      return await wait()
    } catch (error) {
      const isAlone = this.waiting.get(run) === 1
      if (signal?.aborted && !(signal.reason instanceof Detached) && isAlone) await giveUp()
      throw error
    } finally {
      const left = this.waiting.get(run)! - 1
      if (left === 0) this.waiting.delete(run)
      else this.waiting.set(run, left)
    }
  }

  private async tellAndWait(run: string, type: 'cancel' | 'stop'): Promise<void> {
    const { interpreter } = this.host
    try {
      await interpreter.send(run, { type })
      await interpreter.ended(run)
    } catch {
      // It ended meanwhile, or the controller closes: either way nobody is left to be told.
    }
  }
}

const isBlocked = ({ tags }: { tags?: readonly string[] | undefined }) => tags?.includes('blocked') === true

const refOf = (release: ReleaseRef | null) => release && { version: release.version, digest: release.digest }

const rethrowAborted = (signal: AbortSignal | undefined) => (error: unknown) => {
  throw signal?.aborted ? aborted(signal) : error
}

function unusable(name: string, state: RunState): InstarError {
  if (isBlocked(state))
    return new InstarError('RUNTIME_UNSTOPPABLE', `a process of ${name} cannot be ended`, {
      details: { run: state.run },
    })
  const { outcome, failure } = outputOf<LaunchResult>(state)
  if (outcome === 'stopped') return new InstarError('ABORTED', `${name} was stopped while it started`)
  const why = failure === null ? 'there is no version to run' : failure.message
  return new InstarError('RUNTIME_UNUSABLE', `${name} did not start: ${why}`, {
    details: { run: state.run, ...(failure !== null && { failure }) },
    ...(failure === null && { hint: 'Run `instar runtime check` first, or configure a bundled version.' }),
  })
}
