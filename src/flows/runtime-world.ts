import { join } from 'node:path'
import gt from 'semver/functions/gt.js'
import type { Candidate, ReleaseRef } from '../../machines/runtime.ts'
import type { RuntimeConfig } from '../config.ts'
import { InstarError } from '../errors.ts'
import type { ReleaseStore } from '../releases/store.ts'
import type { RuntimeProgram } from '../runtime/start.ts'

/** What the effects of the runtime flows work on. */
export interface RuntimeWorld {
  readonly home: string
  readonly store: ReleaseStore
  /** The registry that the configuration names; npm's own where absent. */
  readonly registry: string | undefined
  /** Only the bundled version, no fetching. */
  readonly development: boolean
  /** @throws {InstarError} `RUNTIME_UNKNOWN` */
  config(runtime: string): RuntimeConfig
  /** The host's say in what a launch tries. */
  readonly preferArms?: (
    runtime: string,
    arms: readonly Candidate[],
  ) => readonly Candidate[] | Promise<readonly Candidate[]>
  /** Releases that processes run from now. */
  inUse(runtime: string): readonly ReleaseRef[]
  /** A release that an update has sealed and not decided on yet. */
  undecided(runtime: string): readonly ReleaseRef[]
}

/** The version that a launch would run, as far as versions alone decide. */
export function inUseVersion(current: ReleaseRef | null, bundled: RuntimeConfig['bundled']): string | null {
  if (current === null) return bundled?.version ?? null
  return bundled !== undefined && !gt(current.version, bundled.version) ? bundled.version : current.version
}

/** Where the records and the output of started processes are. */
export const recordsIn = (home: string) => join(home, 'processes')

export function programOf(
  { entry, node, args, env, probe }: RuntimeConfig,
  more: readonly string[] = [],
): RuntimeProgram {
  return { entry, node: node ?? process.execPath, args: [...args, ...more], env, probe }
}

/**
 * The folder a candidate runs from, its tree compared with its seal byte for byte.
 *
 * @throws {InstarError} `RELEASE_DAMAGED`, `RELEASE_INCOMPLETE`.
 */
export async function contentOf(
  { store, config }: RuntimeWorld,
  runtime: string,
  { release }: Pick<Candidate, 'release'>,
  signal: AbortSignal,
): Promise<string> {
  if (release === null) return config(runtime).bundled!.path
  const verdict = await store.verify({ name: runtime, ...release }, { full: true, signal })
  if (!verdict.whole)
    throw new InstarError(verdict.code, `${runtime} ${release.version}: ${verdict.problems.join('; ')}`)
  return verdict.release.content
}
