import type {
  Failure,
  InstallOutcome,
  InstallResult,
  PluginChange,
  RemoveResult,
  SetResult,
} from '../machines/index.ts'
import { faultOf } from '../machines/runtime.ts'
import { type ErrorRecord, errorFrom, InstarError } from './errors.ts'
import { shellQuoted } from './shell-quoted.ts'

/** Why it is not installed. */
export interface Told {
  readonly code?: string
  readonly reason?: string
  /** What to do about it. */
  readonly hint?: string
}

/** What became of one plugin. */
export interface PluginInstallation extends Told {
  readonly plugin: string
  readonly target: string
  /** `withheld`: of a set that belongs together, another one could not be installed. */
  readonly outcome: Exclude<InstallOutcome, 'cancelled'> | 'withheld'
  readonly version: string | null
  /** The version that was live before. */
  readonly from: string | null
  /** What whoever has it loaded has to do now; null where nothing was installed. */
  readonly change: PluginChange | null
  /** With `blocked`: why what was live before could not be put back. */
  readonly rollBackReason?: string
}

/** What became of one of several. */
export interface PluginResult extends Omit<PluginInstallation, 'plugin'> {
  readonly spec: string
  /** Null where it was not even learned. */
  readonly plugin: string | null
}

/** What became of one of a set that belongs together. @param target As it was asked for. */
export function memberOf(result: SetResult, plugin: string, target: string): PluginInstallation {
  const { outcome, prepared, swapped, failure, rollBackFailure } = result
  const one = prepared.find((member) => member.plugin === plugin)
  const from = one?.before?.live?.version || null
  const base = { plugin, target, version: one?.version ?? null, from, change: null }
  if (outcome === 'installed' || outcome === 'current') {
    const change = swapped.find((member) => member.plugin === plugin)?.change ?? null
    return { ...base, outcome: change === null ? 'current' : 'installed', change }
  }
  if (rollBackFailure !== null && one?.staged) {
    // Where it is not said which of them could not be put back, it is not known of any.
    const reasons = (rollBackFailure.details?.reasons ?? { [plugin]: rollBackFailure.message }) as Record<
      string,
      string
    >
    const reason = reasons[plugin]
    if (reason !== undefined) return { ...base, outcome: 'blocked', ...stuck(base, failure, reason) }
  }
  const own = one === undefined || failure?.details?.plugin === plugin ? failure : one.failure
  if (own === null) return { ...base, outcome: 'withheld' }
  const wasSwapped = outcome === 'rolled-back' || outcome === 'blocked'
  return { ...base, outcome: wasSwapped ? 'rolled-back' : failed(own), ...told(own) }
}

/** @param target As it was asked for. @throws {InstarError} `ABORTED` */
export function resultOf(result: InstallResult, target: string): PluginInstallation {
  const { outcome, failure, rollBackFailure, ...rest } = { ...result, target }
  if (outcome === 'cancelled') throw new InstarError('ABORTED', `the installation of ${rest.plugin} was cancelled`)
  const why = rollBackFailure === null ? told(failure) : stuck(rest, failure, rollBackFailure.message)
  return { ...rest, outcome, ...why }
}

/** What became of a plugin that was to be removed. With `reason` it is gone, and that is why its trees are left. */
export interface PluginRemoval extends Told {
  readonly plugin: string
  readonly target: string
  readonly outcome: 'removed' | 'absent'
  /** What was live. */
  readonly version: string | null
}

/** @param target As it was asked for. @throws {InstarError} What kept it from being removed. */
export function removalOf({ plugin, outcome, version, failure }: RemoveResult, target: string): PluginRemoval {
  if (outcome === 'failed') throw errorFrom(failure!)
  const left = failure !== null && { hint: `\`instar plugin sweep ${optionFor(target)}\` removes what is left.` }
  return { plugin, target, outcome, version, ...told(failure), ...left }
}

/** Why, as a result tells it. */
export function told(failure: Failure | ErrorRecord | null): Told {
  if (failure === null) return {}
  const { code, message: reason, hint } = failure
  return { ...(code !== undefined && { code }), reason, ...(hint !== undefined && { hint }) }
}

/** As a person types it. */
const optionFor = (target: string) => `--target ${/^[\w@%+=:,./-]+$/.test(target) ? target : shellQuoted(target)}`

/** Why, and what to type, where what was live could not be put back. */
function stuck(
  { plugin, target, from }: Pick<PluginInstallation, 'plugin' | 'target' | 'from'>,
  failure: Failure | null,
  rollBackReason: string,
) {
  const on = optionFor(target)
  const way = from === null ? `remove ${plugin} ${on}` : `install ${plugin}@${from} ${on}`
  const hint = `See what is live with \`instar plugin verify ${plugin} ${on}\`, then type \`instar plugin ${way}\`.`
  return { ...told(failure), rollBackReason, hint }
}

const failed = (failure: Failure) => (faultOf(failure) === 'environment' ? 'failed' : 'rejected')
