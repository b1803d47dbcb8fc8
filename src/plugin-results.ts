import type { Failure, InstallOutcome, InstallResult, PluginChange, SetResult } from '../machines/index.ts'
import { faultOf } from '../machines/runtime.ts'
import { InstarError } from './errors.ts'

/** What became of one plugin. */
export interface PluginInstallation {
  readonly plugin: string
  readonly target: string
  /** `withheld`: of a set that belongs together, another one could not be installed. */
  readonly outcome: Exclude<InstallOutcome, 'cancelled'> | 'withheld'
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

/** Why it is not installed. */
export interface Told {
  readonly code?: string
  readonly reason?: string
}

/** What became of one of a set that belongs together. */
export function memberOf(result: SetResult, plugin: string): Omit<PluginInstallation, 'target'> {
  const { outcome, prepared, swapped, failure, rollBackFailure } = result
  const one = prepared.find((member) => member.plugin === plugin)
  const base = { plugin, version: one?.version ?? null, from: one?.before?.live?.version ?? null, change: null }
  if (outcome === 'installed' || outcome === 'current') {
    const change = swapped.find((member) => member.plugin === plugin)?.change ?? null
    return { ...base, outcome: change === null ? 'current' : 'installed', change }
  }
  if (outcome === 'blocked')
    return { ...base, outcome, ...told(failure), ...(rollBackFailure && { rollBackReason: rollBackFailure.message }) }
  const own = one === undefined || failure?.details?.plugin === plugin ? failure : one.failure
  if (own === null) return { ...base, outcome: 'withheld' }
  return { ...base, outcome: outcome === 'rolled-back' ? outcome : failed(own), ...told(own) }
}

/** @throws {InstarError} `ABORTED` */
export function resultOf({ outcome, failure, rollBackFailure, ...rest }: InstallResult): PluginInstallation {
  if (outcome === 'cancelled') throw new InstarError('ABORTED', `the installation of ${rest.plugin} was cancelled`)
  return {
    ...rest,
    outcome,
    ...told(failure),
    ...(rollBackFailure !== null && { rollBackReason: rollBackFailure.message }),
  }
}

const told = (failure: Failure | null): Told =>
  failure === null ? {} : { ...(failure.code !== undefined && { code: failure.code }), reason: failure.message }

const failed = (failure: Failure) => (faultOf(failure) === 'environment' ? 'failed' : 'rejected')
