import { join } from 'node:path'
import type { Candidate, ReleaseRef } from '../../machines/runtime.ts'
import type { RuntimeConfig } from '../config.ts'
import { InstarError } from '../errors.ts'
import type { State } from '../releases/state.ts'
import type { ReleaseStore } from '../releases/store.ts'
import { type LaunchRules, nextLaunchVersion } from '../runtime/launch-order.ts'
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

export function launchRules({ bans }: Pick<State, 'bans'>, { bundled }: RuntimeConfig): LaunchRules {
  return { banned: Object.keys(bans), bundled: bundled?.version ?? null }
}

/** The version that the next launch begins with, by what the store says now. */
export function inUseVersion(state: State, config: RuntimeConfig): string | null {
  return nextLaunchVersion(state.pointer, launchRules(state, config))
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
