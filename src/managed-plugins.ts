import type {
  InstallInput,
  InstallResult,
  MachineName,
  PackageOffer,
  ReleaseRef,
  RemoveResult,
  SetResult,
} from '../machines/index.ts'
import type { Subscription } from './config.ts'
import { errorRecord, InstarError, type InstarErrorCode } from './errors.ts'
import type { Asked } from './managed-runtime.ts'
import { didYouMean } from './nearest.ts'
import { type PackageSpec, readSpec } from './packages/spec.ts'
import {
  memberOf,
  type PluginInstallation,
  type PluginRemoval,
  type PluginResult,
  removalOf,
  resultOf,
  type Told,
  told,
} from './plugin-results.ts'
import { assertPluginName } from './plugins/layout.ts'
import { sealOf } from './plugins/read.ts'
import { spareTrees } from './plugins/spare.ts'
import type { Shelf, Surveyed, Target } from './plugins/target.ts'
import type { Targets } from './plugins/targets.ts'
import { concluded } from './run/concluded.ts'
import type { Interpreter } from './run/interpreter.ts'
import { machineName } from './run/record.ts'
import { outputOf, type RunState } from './run/run.ts'
import { until } from './run/until.ts'
import type { Schedule } from './runtime/schedule.ts'

export interface SetAsked extends PluginAsked {
  /** They belong together: all of them, or none. */
  readonly allOrNothing?: boolean | undefined
}

export interface PluginAsked extends Asked {
  /** `local` (default), a name from the configuration, `ssh://[user@]host[:port]/path` or `exec:PREFIX#/path`. */
  readonly target?: string | undefined
  /** What relative paths are resolved against. Default: the working directory. */
  readonly folder?: string | undefined
}

/** What is wrong with a spec, or with what it leads to, before anything is begun. */
const specCodes = new Set<InstarErrorCode>([
  'PLUGIN_SPEC_INVALID',
  'GIT_SPEC_INVALID',
  'PLUGIN_NAME_INVALID',
  'MANIFEST_INVALID',
  'TARBALL_INVALID',
  'TREE_UNSAFE',
  'TREE_BOMB',
  'TREE_TOO_LARGE',
  'TREE_TOO_MANY_FILES',
])

export interface PluginStatus {
  readonly name: string
  readonly target: string
  /** Null where it was removed and trees are left. */
  readonly version: string | null
  readonly previous: string | null
  /** Versions whose trees are kept there. */
  readonly kept: readonly string[]
  /** The host's names of what it adds to, as its manifest says; null where this home does not have its tree. */
  readonly contributes: readonly string[] | null
  /** What is in the way of knowing more. */
  readonly problem?: string
}

export interface PluginVerdict {
  readonly name: string
  readonly target: string
  readonly version: string | null
  readonly whole: boolean
  readonly problems: readonly string[]
}

/** How a plugin that is subscribed to stands on one target. */
export interface PluginDrift extends Told {
  readonly plugin: string
  readonly target: string
  /** The dist-tag, range or exact version that is followed. */
  readonly wanted: string
  /** What is live there, as it was read there. */
  readonly live: string | null
  /** What is meant by `wanted` today; null where that could not be learned. */
  readonly offered: string | null
  /** `refused`: it was tried, and what is offered is bad. */
  readonly standing: 'current' | 'behind' | 'refused' | 'check-failed'
}

export interface PluginsHost {
  readonly interpreter: Interpreter
  readonly targets: Targets
  readonly subscriptions: Readonly<Record<string, Subscription>>
  /** How many trees besides the live and the previous one a target keeps. */
  readonly keep: number
  /** Which exact version is meant. */
  resolve(plugin: string, wanted: string, signal: AbortSignal): Promise<PackageOffer>
  /** The names of what a release contributes; null where the home does not have it. */
  contributions(plugin: string, release: ReleaseRef): Promise<readonly string[] | null>
}

const defaultTarget = 'local'

const specRules = { kind: 'plugin', assertName: assertPluginName } as const

/** The plugins on targets, through runs of their machines. What is done to one plugin on one target is done in turns. */
export class ManagedPlugins {
  private readonly turns = new Map<string, Promise<unknown>>()

  /** Versions that were tried for a subscription and are bad, by where: trying them again would change nothing. */
  private readonly refused = new Map<string, { readonly version: string; readonly told: Told }>()
  /** Set by the controller where subscriptions are followed. */
  schedule: Schedule | null = null

  constructor(private readonly host: PluginsHost) {}

  /**
   * Installs what `spec` names, in place of the version that is live. The outcome says what became of it; a source that
   * is refused and a target that cannot take it are outcomes, too, and leave what was live.
   *
   * @param spec `NAME`, `NAME@RANGE`, `NAME@file:PATH`, or a path of a folder or a `.tgz` file.
   * @throws {InstarError} `PLUGIN_SPEC_INVALID`, `PLUGIN_NAME_INVALID`, `PLUGIN_TARGET_UNKNOWN`, `MANIFEST_INVALID`,
   *   `TARBALL_INVALID`; `ABORTED`.
   */
  async install(spec: string, { target = defaultTarget, folder = process.cwd(), ...asked }: PluginAsked = {}) {
    const place = this.place(target)
    return this.installOne(await readSpec(spec, folder, specRules), place, asked)
  }

  /**
   * Installs several, and tells of each for itself. One that is refused keeps nobody else back, unless they belong
   * together: then all are put on the target first, all are swapped in after that, and one that fails brings all back.
   *
   * @throws {InstarError} `PLUGIN_TARGET_UNKNOWN`, `PLUGIN_TARGET_INVALID`; `PLUGIN_SPEC_INVALID` where a set that belongs
   *   together names a plugin twice; `ABORTED`, after which those before are installed, and nothing of such a set is.
   */
  async installEach(specs: readonly string[], { allOrNothing = false, ...asked }: SetAsked = {}) {
    const { target = defaultTarget, folder = process.cwd() } = asked
    const place = this.place(target)
    const read = await Promise.all(specs.map((spec) => readSpec(spec, folder, specRules).catch(specFailure)))
    const isRefused = read.some((one) => 'refusal' in one)
    const results: PluginResult[] = []
    if (allOrNothing && !isRefused) return this.installTogether(specs, read as PackageSpec[], place, asked)
    for (const [at, spec] of specs.entries()) {
      const one = read[at]!
      if ('refusal' in one) results.push({ ...nothingInstalled(target), spec, outcome: 'rejected', ...one.refusal })
      else if (allOrNothing) results.push({ ...nothingInstalled(target), spec, plugin: one.name, outcome: 'withheld' })
      else
        results.push({
          spec,
          ...(await this.installOne(one, place, asked).catch((error) => broken(error, one, target))),
        })
    }
    return results
  }

  /**
   * Makes the version live again that was live before.
   *
   * @throws {InstarError} `PLUGIN_UNKNOWN`, `PLUGIN_NOTHING_BEFORE`, `PLUGIN_TARGET_UNKNOWN`; `ABORTED`.
   */
  async rollback(name: string, { target = defaultTarget, ...asked }: PluginAsked = {}): Promise<PluginInstallation> {
    const place = this.place(target)
    return this.inTurn(name, place, async () => {
      await this.known(name, place, asked.signal)
      return this.run({ plugin: name, wanted: null }, place, asked)
    })
  }

  /**
   * Takes a plugin away, and then its trees. With a `reason` in the result it is gone, and its trees are left for a sweep.
   *
   * @throws {InstarError} `PLUGIN_UNKNOWN`, `PLUGIN_TARGET_UNKNOWN`, and what kept it from being removed; `ABORTED`.
   */
  async remove(name: string, { target = defaultTarget, signal }: PluginAsked = {}): Promise<PluginRemoval> {
    const { interpreter } = this.host
    const place = this.place(target)
    return this.inTurn(name, place, async () => {
      await this.known(name, place, signal)
      const input = { plugin: name, target: place.address }
      const { run } = await interpreter.start('plugin-remove', { key: keyOf(name, place), input, busy: 'join' })
      const ended = await until(interpreter, run, isOver, { signal })
      return removalOf(outputOf<RemoveResult>(ended), place.name)
    })
  }

  /** What a target has. @throws {InstarError} `PLUGIN_TARGET_UNKNOWN`; what keeps it from being reached. */
  async list({ target = defaultTarget, signal }: PluginAsked = {}): Promise<PluginStatus[]> {
    const surveyed = await this.place(target).at.survey(signal)
    const all = surveyed.map(async ({ plugin: name, ...one }): Promise<PluginStatus> => {
      const nothing = { name, target, version: null, previous: null, kept: [], contributes: null }
      // One that something else has the place of must not hide the others.
      if ('problem' in one) return { ...nothing, problem: errorRecord(one.problem).message }
      const { live, previous, trees } = one.shelf
      const seal = sealOf(one.shelf, live)
      return {
        name,
        target,
        version: seal?.version ?? null,
        previous: sealOf(one.shelf, previous)?.version ?? null,
        kept: trees.flatMap((tree) => tree.seal?.version ?? []),
        contributes: seal === null ? null : await this.host.contributions(name, seal),
      }
    })
    return (await Promise.all(all)).filter(
      ({ version, kept, problem }) => version !== null || kept.length > 0 || problem !== undefined,
    )
  }

  /** Compares the live trees with their seals, byte for byte; of one plugin, or of all. */
  async verify(
    name: string | undefined,
    { target = defaultTarget, signal }: PluginAsked = {},
  ): Promise<PluginVerdict[]> {
    const place = this.place(target)
    const one = name === undefined ? null : { plugin: name, shelf: await this.known(name, place, signal) }
    // What was removed, and what was never live, has a shelf all the same.
    const isThere = (surveyed: Surveyed) => 'problem' in surveyed || surveyed.shelf.live !== null
    const all = one === null ? (await place.at.survey(signal)).filter(isThere) : [one]
    const verdicts: PluginVerdict[] = []
    for (const { plugin, ...surveyed } of all)
      try {
        if ('problem' in surveyed) throw surveyed.problem
        const { live, astray } = surveyed.shelf
        const [read] = await place.at.read(plugin, live === null ? [] : [live], signal)
        const version = read?.seal?.version ?? null
        const wrong = read === undefined ? 'it is not live' : astray === null ? null : `it leads to ${astray}`
        const problems = wrong === null ? read!.problems : [wrong]
        verdicts.push({ name: plugin, target, version, whole: problems.length === 0, problems })
      } catch (error) {
        signal?.throwIfAborted()
        verdicts.push({ name: plugin, target, version: null, whole: false, problems: [errorRecord(error).message] })
      }
    return verdicts
  }

  /**
   * Removes what interrupted installs and removals have left: what was on its way, and the trees of this home that nobody
   * needs. Leaves alone what something is being done to.
   */
  async sweep({ target = defaultTarget, signal }: PluginAsked = {}): Promise<{ removed: string[] }> {
    const place = this.place(target)
    const removed: string[] = []
    for (const one of await place.at.survey(signal)) {
      signal?.throwIfAborted()
      if (this.isBusy(keyOf(one.plugin, place))) continue
      removed.push(...(await this.inTurn(one.plugin, place, () => this.sweepOne(one, place, signal))))
    }
    return { removed }
  }

  private async sweepOne({ plugin, ...surveyed }: Surveyed, { at }: Place, signal?: AbortSignal): Promise<string[]> {
    const swept = await at.sweep(plugin, signal)
    const spareOn = (shelf: Shelf) => spareTrees(shelf, at.owner, this.host.keep)
    if ('problem' in surveyed || spareOn(surveyed.shelf).length === 0) return swept
    // Since then, something may have been installed.
    const shelf = await at.shelf(plugin, signal)
    const spare = spareOn(shelf)
    if (shelf.previous !== null && spare.includes(shelf.previous)) await at.point(plugin, 'previous', null)
    return [...swept, ...(await at.remove(plugin, spare, signal))]
  }

  /**
   * How what is subscribed to stands. Nothing is remembered about it: what is live is read on the target, each time.
   *
   * @throws {InstarError} `ABORTED`
   */
  async check({ signal = new AbortController().signal }: Pick<Asked, 'signal'> = {}): Promise<PluginDrift[]> {
    const subscribed = Object.entries(this.host.subscriptions).flatMap(([plugin, { version: wanted, targets }]) =>
      targets.map((target) => ({ plugin, target, wanted })),
    )
    const drifts: PluginDrift[] = []
    for (const one of subscribed) {
      signal.throwIfAborted()
      drifts.push(await this.drift(one, signal))
    }
    return drifts
  }

  /** Checks, and installs what is behind, once. Answers with how everything stands then. */
  async follow(asked: Asked = {}): Promise<PluginDrift[]> {
    const { signal } = asked
    const drifts: PluginDrift[] = []
    for (const drift of await this.check({ signal })) {
      if (drift.standing !== 'behind') drifts.push(drift)
      else drifts.push(await this.apply(drift, asked))
    }
    return drifts
  }

  private async drift(
    subscribed: Pick<PluginDrift, 'plugin' | 'target' | 'wanted'>,
    signal: AbortSignal,
  ): Promise<PluginDrift> {
    const { plugin, target, wanted } = subscribed
    let live: string | null = null
    try {
      const place = this.place(target)
      const shelf = await place.at.shelf(plugin, signal)
      live = sealOf(shelf, shelf.live)?.version ?? null
      const { version: offered } = await this.host.resolve(plugin, wanted, signal)
      if (live === offered) return { ...subscribed, live, offered, standing: 'current' }
      const refused = this.refused.get(keyOf(plugin, place))
      if (refused?.version === offered) return { ...subscribed, live, offered, standing: 'refused', ...refused.told }
      return { ...subscribed, live, offered, standing: 'behind' }
    } catch (error) {
      signal.throwIfAborted()
      return { ...subscribed, live, offered: null, standing: 'check-failed', ...told(errorRecord(error)) }
    }
  }

  private async apply(drift: PluginDrift, asked: Asked): Promise<PluginDrift> {
    const { plugin, target, offered } = drift
    const place = this.place(target)
    const { outcome, code, reason, hint } = await this.install(`${plugin}@${offered}`, { ...asked, target })
    if (outcome === 'installed' || outcome === 'current') return { ...drift, live: offered, standing: 'current' }
    const why: Told = { ...(code && { code }), ...(reason && { reason }), ...(hint && { hint }) }
    if (outcome === 'rejected') this.refused.set(keyOf(plugin, place), { version: offered!, told: why })
    return { ...drift, standing: outcome === 'rejected' ? 'refused' : 'check-failed', ...why }
  }

  private place(name: string): Place {
    const address = this.host.targets.address(name)
    return { name, address, at: this.host.targets.at(address) }
  }

  private installOne({ name: plugin, wanted }: PackageSpec, place: Place, asked: Asked): Promise<PluginInstallation> {
    return this.inTurn(plugin, place, () => this.run({ plugin, wanted }, place, asked))
  }

  private async installTogether(
    specs: readonly string[],
    read: readonly PackageSpec[],
    place: Place,
    asked: Asked,
  ): Promise<PluginResult[]> {
    const members = read.map(({ name: plugin, wanted }) => ({ plugin, wanted }))
    // Always in one order, so that two sets never wait for each other.
    const names = [...new Set(members.map(({ plugin }) => plugin))].sort()
    if (names.length < members.length)
      throw new InstarError('PLUGIN_SPEC_INVALID', `a set that belongs together names each plugin once`)
    const input = { target: place.address, members }
    const key = `${place.address} ${names.join(' ')}`
    const inAllTurns = names.reduceRight(
      (work, name) => () => this.inTurn(name, place, work),
      () => this.steered('plugin-set', { key, input }, asked),
    )
    const result = outputOf<SetResult>(await inAllTurns())
    if (result.outcome === 'cancelled') throw new InstarError('ABORTED', 'the installation of the set was cancelled')
    return members.map(({ plugin }, at) => ({ spec: specs[at]!, ...memberOf(result, plugin, place.name) }))
  }

  /** Runs of two machines would not wait for each other by themselves. */
  private async inTurn<T>(plugin: string, place: Place, work: () => Promise<T>): Promise<T> {
    const key = keyOf(plugin, place)
    const before = this.turns.get(key)
    const turn = (async () => {
      await before?.catch(() => {}) // told to whoever asked for it
      await this.recovered(key)
      return work()
    })()
    this.turns.set(key, turn)
    try {
      return await turn
    } finally {
      if (this.turns.get(key) === turn) this.turns.delete(key)
    }
  }

  /** What was under way when the controller was opened comes to its end first. */
  private async recovered(key: string): Promise<void> {
    for (const { run } of this.runsOn(key)) await this.host.interpreter.ended(run)
  }

  /** Whether something is being done to it, or is about to be. */
  private isBusy(key: string): boolean {
    return this.turns.has(key) || this.runsOn(key).length > 0
  }

  private runsOn(key: string): RunState[] {
    const isOn = ({ status, machine, context }: RunState) =>
      status === 'active' && placesOf(machine, context).includes(key)
    return this.host.interpreter.list().filter(isOn)
  }

  private async run(
    { plugin, wanted }: { readonly plugin: string; readonly wanted: string | null },
    place: Place,
    asked: Asked,
  ): Promise<PluginInstallation> {
    const input = { plugin, target: place.address, wanted }
    const ended = await this.steered('plugin-install', { key: keyOf(plugin, place), input }, asked)
    return resultOf(outputOf<InstallResult>(ended), place.name)
  }

  private async steered(machine: string, start: { key: string; input: object }, asked: Asked) {
    const { interpreter } = this.host
    const { run } = await interpreter.start(machine, { ...start, busy: 'wait' })
    return concluded(interpreter, run, asked)
  }

  /** What is there of it. @throws {InstarError} `PLUGIN_UNKNOWN`, `PLUGIN_NAME_INVALID` */
  private async known(name: string, place: Place, signal: AbortSignal | undefined): Promise<Shelf> {
    assertPluginName(name)
    const shelf = await place.at.shelf(name, signal)
    if (shelf.live !== null || shelf.trees.length > 0) return shelf
    const known = (await this.list({ target: place.name, signal })).map((plugin) => plugin.name)
    throw new InstarError('PLUGIN_UNKNOWN', `${place.name} has no plugin "${name}"${didYouMean(name, known)}`)
  }
}

interface Place {
  /** As it was asked for. */
  readonly name: string
  readonly address: string
  readonly at: Target
}

const isOver = ({ status }: RunState) => status !== 'active'

const keyOf = (plugin: string, { address }: Place) => `${address} ${plugin}`

const pluginMachines: readonly MachineName[] = ['plugin-install', 'plugin-remove', 'plugin-set']

/** Whether the runs of a machine, `name@version`, work on plugins. */
export const isOfPlugins = (machine: string) => (pluginMachines as readonly string[]).includes(machineName(machine))

/** What a run of a plugin machine works on, as `keyOf` says it. */
function placesOf(machine: string, context: unknown): string[] {
  if (!isOfPlugins(machine)) return []
  const { target, plugin, members } = context as InstallInput & Partial<SetResult>
  return (members ?? [{ plugin }]).map((one) => `${target} ${one.plugin}`)
}

/** Of a run that broke, nobody knows what it has left; of the others of a set it says nothing. */
function broken(error: unknown, { name: plugin }: PackageSpec, target: string): PluginInstallation {
  if (!(error instanceof InstarError) || error.code !== 'INTERNAL') throw error
  return { ...nothingInstalled(target), plugin, outcome: 'blocked', ...told(errorRecord(error)) }
}

const nothingInstalled = (target: string) => ({ plugin: null, target, version: null, from: null, change: null })

/** What is wrong with a spec is told of that one; anything else is for whoever asked. */
function specFailure(error: unknown): { readonly refusal: Told } {
  if (!(error instanceof InstarError) || !specCodes.has(error.code)) throw error
  return { refusal: told(errorRecord(error)) }
}
