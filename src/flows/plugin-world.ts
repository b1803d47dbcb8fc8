import type { Found, Installed } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import type { SignaturePolicy } from '../packages/verify-signatures.ts'
import type { Read, Target } from '../plugins/target.ts'
import type { ReleaseStore } from '../releases/store.ts'

/** What the effects of the plugin flows work on. */
export interface PluginWorld {
  /** Releases of kind `plugin`: what was fetched and proven, whatever it is then put on. */
  readonly store: ReleaseStore
  readonly registry: string | undefined
  readonly signatures: SignaturePolicy
  /** How many trees besides the live and the previous one a target keeps. */
  readonly keep: number
  /** @throws {InstarError} `PLUGIN_TARGET_UNKNOWN` */
  target(name: string): Target
}

/** What a target has of a plugin, read through the live path. */
export async function find(target: Target, plugin: string): Promise<Found> {
  const [{ previous }, read] = [await target.shelf(plugin), await target.readLive(plugin)]
  const live: Installed | null =
    read === null ? null : { folder: read.folder, version: read.seal?.version ?? '', digest: read.digest }
  return { live, previous }
}

/** What is live. @throws {InstarError} `PLUGIN_NOT_LIVE` where a reader of the live path does not find exactly this tree. */
export async function assertLive(target: Target, plugin: string, wanted: Installed | null): Promise<Read | null> {
  const read = await target.readLive(plugin)
  if (read === null && wanted === null) return null
  if (read !== null && wanted !== null && read.folder === wanted.folder && read.digest === wanted.digest) return read
  const found =
    read === null ? 'nothing is live' : `${read.folder} is live${read.problems.map((one) => `, ${one}`).join('')}`
  throw new InstarError('PLUGIN_NOT_LIVE', `${plugin}: ${found}, where ${wanted?.folder ?? 'nothing'} should be`)
}
