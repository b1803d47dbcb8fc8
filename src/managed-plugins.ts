import type { Failure, InstallOutcome, InstallResult, PluginChange, RemoveResult } from '../machines/index.ts'
import { errorFrom, errorRecord, InstarError, type InstarErrorCode } from './errors.ts'
import type { PluginWorld } from './flows/plugin-world.ts'
import type { Asked } from './managed-runtime.ts'
import { didYouMean } from './nearest.ts'
import { readSpec } from './plugins/spec.ts'
import type { Interpreter } from './run/interpreter.ts'
import { until } from './run/until.ts'

export interface PluginAsked extends Asked {
  /** Default `local`. */
  readonly target?: string | undefined
  /** What relative paths are resolved against. Default: the working directory. */
  readonly folder?: string | undefined
}

/** What became of one plugin. */
export interface PluginInstallation {
  readonly plugin: string
  readonly target: string
  readonly outcome: Exclude<InstallOutcome, 'cancelled'>
  readonly version: string | null
  /** The version that was live before. */
  readonly from: string | null
  /** What whoever has it loaded has to do now; null where nothing was installed. */
  readonly change: PluginChange | null
  readonly code?: string
  readonly reason?: string
  /** With `blocked`: why what was live before could not be put back. */
  readonly rollBackReason?: string
}

/** What became of one of several. */
export interface PluginResult extends Omit<PluginInstallation, 'plugin'> {
  readonly spec: string
  /** Null where it was not even learned. */
  readonly plugin: string | null
}

/** What is wrong with a spec, or with what it leads to, before anything is begun. */
const specCodes = new Set<InstarErrorCode>([
  'PLUGIN_SPEC_INVALID',
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

const defaultTarget = 'local'

/** The plugins on targets, through runs of their machines. What is done to one plugin on one target is done in turns. */
export class ManagedPlugins {
  private readonly turns = new Map<string, Promise<unknown>>()

  constructor(private readonly host: { readonly interpreter: Interpreter; readonly world: PluginWorld }) {}

  /**
   * Installs what `spec` names, in place of the version that is live. The outcome says what became of it; a source that
   * is refused and a target that cannot take it are outcomes, too, and leave what was live.
   *
   * @param spec `NAME`, `NAME@RANGE`, `NAME@file:PATH`, or a path of a folder or a `.tgz` file.
   * @throws {InstarError} `PLUGIN_SPEC_INVALID`, `PLUGIN_NAME_INVALID`, `PLUGIN_TARGET_UNKNOWN`, `MANIFEST_INVALID`,
   *   `TARBALL_INVALID`; `ABORTED`.
   */
  async install(spec: string, { target = defaultTarget, folder = process.cwd(), ...asked }: PluginAsked = {}) {
    this.host.world.target(target)
    const { name, wanted } = await readSpec(spec, folder)
    return this.inTurn({ plugin: name, target }, () => this.run({ plugin: name, target, wanted }, asked))
  }

  /**
   * Installs one after the other. Each is told for itself, and one that is refused keeps nobody else back.
   *
   * @throws {InstarError} `PLUGIN_TARGET_UNKNOWN`; `ABORTED`, after which those before are installed.
   */
  async installEach(specs: readonly string[], asked: PluginAsked = {}): Promise<PluginResult[]> {
    const results: PluginResult[] = []
    for (const spec of specs)
      try {
        results.push({ spec, ...(await this.install(spec, asked)) })
      } catch (error) {
        if (!(error instanceof InstarError) || !specCodes.has(error.code)) throw error
        const { code, message: reason } = error
        const { target = defaultTarget } = asked
        results.push({
          spec,
          plugin: null,
          target,
          outcome: 'rejected',
          version: null,
          from: null,
          change: null,
          code,
          reason,
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
    return this.inTurn({ plugin: name, target }, async () => {
      await this.assertKnown(name, target)
      return this.run({ plugin: name, target, wanted: null }, asked)
    })
  }

  /** @throws {InstarError} `PLUGIN_UNKNOWN`, `PLUGIN_TARGET_UNKNOWN`, and what kept it from being removed. */
  async remove(name: string, { target = defaultTarget, signal }: PluginAsked = {}): Promise<RemoveResult> {
    const { interpreter } = this.host
    const input = { plugin: name, target }
    return this.inTurn(input, async () => {
      await this.assertKnown(name, target)
      const { run } = await interpreter.start('plugin-remove', { key: keyOf(input), input, busy: 'join' })
      const { output } = await until(interpreter, run, ({ status }) => status !== 'active', { signal })
      const result = output as RemoveResult
      if (result.failure !== null) throw errorFrom(result.failure)
      return result
    })
  }

  /** What a target has. */
  async list({ target: name = defaultTarget }: PluginAsked = {}): Promise<PluginStatus[]> {
    const target = this.host.world.target(name)
    const found = (await target.plugins()).sort().map(async (plugin): Promise<PluginStatus> => {
      try {
        const { live, previous, trees } = await target.shelf(plugin)
        const versionOf = (folder: string | null) => trees.find((tree) => tree.folder === folder)?.seal?.version ?? null
        const kept = trees.flatMap(({ seal }) => seal?.version ?? [])
        return { name: plugin, target: name, version: versionOf(live), previous: versionOf(previous), kept }
      } catch (error) {
        // One that something else has the place of must not hide the others.
        const { message } = errorRecord(error)
        return { name: plugin, target: name, version: null, previous: null, kept: [], problem: message }
      }
    })
    const all = await Promise.all(found)
    return all.filter(({ version, kept, problem }) => version !== null || kept.length > 0 || problem !== undefined)
  }

  /** Compares the live trees with their seals, byte for byte; of one plugin, or of all. */
  async verify(name: string | undefined, { target: of = defaultTarget }: PluginAsked = {}): Promise<PluginVerdict[]> {
    if (name !== undefined) await this.assertKnown(name, of)
    const target = this.host.world.target(of)
    const verdicts: PluginVerdict[] = []
    for (const plugin of name === undefined ? (await target.plugins()).sort() : [name])
      try {
        const read = await target.readLive(plugin)
        const problems = read === null ? ['it is not live'] : read.problems
        const version = read?.seal?.version ?? null
        verdicts.push({ name: plugin, target: of, version, whole: problems.length === 0, problems })
      } catch (error) {
        verdicts.push({ name: plugin, target: of, version: null, whole: false, problems: [errorRecord(error).message] })
      }
    return verdicts
  }

  /** Removes what interrupted installs have left. Nothing of an install that is under way. */
  async sweep({ target: name = defaultTarget }: PluginAsked = {}): Promise<{ removed: string[] }> {
    const target = this.host.world.target(name)
    const removed: string[] = []
    for (const plugin of await target.plugins())
      if (this.host.interpreter.active('plugin-install', keyOf({ plugin, target: name })) === undefined)
        removed.push(...(await target.sweep(plugin)))
    return { removed }
  }

  /** Runs of two machines would not wait for each other by themselves. */
  private async inTurn<T>(place: { plugin: string; target: string }, work: () => Promise<T>): Promise<T> {
    const key = keyOf(place)
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
    const { interpreter } = this.host
    for (const machine of ['plugin-install', 'plugin-remove']) {
      const active = interpreter.active(machine, key)
      if (active !== undefined) await interpreter.ended(active.run)
    }
  }

  private async run(
    input: { readonly plugin: string; readonly target: string; readonly wanted: string | null },
    { signal, onProgress }: Asked,
  ): Promise<PluginInstallation> {
    const { interpreter } = this.host
    const { run } = await interpreter.start('plugin-install', { key: keyOf(input), input, busy: 'wait' })
    const giveUp = () => void interpreter.send(run, { type: 'cancel' }).catch(() => {}) // it has ended
    signal?.addEventListener('abort', giveUp, { once: true })
    if (signal?.aborted) giveUp()
    try {
      const { output } = await until(interpreter, run, ({ status }) => status !== 'active', { onProgress })
      return resultOf(output as InstallResult)
    } finally {
      signal?.removeEventListener('abort', giveUp)
    }
  }

  private async assertKnown(name: string, target: string): Promise<void> {
    const known = (await this.list({ target })).map((plugin) => plugin.name)
    if (!known.includes(name))
      throw new InstarError('PLUGIN_UNKNOWN', `${target} has no plugin "${name}"${didYouMean(name, known)}`)
  }
}

const keyOf = ({ plugin, target }: { plugin: string; target: string }) => `${target} ${plugin}`

function resultOf({ outcome, failure, rollBackFailure, ...rest }: InstallResult): PluginInstallation {
  if (outcome === 'cancelled') throw new InstarError('ABORTED', `the installation of ${rest.plugin} was cancelled`)
  return {
    ...rest,
    outcome,
    ...told(failure),
    ...(rollBackFailure !== null && { rollBackReason: rollBackFailure.message }),
  }
}

const told = (failure: Failure | null) =>
  failure === null ? {} : { ...(failure.code !== undefined && { code: failure.code }), reason: failure.message }
