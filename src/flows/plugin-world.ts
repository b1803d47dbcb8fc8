import type { Found, Installed, ReleaseRef } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import type { SignaturePolicy } from '../packages/verify-signatures.ts'
import type { Look, Target } from '../plugins/target.ts'
import type { ReleaseStore } from '../releases/store.ts'

/** What the effects of the plugin flows work on. */
export interface PluginWorld {
  /** Releases of kind `plugin`: what was fetched and proven, whatever it is then put on. */
  readonly store: ReleaseStore
  readonly registry: string | undefined
  readonly signatures: SignaturePolicy
  /** How many trees besides the live and the previous one a target keeps. */
  readonly keep: number
  /** Releases of a plugin that a run is about to put somewhere. */
  inUse(plugin: string): readonly ReleaseRef[]
  /** @throws {InstarError} `PLUGIN_TARGET_INVALID` */
  target(name: string): Target
}

/** What a target has of a plugin, read through the live path. */
export async function find(target: Target, plugin: string): Promise<Found> {
  const { previous, found } = await target.look(plugin)
  const live: Installed | null =
    found === null ? null : { folder: found.folder, version: found.seal?.version ?? '', digest: found.digest }
  return { live, previous }
}

/**
 * What is there, and with it the trees in `folders`.
 *
 * @throws {InstarError} `PLUGIN_NOT_LIVE` where a reader of the live path does not find exactly this tree.
 */
export async function assertLive(
  target: Target,
  plugin: string,
  wanted: Installed | null,
  folders: readonly string[] = [],
): Promise<Look> {
  const look = await target.look(plugin, folders)
  const { found } = look
  if (found?.folder === wanted?.folder && found?.digest === wanted?.digest) return look
  const is =
    found === null ? 'nothing is live' : `${found.folder} is live${found.problems.map((one) => `, ${one}`).join('')}`
  throw new InstarError('PLUGIN_NOT_LIVE', `${plugin}: ${is}, where ${wanted?.folder ?? 'nothing'} should be`)
}
