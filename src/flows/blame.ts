import type { Fault } from '../../machines/runtime.ts'
import { InstarError, type InstarErrorCode, withDetails } from '../errors.ts'
import { attribute } from '../runtime/attribute.ts'

/**
 * What a failed offer says about the version it offered. Absent codes are the world's: network, disk, a stop in between.
 *
 * `version` is for what these very bytes would do again anywhere; `refused` for what may be otherwise at the next check
 * (other metadata, another host, another Node).
 */
const offerFaults: Partial<Record<InstarErrorCode, Fault>> = {
  MANIFEST_INVALID: 'version',
  TARBALL_INVALID: 'version',
  BUNDLE_INVALID: 'version',
  TREE_TOO_LARGE: 'version',
  TREE_TOO_MANY_FILES: 'version',
  TREE_UNSAFE: 'version',
  TREE_BOMB: 'version',
  RELEASE_UNSAFE: 'version',
  INTEGRITY_MISSING: 'refused',
  INTEGRITY_WEAK: 'refused',
  INTEGRITY_MISMATCH: 'refused',
  INTEGRITY_CHANGED: 'refused',
  SIGNATURE_MISSING: 'refused',
  SIGNATURE_INVALID: 'refused',
  SIGNATURE_KEY_EXPIRED: 'refused',
  TARBALL_TOO_LARGE: 'refused',
  // The configuration names the entry, so a mistake in it must not ban what is good.
  ENTRY_MISSING: 'refused',
  // A registry that lies about what a tarball is must not be able to ban the version that it names.
  MANIFEST_MISMATCH: 'refused',
  ENGINES_UNMET: 'refused',
  APP_MANIFEST_INVALID: 'refused',
  APP_CAPABILITY_MISSING: 'refused',
  PLATFORM_UNSUPPORTED: 'refused',
  APP_SPEC_INVALID: 'refused',
  PROVIDED_OUT_OF_RANGE: 'refused',
  NATIVE_UNLOADABLE: 'refused',
}

export function offerFault(error: unknown): Fault {
  return (error instanceof InstarError && offerFaults[error.code]) || 'environment'
}

/** What a release that is kept is refused for: its own bytes, what became of them on the disk, or the world around it. */
export function keptFault(error: unknown): Fault {
  const isBroken = error instanceof InstarError && ['RELEASE_DAMAGED', 'RELEASE_INCOMPLETE'].includes(error.code)
  return isBroken ? 'refused' : offerFault(error)
}

/** What a failed start says about the release that was started. */
export function startFault(error: unknown): Fault {
  if (!(error instanceof InstarError)) return 'environment'
  // It is not what was sealed, which is no fault of the version; and trying again would not make it whole.
  if (error.code === 'RELEASE_DAMAGED' || error.code === 'RELEASE_INCOMPLETE') return 'refused'
  if (error.code === 'ENTRY_MISSING' || error.code === 'DEVELOPMENT_MODE') return 'refused'
  return attribute(error)
}

/** Runs `work`; an error of it carries the fault as `details.fault`, where the machines look for it. */
export async function blaming<T>(judge: (error: unknown) => Fault, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw withFault(error, judge(error))
  }
}

export function withFault(error: unknown, fault: Fault): unknown {
  return error instanceof InstarError ? withDetails(error, { fault }) : error
}
