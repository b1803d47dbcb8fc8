import { randomUUID } from 'node:crypto'
import type {
  AppInstall,
  AppInstallInput,
  AppInstallResult,
  AppPinInput,
  AppRemoveResult,
  Failure,
  InstanceContext,
  UpgradeInput,
  UpgradeResult,
  WorkspaceInput,
} from '../machines/index.ts'
import { type Endpoint, Endpoints } from './apps/endpoints.ts'
import { installSchema, workspaceId } from './apps/workspaces.ts'
import { errorFrom, errorRecord, InstarError } from './errors.ts'
import { type AppPlace, type AppWorld, keyOf } from './flows/app-world.ts'
import { publishedOffer } from './flows/published-offer.ts'
import { held } from './held.ts'
import type { Asked } from './managed-runtime.ts'
import { didYouMean } from './nearest.ts'
import { isElsewhere, isPath, readSpec, readWanted } from './packages/spec.ts'
import type { Release } from './releases/seal.ts'
import { concluded } from './run/concluded.ts'
import type { Interpreter } from './run/interpreter.ts'
import { outputOf } from './run/run.ts'

export interface AppInstalling extends Asked {
  readonly workspace: string
  readonly args?: readonly string[] | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
  /** By the name of the variable, or of a setting that is a secret: the name under which it is kept. */
  readonly credentials?: Readonly<Record<string, string>> | undefined
  /** What the app lets its user decide, by its own names for it. No secrets: those are credentials. */
  readonly config?: Readonly<Record<string, readonly string[]>> | undefined
  /** What relative paths are resolved against. Default: the working directory. */
  readonly folder?: string | undefined
}

export interface AppUpgrading extends Asked {
  /** A dist-tag, a range, an exact version, or where the bytes are. Default `latest`. */
  readonly to?: string | undefined
  /** What relative paths are resolved against. Default: the working directory. */
  readonly folder?: string | undefined
}

/** What is not given stays. */
export interface AppConfiguring extends Asked, Partial<AppInstall> {
  readonly workspace: string
}

export interface InstanceStatus {
  readonly workspace: string
  readonly version: string
  /** `stopped`: nobody would have it run, because no controller does. */
  readonly state: 'serving' | 'starting' | 'stopped' | 'dead'
  readonly pid: number | null
  /** Why it is not serving, or ended last. */
  readonly failure: Failure | null
}

export interface AppStatus {
  readonly app: string
  /** The organisation's. */
  readonly version: string | null
  readonly previous: string | null
  /** That it is to stay at this version, and why. */
  readonly pin: { readonly version: string; readonly note: string; readonly at: string } | null
  /** A registry, or where else on the controller's machine, or in which repository, the version was found. */
  readonly source: string | null
  /** `local`: no registry has published it, and none is asked about it. */
  readonly origin: 'registry' | 'local' | null
  readonly workspaces: readonly InstanceStatus[]
}

export interface WorkspaceOutcome {
  readonly id: string
  readonly outcome: 'upgraded' | 'kept' | 'dead' | 'current'
  readonly from: string
  readonly error: Failure | null
}

export interface AppUpgraded {
  readonly app: string
  readonly outcome: Exclude<UpgradeResult['outcome'], 'cancelled'>
  readonly from: string | null
  readonly to: string | null
  /** Those that ran another version; who was not behind is not named. */
  readonly workspaces: readonly WorkspaceOutcome[]
  readonly code?: string
  readonly reason?: string
}

export interface AppCheck {
  readonly app: string
  readonly version: string
  /** Null where that could not be learned, and where nobody was asked. */
  readonly offered: string | null
  /** `local`: it did not come from a registry, so none was asked. */
  readonly standing: 'current' | 'behind' | 'pinned' | 'local' | 'check-failed'
  readonly code?: string
  readonly reason?: string
}

export interface AppsHost {
  readonly interpreter: Interpreter
  readonly world: AppWorld
  readonly policy: UpgradeInput['policy']
  /** Nothing is started. */
  readonly observing: boolean
}

/** The apps of an organisation, through runs of their machines. */
export class ManagedApps {
  /** How many wait for a run, by its name. */
  private readonly waiting = new Map<string, number>()

  constructor(private readonly host: AppsHost) {}

  /**
   * Gives a workspace an app, in the version that the organisation has; where it has none, in the one that `spec` names.
   *
   * @param spec `NAME`, `NAME@RANGE`, `NAME@file:PATH`, `NAME@` and a git repository, or a path of a folder, a `.tgz` file
   *   or an MCP bundle.
   * @throws {InstarError} `APP_SPEC_INVALID`, `WORKSPACE_UNKNOWN`, `APP_INSTALLED`; `APP_CONFIG_INVALID`, which names the
   *   setting, and why else it is refused: nothing is installed then; `ABORTED`.
   */
  async install(spec: string, installing: AppInstalling): Promise<{ app: string; workspace: string; version: string }> {
    const { workspace, signal, onProgress, folder = process.cwd() } = installing
    const { args = [], env = {}, credentials = {}, config = {} } = installing
    const { world } = this.host
    world.workspaces.apps(workspace)
    const install = readInstall({ args, env, credentials, config })
    const { name: app, wanted } = await readSpec(spec, folder, specRules)
    if (Object.hasOwn(world.workspaces.apps(workspace), app))
      throw new InstarError('APP_INSTALLED', `${workspace} has ${app} already`)
    const place = { app, workspace }
    return this.carryIn(place, { wanted, install }, { signal, onProgress })
  }

  /**
   * Has an app run otherwise in one workspace: what is given takes the place of what its install was given. The process is
   * replaced as by an upgrade; where the new one does not come up, all is as before.
   *
   * @throws {InstarError} `WORKSPACE_UNKNOWN`, `APP_UNKNOWN`; why it does not come up; `ABORTED`.
   */
  async configure(app: string, { workspace, signal, onProgress, ...given }: AppConfiguring) {
    const place = { app, workspace }
    const before = this.host.world.workspaces.install(workspace, app)
    const install = readInstall({ ...before, ...given })
    return this.carryIn(place, { wanted: 'latest', install }, { signal, onProgress })
  }

  /** Replaces the process of an app by one of the same version. @throws as {@link configure} */
  async restart(
    place: AppPlace,
    { signal = new AbortController().signal }: Pick<Asked, 'signal'> = {},
  ): Promise<AppPlace> {
    const { world } = this.host
    world.workspaces.install(place.workspace, place.app)
    await held(world.restart(place, randomUUID(), signal))
    return place
  }

  /**
   * Whether the organisation has a version of what `spec` names. What lies at a path is not looked at for that, so one that
   * names nothing else is none.
   *
   * @throws {InstarError} `APP_SPEC_INVALID`
   */
  async isAdopted(spec: string): Promise<boolean> {
    if (isPath(spec)) return false
    const { name } = await readSpec(spec, '/', specRules)
    return (await this.host.world.adopted(name)) !== null
  }

  /** Takes an app from a workspace; what it keeps there stays. @throws {InstarError} `WORKSPACE_UNKNOWN`, `APP_UNKNOWN`. */
  async remove(app: string, { workspace, ...asked }: Asked & { readonly workspace: string }): Promise<AppPlace> {
    const place = { app, workspace }
    this.host.world.workspaces.install(workspace, app)
    const { failure } = await this.run<AppRemoveResult>('app-remove', keyOf(place), place, asked)
    if (failure !== null) throw errorFrom(failure)
    return place
  }

  /** Every app that the organisation has, with what runs where. */
  async list(): Promise<AppStatus[]> {
    const { store } = this.host.world
    const names = await this.names()
    return Promise.all(
      names.map(async (app) => {
        const [{ current, previous }, { pin }] = await Promise.all([store.pointer(app), store.state(app)])
        const release = current === null ? null : await store.find(app, current)
        const workspaces = this.host.world.workspaces
          .having(app)
          .flatMap((workspace) => this.instance({ app, workspace }) ?? [])
        return {
          app,
          version: current?.version ?? null,
          previous: previous?.version ?? null,
          source: release?.source ?? null,
          origin: release === null ? null : originOf(release),
          pin,
          workspaces,
        }
      }),
    )
  }

  /** What the registry offers for each app, or for one. Not to know is a result. */
  async check(
    name?: string,
    { signal = new AbortController().signal }: Pick<Asked, 'signal'> = {},
  ): Promise<AppCheck[]> {
    const names = name === undefined ? await this.names() : [await this.known(name)]
    const checks: AppCheck[] = []
    for (const app of names) {
      const { store } = this.host.world
      const { current } = await store.pointer(app)
      if (current === null) continue
      if (await this.isLocal(app)) checks.push({ app, version: current.version, offered: null, standing: 'local' })
      else checks.push(await this.checkOne(app, current.version, signal))
    }
    return checks
  }

  /**
   * Raises an app's version for the organisation and carries it into every workspace. Who asks while the same is under way
   * gets its answer.
   *
   * @throws {InstarError} `APP_UNKNOWN`; `APP_PINNED`; `APP_LOCAL` where it did not come from a registry, and `to` does not say where
   *   else a version is; `GIT_SPEC_INVALID`; `ABORTED`.
   */
  async upgrade(
    name: string,
    { to = 'latest', folder = process.cwd(), ...asked }: AppUpgrading = {},
  ): Promise<AppUpgraded> {
    const { app, wanted } = await this.wantedOf(name, to, folder)
    return this.change(app, wanted, asked)
  }

  /** Begins the same and answers at once: `run` names it. @throws {InstarError} `APP_UNKNOWN`, `APP_PINNED`, `APP_LOCAL`, `GIT_SPEC_INVALID` */
  async beginUpgrade(name: string, { to = 'latest', folder = process.cwd() }: Omit<AppUpgrading, keyof Asked> = {}) {
    const { app, wanted } = await this.wantedOf(name, to, folder)
    const { run } = await this.host.interpreter.start('app-upgrade', {
      key: app,
      input: { app, wanted, policy: this.host.policy } satisfies UpgradeInput,
      busy: 'wait',
    })
    return { app, outcome: 'begun' as const, run }
  }

  /**
   * The version that the organisation had before, in every workspace.
   *
   * @throws {InstarError} `APP_UNKNOWN`; `APP_PINNED`; `ABORTED`.
   */
  async rollback(name: string, asked: Asked = {}): Promise<AppUpgraded> {
    return this.change(await this.free(name), null, asked)
  }

  /**
   * Has an app stay at the version that the organisation has, until it is let go. It can neither be upgraded nor rolled
   * back then; what `note` says is shown with it.
   *
   * @throws {InstarError} `APP_UNKNOWN`; `APP_OVERTAKEN` where it was just given another version.
   */
  async pin(name: string, { note = '' }: { readonly note?: string | undefined } = {}): Promise<AppPinInput> {
    const app = await this.known(name)
    const { current } = await this.host.world.store.pointer(app)
    if (current === null) throw new InstarError('APP_UNKNOWN', `the organisation has no version of ${app}`)
    return this.setPin({ app, pin: { version: current.version, note } })
  }

  /** Lets it go. Fine to call twice. @throws {InstarError} `APP_UNKNOWN` */
  async unpin(name: string): Promise<AppPinInput> {
    return this.setPin({ app: await this.known(name), pin: null })
  }

  /**
   * Calls a tool of an app in a workspace; waits where its process is just being replaced.
   *
   * @throws {InstarError} `WORKSPACE_UNKNOWN`, `APP_UNKNOWN`, `APP_NOT_READY`; `APP_CALL_FAILED` for what the app answers.
   */
  async call(
    place: AppPlace,
    tool: string,
    args: Readonly<Record<string, unknown>> = {},
    { signal }: Pick<Asked, 'signal'> = {},
  ): Promise<unknown> {
    const { workspaces, desk } = this.host.world
    workspaces.install(place.workspace, place.app)
    return desk.slot(place).use(async ({ client }) => {
      try {
        return await client.callTool(
          { name: tool, arguments: { ...args } },
          undefined,
          signal === undefined ? {} : { signal },
        )
      } catch (cause) {
        signal?.throwIfAborted()
        throw new InstarError('APP_CALL_FAILED', `${place.app}: ${(cause as Error).message}`, { cause })
      }
    }, signal)
  }

  /** The last lines that an app has printed beside its messages. */
  async logs(place: AppPlace): Promise<{ readonly log: string }> {
    const { workspaces, desk } = this.host.world
    workspaces.install(place.workspace, place.app)
    return { log: (await desk.slot(place).connection?.log()) ?? '' }
  }

  /**
   * An MCP server that shows all apps of a workspace as one, or without a workspace, one to manage the organisation's apps
   * by. It is for one client.
   *
   * @throws {InstarError} `WORKSPACE_UNKNOWN`
   */
  async endpoint(workspace?: string): Promise<Endpoint> {
    if (workspace === undefined) {
      const { OrganisationEndpoint } = await import('./apps/organisation-endpoint.ts')
      return new OrganisationEndpoint(this)
    }
    const { workspaces, desk } = this.host.world
    workspaces.apps(workspace)
    const { Gateway } = await import('./apps/gateway.ts')
    return new Gateway({
      slots: () =>
        workspaces.list().includes(workspace)
          ? Object.keys(workspaces.apps(workspace))
              .sort()
              .map((app) => [app, desk.slot({ app, workspace })] as const)
          : [],
      onChange: (listener) => workspaces.onChange(listener),
    })
  }

  /** Conversations with MCP clients over the control socket. */
  readonly endpoints = new Endpoints()

  private async carryIn(
    place: AppPlace,
    input: Pick<AppInstallInput, 'wanted' | 'install'>,
    asked: Asked,
  ): Promise<AppPlace & { readonly version: string }> {
    const result = await this.run<AppInstallResult>('app-install', keyOf(place), { ...place, ...input }, asked)
    if (result.failure !== null) throw errorFrom(result.failure)
    return { ...place, version: result.version! }
  }

  private async change(app: string, wanted: string | null, asked: Asked): Promise<AppUpgraded> {
    const input: UpgradeInput = { app, wanted, policy: this.host.policy }
    const result = await this.run<UpgradeResult>('app-upgrade', app, input, asked, (context) => {
      // Who wants what is under way gets its answer; who wants another version comes after it.
      return (context as UpgradeInput).wanted === wanted
    })
    const { outcome, from, to, workspaces, failure } = result
    if (outcome === 'cancelled') throw new InstarError('ABORTED', `the upgrade of ${app} was cancelled`)
    return {
      app,
      outcome,
      from,
      to,
      workspaces: workspaces.map(({ workspace, outcome: became, from: before, failure: error }) => ({
        id: workspace,
        outcome: became,
        from: before.version,
        error,
      })),
      ...(failure?.code !== undefined && { code: failure.code }),
      ...(failure !== null && { reason: failure.message }),
    }
  }

  private async checkOne(app: string, version: string, signal: AbortSignal): Promise<AppCheck> {
    try {
      const [offer, { default: gt }] = await Promise.all([
        publishedOffer(this.host.world, { name: app, wanted: 'latest' }, signal),
        import('semver/functions/gt.js'),
      ])
      // A registry that has only older ones offers nothing.
      const isNewer = gt(offer.version, version)
      const { pin } = await this.host.world.store.state(app)
      const standing = !isNewer ? 'current' : pin === null ? 'behind' : 'pinned'
      return { app, version, offered: offer.version, standing, ...(standing === 'pinned' && { reason: pin!.note }) }
    } catch (error) {
      signal.throwIfAborted()
      const { code, message: reason } = errorRecord(error)
      return { app, version, offered: null, standing: 'check-failed', ...(code && { code }), reason }
    }
  }

  private async wantedOf(name: string, to: string, folder: string) {
    const app = await this.free(name)
    const wanted = await readWanted(to, folder)
    // What a registry has under this name is another's.
    if (!isElsewhere(wanted) && (await this.isLocal(app)))
      throw new InstarError('APP_LOCAL', `${app} did not come from a registry, so none has a newer one`)
    return { app, wanted }
  }

  private async isLocal(app: string): Promise<boolean> {
    const { store } = this.host.world
    const { current } = await store.pointer(app)
    const release = current === null ? null : await store.find(app, current)
    return release !== null && originOf(release) === 'local'
  }

  private instance(place: AppPlace): InstanceStatus | null {
    const run = this.host.interpreter.active('app-instance', keyOf(place))
    if (run === undefined) return null
    const { release, process, failure } = run.context as InstanceContext
    // A run goes on in the next controller, its process does not: that ended with the one before.
    const pid = process !== null && this.host.world.desk.connections.has(process.key) ? process.pid : null
    const isServing = pid !== null && run.tags?.includes('serving')
    const otherwise = this.host.observing ? 'stopped' : 'starting'
    const state = isServing ? 'serving' : run.value === 'dead' ? 'dead' : otherwise
    return { workspace: place.workspace, version: release.version, state, pid, failure }
  }

  private async names(): Promise<string[]> {
    return (await this.host.world.store.names()).sort()
  }

  /** One whose version may be changed. */
  private async free(name: string): Promise<string> {
    const app = await this.known(name)
    const { pin } = await this.host.world.store.state(app)
    if (pin === null) return app
    throw new InstarError('APP_PINNED', `${app} is to stay at ${pin.version}${pin.note && `: ${pin.note}`}`)
  }

  private async setPin(input: AppPinInput): Promise<AppPinInput> {
    const { failure } = await this.run<{ readonly failure: Failure | null }>('app-pin', input.app, input, {})
    if (failure !== null) throw errorFrom(failure)
    return input
  }

  private async known(app: string): Promise<string> {
    const names = await this.names()
    if (names.includes(app)) return app
    throw new InstarError('APP_UNKNOWN', `there is no app "${app}"${didYouMean(app, names)}`)
  }

  /** @param isSame Whether a run that is under way is what is asked for. */
  private async run<Output>(
    machine: string,
    key: string,
    input: object,
    asked: Asked,
    isSame: (context: unknown) => boolean = () => false,
  ): Promise<Output> {
    const run = await this.begin(machine, key, input, isSame)
    const waiting = (more: number) => {
      const count = (this.waiting.get(run) ?? 0) + more
      if (count === 0) this.waiting.delete(run)
      else this.waiting.set(run, count)
    }
    waiting(1)
    try {
      const isShared = () => this.waiting.get(run)! > 1
      return outputOf(await concluded(this.host.interpreter, run, { ...asked, isShared }))
    } finally {
      waiting(-1)
    }
  }

  private async begin(machine: string, key: string, input: object, isSame: (context: unknown) => boolean) {
    const { interpreter } = this.host
    for (;;) {
      const { run, seq, startedSeq, context } = await interpreter.start(machine, { key, input, busy: 'join' })
      if (seq === startedSeq || isSame(context)) return run
      await interpreter.ended(run)
    }
  }
}

/** The workspaces of an organisation. */
export class ManagedWorkspaces {
  constructor(private readonly host: AppsHost) {}

  list(): { readonly id: string; readonly apps: readonly string[] }[] {
    const { workspaces } = this.host.world
    return workspaces.list().map((id) => ({ id, apps: Object.keys(workspaces.apps(id)).sort() }))
  }

  /** @throws {InstarError} `WORKSPACE_INVALID`, `WORKSPACE_EXISTS`. */
  async add(id: string): Promise<void> {
    if (!workspaceId.safeParse(id).success)
      throw new InstarError('WORKSPACE_INVALID', `${JSON.stringify(id.slice(0, 100))} cannot name a workspace`)
    if (this.host.world.workspaces.list().includes(id))
      throw new InstarError('WORKSPACE_EXISTS', `there is a workspace "${id}" already`)
    await adjustWorkspace(this.host.interpreter, { workspace: id, kind: 'add' })
  }

  /** Ends its apps and forgets its credentials; what they keep there stays. @throws {InstarError} `WORKSPACE_UNKNOWN`. */
  async remove(id: string): Promise<void> {
    this.host.world.workspaces.apps(id)
    await adjustWorkspace(this.host.interpreter, { workspace: id, kind: 'remove' })
  }
}

/** Resolves once it is carried out. @throws {InstarError} Why it is not. */
export async function adjustWorkspace(interpreter: Interpreter, input: WorkspaceInput): Promise<void> {
  const { run } = await interpreter.start('workspace-adjust', { key: input.workspace, input, busy: 'wait' })
  const { output } = await interpreter.ended(run)
  const { failure } = output as { readonly failure: Failure | null }
  if (failure !== null) throw errorFrom(failure)
}

const specRules = { kind: 'app', assertName: assertAppName } as const

function assertAppName(name: string): void {
  if (!/^(@[a-z0-9~][a-z0-9._~-]*\/)?[a-z0-9~][a-z0-9._~-]*$/.test(name) || name.length > 214)
    throw new InstarError('APP_SPEC_INVALID', `${JSON.stringify(name.slice(0, 200))} names no app`)
}

const originOf = ({ published }: Release) => (published ? 'registry' : 'local')

function readInstall(given: object): AppInstall {
  const read = installSchema.safeParse(given)
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw new InstarError('PARAMETERS_INVALID', `${issue!.path.join('.')}: ${issue!.message}`)
}
