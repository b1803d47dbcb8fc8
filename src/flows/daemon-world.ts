import compare from 'semver/functions/compare.js'
import valid from 'semver/functions/valid.js'
import type { Daemon } from '../../machines/index.ts'
import type { DaemonCommand, DaemonInfo } from '../sessions/protocol.ts'

/** What the effects of daemon supervision work on. */
export interface DaemonWorld {
  readonly home: string
  /** The host's version: what a daemon that it starts says of itself. */
  readonly version: string
  /** The program that a daemon of this host is; this package's own where absent. */
  readonly command: DaemonCommand | undefined
  /** Absolute path of the keeper's program; null where there is none. */
  readonly keeper: () => string | null
  readonly scrollbackBytes: number
  readonly shell: string | undefined
}

/** A daemon as the machine keeps it. */
export function daemonOf({ version: wanted }: Pick<DaemonWorld, 'version'>, info: DaemonInfo): Daemon {
  const { pid, version, node, generation, keeper } = info
  return { pid, version, node, generation, keeper, standing: standingOf(version, wanted) }
}

/** Versions that cannot be compared are only told apart: what is not the host's is to become it. */
function standingOf(version: string, wanted: string): Daemon['standing'] {
  if (version === wanted) return 'same'
  if (valid(version) === null || valid(wanted) === null) return 'older'
  return (['older', 'same', 'newer'] as const)[compare(version, wanted) + 1]!
}
