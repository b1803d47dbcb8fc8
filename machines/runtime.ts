import type { Failure } from './effect.ts'

/** Words that the runtime machines share. Plain data only: all of it is journaled. */

/** What the registry offered: one exact version, the integrity that its bytes must have, and where they are. */
export interface Offer {
  readonly name: string
  readonly version: string
  readonly integrity: string
  readonly tarball: string
  readonly registry: string
  readonly engines: Readonly<Record<string, string>>
  readonly signatures: readonly { readonly keyid: string; readonly sig: string }[]
}

/** A sealed release on disk, by version and digest of its tree. */
export interface ReleaseRef {
  readonly version: string
  readonly digest: string
}

export type Arm = 'current' | 'previous' | 'bundled'

/** One thing that a launch may run. `release` is null for the one that came bundled with the host. */
export interface Candidate {
  readonly arm: Arm
  readonly version: string
  readonly release: ReleaseRef | null
}

/**
 * Who is to blame, as the effect judged it where the evidence was:
 *
 * - `version`: this version is bad and would be bad again (it is struck);
 * - `refused`: this offer must not be used now, but the version is not proven bad;
 * - anything else, or nothing: the world around it failed, and nobody is punished.
 */
export type Fault = 'version' | 'refused' | 'environment'

export function faultOf(failure: Failure | null): Fault {
  const fault = failure?.details?.fault
  return fault === 'version' || fault === 'refused' ? fault : 'environment'
}
