import type { Found, Installed, ReleaseRef } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import { readManifest } from '../packages/read-manifest.ts'
import type { SignaturePolicy } from '../packages/verify-signatures.ts'
import { contributionsOf } from '../plugins/manifest.ts'
import { sealOf } from '../plugins/read.ts'
import type { Shelf, Target } from '../plugins/target.ts'
import type { ReleaseStore } from '../releases/store.ts'

/** What the effects of the plugin flows work on. */
export interface PluginWorld {
  /** Releases of kind `plugin`: what was fetched and proven, whatever it is then put on. */
  readonly store: ReleaseStore
  readonly registry: string | undefined
  readonly signatures: SignaturePolicy
  /** Versions of what plugins run in, by the names that their `engines` use. */
  readonly engines: Readonly<Record<string, string>>
  /** How many trees besides the live and the previous one a target keeps. */
  readonly keep: number
  /** Releases of a plugin that a run is about to put somewhere. */
  inUse(plugin: string): readonly ReleaseRef[]
  /** @throws {InstarError} `PLUGIN_TARGET_INVALID` */
  target(name: string): Target
}

/** The names of what a release contributes; null where the home does not have it, or it is no longer whole. */
export async function contributionsIn(
  { store }: PluginWorld,
  plugin: string,
  release: ReleaseRef,
): Promise<readonly string[] | null> {
  const found = await store.find(plugin, release)
  if (found === null) return null
  const manifest = await readManifest(found.content, { name: plugin, version: found.version }).catch(() => null)
  return manifest === null ? null : Object.keys(contributionsOf(manifest))
}

/** What a target has of a plugin. @param version The one that is wanted; null where all that is there is as good. */
export async function find(
  target: Target,
  plugin: string,
  version: string | null,
  signal: AbortSignal,
): Promise<Found> {
  const shelf = await target.shelf(plugin, signal)
  const { live: folder, astray, previous } = shelf
  if (folder === null) return { live: null, isWhole: false, previous }
  const seal = sealOf(shelf, folder)
  const live = { folder, version: seal?.version ?? '', digest: seal?.digest ?? '' }
  if (astray !== null || live.version !== version) return { live, isWhole: false, previous }
  const [read] = await target.read(plugin, [folder], signal)
  return { live, isWhole: read!.problems.length === 0, previous }
}

/**
 * What is there, when exactly this tree is live: by its seal, read through the live path. Of one that never had a seal there
 * is only to know that it is the one that is pointed at.
 *
 * @param before What was live before; where it is neither, somebody else has been faster.
 * @throws {InstarError} `PLUGIN_NOT_LIVE` where a reader of the live path does not find it; `PLUGIN_OVERTAKEN`.
 */
export async function assertLive(
  target: Target,
  plugin: string,
  wanted: Installed | null,
  before: Installed | null = null,
): Promise<Shelf> {
  const shelf = await target.shelf(plugin)
  const { live, astray } = shelf
  const digest = live === null ? undefined : (sealOf(shelf, live)?.digest ?? '')
  const isLedTo = live === (wanted?.folder ?? null)
  if (isLedTo && (wanted?.digest === '' || (astray === null && digest === wanted?.digest))) return shelf
  if (isOvertaken(shelf, [before, wanted]))
    throw new InstarError('PLUGIN_OVERTAKEN', `${plugin}: another installer has put ${live} in its place`)
  const found = live === null ? 'nothing is live' : astray !== null ? `it leads to ${astray}` : `${live} is live`
  throw new InstarError('PLUGIN_NOT_LIVE', `${plugin}: ${found}, where ${wanted?.folder ?? 'nothing'} should be`)
}

/** Whether a sealed tree is live that is none of these: somebody else's doing, and not ours to undo. */
export function isOvertaken(shelf: Shelf, ours: readonly (Installed | null)[]): boolean {
  const { live, astray } = shelf
  return astray === null && sealOf(shelf, live) !== null && !ours.some((one) => one?.folder === live)
}
