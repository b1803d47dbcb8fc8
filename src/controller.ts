import { join } from 'node:path'
import {
  appInstall,
  appInstance,
  appPin,
  appRefusal,
  appRemove,
  appUpgrade,
  daemonSupervision,
  type InstallContext,
  type LaunchContext,
  pluginInstall,
  pluginRemove,
  pluginSet,
  runtimeAdjust,
  runtimeLaunch,
  runtimeUpdate,
  type SetMember,
  type SetResult,
  type UpdateContext,
  workspaceAdjust,
} from '../machines/index.ts'
import type { Candidate, ReleaseRef } from '../machines/runtime.ts'
import { type Config, loadConfig, type RuntimeConfig } from './config.ts'
import { Daemons } from './daemons.ts'
import { sweepDrafts } from './disk.ts'
import { type ErrorRecord, errorRecord, InstarError } from './errors.ts'
import { appInstallEffects } from './flows/app-install.ts'
import { instanceEffects } from './flows/app-instance.ts'
import { appPinEffects } from './flows/app-pin.ts'
import { appRemoveEffects } from './flows/app-remove.ts'
import { upgradeEffects } from './flows/app-upgrade.ts'
import { type AppWorld, openAppWorld } from './flows/app-world.ts'
import { supervisionEffects } from './flows/daemon-supervision.ts'
import type { DaemonWorld } from './flows/daemon-world.ts'
import { registryOffer } from './flows/package-source.ts'
import { installEffects } from './flows/plugin-install.ts'
import { removeEffects } from './flows/plugin-remove.ts'
import { setEffects } from './flows/plugin-set.ts'
import type { PluginWorld } from './flows/plugin-world.ts'
import { contributionsIn } from './flows/plugin-world.ts'
import { adjustEffects } from './flows/runtime-adjust.ts'
import { launchEffects } from './flows/runtime-launch.ts'
import { updateEffects } from './flows/runtime-update.ts'
import { type RuntimeWorld, recordsIn } from './flows/runtime-world.ts'
import { workspaceEffects } from './flows/workspace-adjust.ts'
import { frozen } from './frozen.ts'
import { held, unattended } from './held.ts'
import { openHome, resolveHome } from './home.ts'
import type { JournalRecord, ReadRange } from './journal/cursor.ts'
import { type FollowOptions, type Journal, openJournal } from './journal/journal.ts'
import { harmless, type Logger, silent } from './logger.ts'
import { ManagedAccess } from './managed-access.ts'
import { ManagedApps, ManagedWorkspaces } from './managed-apps.ts'
import { ManagedCredentials } from './managed-credentials.ts'
import type { ManagedDaemon } from './managed-daemon.ts'
import { isOfPlugins, ManagedPlugins } from './managed-plugins.ts'
import { ManagedRuntime, type RuntimeStatus } from './managed-runtime.ts'
import type { ManagedSessions } from './managed-sessions.ts'
import { didYouMean } from './nearest.ts'
import { packageVersion } from './package-info.ts'
import { Targets } from './plugins/targets.ts'
import { checkedProcedures, Procedures } from './procedures.ts'
import { ReleaseStore } from './releases/store.ts'
import type { Notice } from './run/apply.ts'
import type { AnyFlow } from './run/flow.ts'
import { type Change, Detached, Interpreter, type Replayed } from './run/interpreter.ts'
import type { RunState } from './run/run.ts'
import { startSchedule } from './runtime/schedule.ts'
import { sweepChildren } from './runtime/sweep-children.ts'
import { findKeeper } from './sessions/keeper.ts'
import type { DaemonCommand } from './sessions/protocol.ts'

export interface ControllerOptions {
  /** Absolute path. Default: `INSTAR_HOME`, else the platform's data directory. */
  readonly home?: string
  /** What `loadConfig` or `parseConfig` gave, or the path of a configuration file. */
  readonly config: Config | string
  readonly logger?: Logger
  /** Aborts opening. It does not close a controller that is open. */
  readonly signal?: AbortSignal
  /** Look for newer versions by itself, as configured. Default true. Its timers never keep the process alive. */
  readonly schedule?: boolean
  /** Only look: nothing that was under way is resumed, no run begins, and nothing is swept. Default false. */
  readonly observe?: boolean
  /** No timers, nothing is fetched, the bundled version is what runs. Default false. */
  readonly development?: boolean
  /**
   * The host's say in what a launch tries: gets the arms, best first, and gives those to try. What it adds is not used.
   * When it throws, the bundled version starts and the error is reported.
   */
  readonly preferArms?: (
    runtime: string,
    arms: readonly Candidate[],
  ) => readonly Candidate[] | Promise<readonly Candidate[]>
  readonly apps?: {
    /** Gives the secret that is kept under a name. Default: the home's own store gives it; see `credentials`. */
    readonly credential?: (name: string, place: { readonly app: string; readonly workspace: string }) => Promise<string>
  }
  /**
   * Procedures of the host's own: statecharts and what serves their effects. Their runs are in the home's journal beside the
   * controller's; see {@link Controller.procedures}. A home with a run of one that goes on can be opened only with it.
   */
  readonly procedures?: readonly AnyFlow[]
  readonly sessions?: {
    /** The program that a daemon is, for a host that is one bundle. Default: the configuration's, else this package's. */
    readonly command?: DaemonCommand
    /** Absolute path of a keeper; null to do without. Default: the one built with this package, where there is one. */
    readonly keeper?: string | null
  }
}

export interface ControllerState {
  readonly version: string
  readonly home: string
  readonly lastSeq: number
  readonly runtimes: Readonly<
    Record<string, { readonly running: RuntimeStatus['running']; readonly checking: boolean }>
  >
  /** Runs that are under way. */
  readonly runs: readonly RunState[]
  /** Set when the journal failed: nothing is accepted any more, and the process should end. */
  readonly failure: ErrorRecord | null
}

export interface CloseOptions {
  /** Leave what was launched running, for the next controller to find. Default false: it is stopped. */
  readonly leaveRunning?: boolean
}

/**
 * Opens a home: recovers what was under way when its last controller ended, and goes on with it.
 *
 * One controller at a time has a home, in this process or another.
 *
 * @throws {InstarError} `HOME_LOCKED` (names the holder), `HOME_UNUSABLE`, `HOME_FOREIGN`, `HOME_NEWER`, `JOURNAL_*`,
 *   `MACHINE_CHANGED`, `MACHINE_UNKNOWN`, `MACHINE_INVALID`, `CONFIG_INVALID`, `CONFIG_UNREADABLE`, `DISK_FULL`. Nothing
 *   was started then.
 */
export async function openController(options: ControllerOptions): Promise<Controller> {
  const { signal } = options
  const procedures = checkedProcedures(options.procedures ?? [])
  const logger = harmless(options.logger ?? silent)
  const config = typeof options.config === 'string' ? await loadConfig(options.config) : options.config
  const home = await openHome(options.home ?? (await resolveHome(undefined)))
  if (home.closedToOthers) logger.warn({ home: home.path }, 'others could look into the home; that is over')
  signal?.throwIfAborted()
  const journal = await openJournal({
    directory: join(home.path, 'journal'),
    holder: { version: packageVersion },
    padBytes: config.journal.padBytes,
  })
  try {
    signal?.throwIfAborted()
    return await Controller.recover(home.path, config, journal, logger, { ...options, procedures })
  } catch (error) {
    await journal.close().catch(() => {}) // the first error is the one to report
    throw error
  }
}

/** An open home. Made by {@link openController}. */
export class Controller implements AsyncDisposable {
  /** The session daemons, by name. */
  readonly daemons: Daemons
  readonly plugins: ManagedPlugins
  readonly apps: ManagedApps
  readonly workspaces: ManagedWorkspaces
  readonly access: ManagedAccess
  readonly credentials: ManagedCredentials
  /** The host's own procedures. */
  readonly procedures: Procedures
  /** Where it is served over HTTP; null where it is not. Set by what serves it. */
  url: string | null = null
  /** Opens the console for whoever has it, as the owner of the home; null where it is not served. */
  consoleLink: string | null = null
  private readonly managed: ReadonlyMap<string, ManagedRuntime>
  private closing: Promise<void> | null = null
  private readonly closers: (() => Promise<void>)[] = []
  private failure: ErrorRecord | null = null

  private constructor(
    readonly home: string,
    /** What can be read of the journal; only the controller writes it. */
    readonly journal: {
      readonly lastSeq: number
      read(range?: ReadRange): AsyncIterable<JournalRecord>
      follow(options?: FollowOptions): AsyncIterable<JournalRecord>
    },
    private readonly config: Config,
    private readonly interpreter: Interpreter,
    private readonly store: ReleaseStore,
    private readonly logger: Logger,
    private readonly observing: boolean,
    /** Resolves with the reason when the journal has failed: nothing is accepted any more, and the process should end. */
    readonly failed: Promise<Error>,
    daemonWorld: DaemonWorld,
    autoUpdate: boolean,
    private readonly pluginWorld: PluginWorld,
    private readonly targets: Targets,
    development: boolean,
    private readonly appWorld: AppWorld,
    procedures: readonly AnyFlow[],
  ) {
    this.procedures = new Procedures(procedures, interpreter)
    const appsHost = { interpreter, world: appWorld, policy: config.apps.policy, observing }
    this.apps = new ManagedApps(appsHost)
    this.workspaces = new ManagedWorkspaces(appsHost)
    this.access = new ManagedAccess({ interpreter, access: appWorld.access, workspaces: appWorld.workspaces })
    this.credentials = new ManagedCredentials({ interpreter, ...appWorld })
    this.plugins = new ManagedPlugins({
      interpreter,
      targets,
      subscriptions: config.plugins.subscriptions,
      keep: pluginWorld.keep,
      contributions: (plugin, release) => contributionsIn(pluginWorld, plugin, release),
      resolve: (plugin, wanted, signal) => held(registryOffer(pluginWorld, plugin, wanted, signal), signal),
    })
    this.daemons = new Daemons(config.sessions, { interpreter, world: daemonWorld, autoUpdate })
    const host = { home, interpreter, store, development }
    this.managed = new Map(
      Object.entries(config.runtimes).map(([name, runtime]) => [name, new ManagedRuntime(name, runtime, host)]),
    )
    void failed.then((error) => {
      this.failure = errorRecord(error)
    })
  }

  /** @internal Use {@link openController}. */
  static async recover(
    home: string,
    config: Config,
    journal: Journal,
    logger: Logger,
    options: ControllerOptions,
  ): Promise<Controller> {
    const { schedule = true, observe = false, development = false, preferArms, procedures = [] } = options
    if (journal.repaired !== null)
      logger.warn({ ...journal.repaired }, 'a commit that a crash had torn was cut off the journal')
    const store = await ReleaseStore.open({
      home,
      kind: 'runtime',
      report: (runtime, problem) => logger.warn({ runtime, ...problem }, 'a problem with stored releases'),
    })
    let interpreter: Interpreter | undefined
    const world: RuntimeWorld = {
      home,
      store,
      registry: config.registry,
      development,
      config: (name) => configOf(config, name),
      inUse: (name) => (interpreter === undefined ? [] : releasesInUse(interpreter, name)),
      undecided: (name) => (interpreter === undefined ? [] : undecidedReleases(interpreter, name)),
      ...(preferArms !== undefined && { preferArms }),
    }
    const daemonWorld = daemonWorldOf(home, config, options)
    const targets = await Targets.of(home, config.plugins.targets)
    const pluginWorld: PluginWorld = {
      store: await ReleaseStore.open({
        home,
        kind: 'plugin',
        report: (plugin, problem) => logger.warn({ plugin, ...problem }, 'a problem with stored releases'),
      }),
      registry: config.registry,
      ...config.plugins.policy,
      engines: config.plugins.engines,
      inUse: (plugin) => (interpreter === undefined ? [] : pluginReleasesInUse(interpreter, plugin)),
      target: (address) => targets.at(address),
    }
    let opened: (interpreter: Interpreter) => void
    const opening = new Promise<Interpreter>((resolve) => {
      opened = resolve
    })
    const appWorld = await openAppWorld(home, config, {
      observe,
      ...options.apps,
      running: () => opening,
    })
    let die: (error: Error) => void
    const failed = new Promise<Error>((resolve) => {
      die = resolve
    })
    interpreter = await Interpreter.open({
      log: journal,
      flows: [...flowsOf(world, daemonWorld, pluginWorld, appWorld), ...procedures],
      observe,
      onDead: (error) => {
        logger.error({ err: error }, 'the journal failed; nothing more is done')
        die(error as Error)
      },
    })
    const isBackground = schedule && !development
    const autoUpdate = isBackground && config.sessions.autoUpdate
    const controller = new Controller(
      home,
      journal,
      config,
      interpreter,
      store,
      logger,
      observe,
      failed,
      daemonWorld,
      autoUpdate,
      pluginWorld,
      targets,
      development,
      appWorld,
      procedures,
    )
    opened!(interpreter)
    interpreter.subscribe((change) => logNotice(logger, change))
    if (observe) return controller
    try {
      await stopUnconfigured(interpreter, config, logger)
      await releaseUnconfigured(interpreter, config)
      await sweep(interpreter, store, home)
      await sweepPlugins(interpreter, pluginWorld.store)
      // One that a crash left in there can hold secrets.
      for (const folder of [home, join(home, 'state')]) await sweepDrafts(folder)
    } catch (error) {
      // It is nobody's, so it can wait; what is somebody's goes on.
      logger.warn({ err: error }, 'what a crash left could not be removed')
    }
    if (isBackground)
      try {
        await controller.daemons.supervise()
        controller.startSchedules()
      } catch (error) {
        // What was under way has been taken up by now; left at work, it would answer into a journal that is closed.
        await controller.close({ leaveRunning: true }).catch(() => {}) // the first error is the one to report
        throw error
      }
    return controller
  }

  /** Names of the configured runtimes. */
  runtimes(): readonly string[] {
    return [...this.managed.keys()]
  }

  /** @throws {InstarError} `RUNTIME_UNKNOWN`, with the nearest name. */
  runtime(name: string): ManagedRuntime {
    const runtime = this.managed.get(name)
    if (runtime === undefined) throw runtimeUnknown(this.config, name)
    return runtime
  }

  /** The daemon that is meant where none is named. */
  get daemon(): ManagedDaemon {
    return this.daemons.get()
  }

  /** The sessions of {@link daemon}. */
  get sessions(): ManagedSessions {
    return this.daemons.sessions()
  }

  /** What is going on, as plain data. Costs no I/O. What it holds of runs is the controller's own, and frozen. */
  state(): ControllerState {
    const runs = this.runs().filter(({ status }) => status === 'active')
    const runtimes = [...this.managed.values()].map((runtime) => {
      const checking = this.interpreter.active('runtime-update', runtime.name) !== undefined
      return [runtime.name, { running: runtime.running(), checking }] as const
    })
    return {
      version: packageVersion,
      home: this.home,
      lastSeq: this.journal.lastSeq,
      runtimes: Object.fromEntries(runtimes),
      runs,
      failure: this.failure,
    }
  }

  /** Every run that is known, in the order they began. Frozen: the next opening compares them with the journal. */
  runs(): readonly RunState[] {
    return this.interpreter.list().map(frozen)
  }

  run(id: string): RunState | undefined {
    return frozen(this.interpreter.get(id))
  }

  /**
   * The state of a run right after record `seq`, by replay; nothing runs.
   *
   * @throws {InstarError} `SEQUENCE_UNKNOWN`, `RUN_UNKNOWN`.
   */
  stateAt(run: string, seq: number): Promise<RunState> {
    return this.interpreter.stateAt(run, seq)
  }

  /**
   * The records from `from` on to the last one now, each with the state of its run right after it, by replay; nothing runs.
   *
   * @throws {InstarError} `JOURNAL_COMPACTED`
   */
  history(range: { readonly from: number }): AsyncGenerator<Replayed, void, void> {
    return this.interpreter.history(range)
  }

  /**
   * Tells of every record, notice and progress from now on. Returns what ends it.
   *
   * @internal What it tells is the controller's own, and is not to be changed.
   */
  watch(listener: (change: Change) => void): () => void {
    return this.interpreter.subscribe(listener)
  }

  /** What was announced (staged, rolled back, banned, …), also before this controller was opened; the last 500. */
  notices(options: { from?: number } = {}): readonly Notice[] {
    return this.interpreter.notices(options).map(frozen)
  }

  /** Tells of every notice from now on. Returns what ends it. A listener that throws is logged. */
  subscribe(listener: (notice: Notice) => void): () => void {
    return this.interpreter.subscribe((change) => {
      if (change.type !== 'notice') return
      try {
        listener(frozen(change.notice))
      } catch (error) {
        this.logger.error({ err: error }, 'a listener of the host threw')
      }
    })
  }

  /** Has something done first when this controller is closed: for what serves it to others. */
  beforeClose(work: () => Promise<void>): void {
    this.closers.push(work)
  }

  /**
   * Stops what was launched, aborts what else is under way and writes everything down. A check that is aborted goes on
   * when the home is opened again. Safe to call twice.
   */
  close({ leaveRunning = false }: CloseOptions = {}): Promise<void> {
    this.closing ??= this.shut(leaveRunning)
    return this.closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  private async shut(leaveRunning: boolean): Promise<void> {
    const runtimes = [...this.managed.values()]
    const stopAll = () =>
      Promise.allSettled([
        ...[this.plugins, ...runtimes].map(({ schedule }) => schedule?.stop(new Detached())),
        ...(leaveRunning || this.observing || this.failure !== null ? [] : runtimes.map((runtime) => runtime.stop())),
      ])
    const refusals: unknown[] = []
    // One that cannot be ended must not keep the others, and the journal, from being closed.
    const attempt = (work: () => Promise<unknown>) => work().catch((error) => refusals.push(error))
    for (const work of this.closers) await attempt(work)
    await attempt(() => this.daemons.close())
    for (const stopped of await stopAll()) if (stopped.status === 'rejected') refusals.push(stopped.reason)
    for (const part of [
      this.interpreter,
      this.appWorld.desk,
      this.store,
      this.pluginWorld.store,
      this.appWorld.store,
      this.targets,
    ])
      await attempt(() => part.close())
    if (refusals.length > 0) throw refusals[0]
  }

  private startSchedules(): void {
    for (const [name, { check }] of Object.entries(this.config.runtimes)) {
      const runtime = this.managed.get(name)!
      runtime.schedule = startSchedule({
        ...check,
        task: async (signal) => {
          const { outcome } = await runtime.check({ signal: unattended(signal) })
          // What was rejected may be taken another time, but only a download shows it.
          return outcome !== 'check-failed' && outcome !== 'rejected'
        },
        onError: (error) => this.logger.warn({ err: error, runtime: name }, 'a scheduled check failed'),
      })
    }
    const { subscriptions, check } = this.config.plugins
    if (Object.keys(subscriptions).length > 0)
      this.plugins.schedule = startSchedule({
        ...check,
        task: async (signal) => {
          const drifts = await this.plugins.follow({ signal: unattended(signal) })
          for (const drift of drifts)
            if (drift.standing !== 'current') this.logger.warn(drift, 'a plugin is not what is subscribed to')
          return drifts.every(({ standing }) => standing !== 'check-failed')
        },
        onError: (error) => this.logger.warn({ err: error }, 'a scheduled check of plugins failed'),
      })
  }
}

function daemonWorldOf(home: string, { sessions }: Config, options: ControllerOptions): DaemonWorld {
  const { command = sessions.command, keeper } = options.sessions ?? {}
  return {
    home,
    version: packageVersion,
    command,
    keeper: () => (keeper === undefined ? (findKeeper().path ?? null) : keeper),
    scrollbackBytes: sessions.scrollbackBytes,
    shell: sessions.shell,
  }
}

function flowsOf(
  world: RuntimeWorld,
  daemonWorld: DaemonWorld,
  pluginWorld: PluginWorld,
  appWorld: AppWorld,
): readonly AnyFlow[] {
  return [
    { machine: appInstance, effects: instanceEffects(appWorld) },
    { machine: appUpgrade, effects: upgradeEffects(appWorld) },
    { machine: appInstall, effects: appInstallEffects(appWorld) },
    { machine: appPin, effects: appPinEffects(appWorld) },
    { machine: appRefusal, effects: {} },
    { machine: appRemove, effects: appRemoveEffects(appWorld) },
    { machine: workspaceAdjust, effects: workspaceEffects(appWorld) },
    { machine: daemonSupervision, effects: supervisionEffects(daemonWorld) },
    { machine: runtimeUpdate, effects: updateEffects(world) },
    { machine: runtimeLaunch, effects: launchEffects(world) },
    { machine: runtimeAdjust, effects: adjustEffects(world) },
    { machine: pluginInstall, effects: installEffects(pluginWorld) },
    { machine: pluginRemove, effects: removeEffects(pluginWorld) },
    { machine: pluginSet, effects: setEffects(pluginWorld) },
  ]
}

function configOf(config: Config, name: string): RuntimeConfig {
  const runtime = Object.hasOwn(config.runtimes, name) ? config.runtimes[name] : undefined
  if (runtime === undefined) throw runtimeUnknown(config, name)
  return runtime
}

function runtimeUnknown({ runtimes }: Config, name: string): InstarError {
  return new InstarError(
    'RUNTIME_UNKNOWN',
    `no runtime "${name}" is configured${didYouMean(name, Object.keys(runtimes))}`,
  )
}

function launches(interpreter: Interpreter): RunState[] {
  return interpreter
    .list()
    .filter(({ status, machine }) => status === 'active' && machine.startsWith('runtime-launch@'))
}

function releasesInUse(interpreter: Interpreter, name: string): ReleaseRef[] {
  const candidates = launches(interpreter)
    .filter(({ key }) => key === name)
    .map(({ context }) => (context as LaunchContext).candidate?.release)
  return candidates.filter((release) => release !== null && release !== undefined)
}

function pluginReleasesInUse(interpreter: Interpreter, plugin: string): ReleaseRef[] {
  return interpreter.list().flatMap(({ status, machine, context }): ReleaseRef[] => {
    if (status !== 'active') return []
    if (machine.startsWith('plugin-set@')) {
      const one = (context as SetResult).prepared.find((member) => member.plugin === plugin)
      return one?.staged ? [one.staged] : []
    }
    if (!machine.startsWith('plugin-install@')) return []
    const install = context as InstallContext
    return install.plugin === plugin && install.release !== null ? [install.release] : []
  })
}

function undecidedReleases(interpreter: Interpreter, name: string): ReleaseRef[] {
  const update = interpreter.active('runtime-update', name)
  const release = (update?.context as UpdateContext | undefined)?.release
  return release ? [release] : []
}

/** What the configuration no longer names, nobody would stop. */
async function stopUnconfigured(interpreter: Interpreter, { runtimes }: Config, logger: Logger): Promise<void> {
  for (const { run, key } of launches(interpreter))
    if (!Object.hasOwn(runtimes, key)) {
      logger.warn({ runtime: key }, 'a runtime that is no longer configured is stopped')
      await interpreter.send(run, { type: 'stop' })
    }
}

/** A daemon that the configuration no longer names goes on by itself. */
async function releaseUnconfigured(interpreter: Interpreter, { sessions }: Config): Promise<void> {
  for (const { run, key, status, machine } of interpreter.list())
    if (status === 'active' && machine.startsWith('daemon-supervision@') && !sessions.daemons.includes(key))
      await interpreter.send(run, { type: 'release' })
}

/** Removes what a crash left and no recovered run will come back for. */
async function sweep(interpreter: Interpreter, store: ReleaseStore, home: string): Promise<void> {
  const active = interpreter.list().filter(({ status }) => status === 'active')
  const wanted = active.flatMap(({ effects }) => effects.map(({ key }) => key))
  const launched = launches(interpreter).flatMap(({ context }) => (context as LaunchContext).child?.key ?? [])
  await sweepChildren(recordsIn(home), new Set([...wanted, ...launched]))
  const updating = new Set(active.filter(({ machine }) => machine.startsWith('runtime-update@')).map(({ key }) => key))
  await sweepStore(store, updating)
}

async function sweepPlugins(interpreter: Interpreter, store: ReleaseStore): Promise<void> {
  const active = interpreter.list().filter(({ status, machine }) => status === 'active' && isOfPlugins(machine))
  const installing = new Set(active.flatMap(({ context }) => pluginsOf(context)))
  await sweepStore(store, installing)
}

function pluginsOf(context: unknown): string[] {
  const { plugin, members } = context as { plugin?: string; members?: readonly SetMember[] }
  return members === undefined ? [plugin!] : members.map((member) => member.plugin)
}

async function sweepStore(store: ReleaseStore, busy: ReadonlySet<string>): Promise<void> {
  for (const name of await store.names()) if (!busy.has(name)) await store.sweep(name)
}

const grave = new Set([
  'runtime.rejected',
  'runtime.banned',
  'runtime.rolledBack',
  'runtime.startFailed',
  'runtime.crashed',
  'runtime.failed',
  'runtime.pointerRepaired',
  'runtime.notChosen',
  'daemon.lost',
  'daemon.unclear',
  'daemon.updateFailed',
  'plugin.rolledBack',
  'plugin.blocked',
  'plugins.rolledBack',
  'plugins.blocked',
  'app.kept',
  'app.died',
  'app.dead',
  'app.returned',
  'app.blocked',
])

function logNotice(logger: Logger, change: Change): void {
  if (change.type !== 'notice') return
  const { type } = change.notice
  if (grave.has(type)) logger.warn({ ...change.notice }, type)
  else logger.info({ ...change.notice }, type)
}
