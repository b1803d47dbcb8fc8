import type { Found, Installed, PackageOffer, PluginChange, pluginInstall, ReleaseRef } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import { manifestText, readManifest } from '../packages/read-manifest.ts'
import { type ComparedTree, classifyChange } from '../plugins/classify.ts'
import { assertEngines, contributionsOf } from '../plugins/manifest.ts'
import { spareTrees } from '../plugins/spare.ts'
import type { Read, Target } from '../plugins/target.ts'
import { draftTag } from '../releases/draft.ts'
import { readListing } from '../releases/seal.ts'
import type { EffectsOf } from '../run/flow.ts'
import { blaming, offerFault } from './blame.ts'
import { filling, flushDraft } from './package-draft.ts'
import { bring, originOf, resolveOffer, unpackOffer } from './package-source.ts'
import { assertLive, find, isOvertaken, type PluginWorld } from './plugin-world.ts'

/** Serves `machines/plugin-install.ts`. */
export const installEffects = (world: PluginWorld) =>
  ({
    resolve: ({ plugin, wanted }, { key, signal }) =>
      blaming(offerFault, () => resolveOffer(world, { name: plugin, wanted, kind: 'plugin', key }, signal)),

    // What was proven for another target, or before a version was left, need not be fetched again.
    look: ({ plugin, target, offer }, { signal }) =>
      blaming(offerFault, async () => {
        const [before, release] = await Promise.all([
          find(world.target(target), plugin, offer.version, signal),
          sealedAs(world, offer),
        ])
        return { before, release }
      }),

    lookBack: async ({ plugin, target: name }, { signal }) => {
      const target = world.target(name)
      const before = await find(target, plugin, null, signal)
      const staged = await previousOf(target, plugin, before, signal)
      return { before, staged }
    },

    fetch: ({ plugin, offer }, { key, signal, progress }) =>
      blaming(offerFault, async () => {
        await using draft = await world.store.draft(plugin, key, { signal })
        return await filling(draft, async () => {
          const integrity = await bring(offer, draft, { signal, progress })
          await flushDraft(draft, `${plugin} ${offer.version}`)
          signal.throwIfAborted()
          return { draft: key, integrity }
        })
      }),

    verify: ({ plugin, offer, draft: key }, { signal, progress }) =>
      blaming(offerFault, async () => {
        progress({ phase: 'verifying', version: offer.version })
        const { signatures } = world
        await using draft = await world.store.draft(plugin, key, { signal })
        await unpackOffer(draft, offer, { signatures, signal })
        const manifest = await readManifest(draft.content, offer)
        contributionsOf(manifest)
        assertEngines(manifest, world.engines)
        await flushDraft(draft, `${plugin} ${offer.version}`)
      }),

    seal: ({ plugin, offer, draft: key, integrity }, { signal, progress }) =>
      blaming(offerFault, async () => {
        progress({ phase: 'sealing', version: offer.version })
        await using draft = await world.store.draft(plugin, key, { signal })
        const { version, digest } = await draft.seal({ version: offer.version, integrity, ...originOf(offer), signal })
        return { version, digest }
      }),

    // What arrives is compared with the listing, so it need not be read here before.
    stage: async ({ plugin, target, release }, { key, signal, progress }) => {
      progress({ phase: 'staging', version: release.version })
      const ref = { ...release, name: plugin }
      const found = await world.store.find(plugin, release)
      if (found === null)
        throw new InstarError('RELEASE_DAMAGED', `${plugin} ${release.version} is no longer in the store`)
      const { content } = found
      const listing = await readListing(found)
      try {
        const putting = { plugin, ...release, content, listing, key: draftTag(key), signal, progress }
        return await world.target(target).put(putting)
      } catch (error) {
        if (!(error instanceof InstarError) || error.code !== 'PLUGIN_DAMAGED') throw error
        const verdict = await world.store.verify(ref, { full: true, signal })
        throw verdict.whole ? error : new InstarError('RELEASE_DAMAGED', error.message, { cause: error })
      }
    },

    snapshot: async ({ plugin, target, before, staged }) => {
      const folder = wayBack(before, staged)
      if (folder !== before.previous) await world.target(target).point(plugin, 'previous', folder)
    },

    swap: async ({ plugin, target, staged }) => world.target(target).point(plugin, 'live', staged.folder),

    readBack: async ({ plugin, target: name, staged, before }) => {
      const target = world.target(name)
      const spare = spareTrees(await assertLive(target, plugin, staged, before.live), target.owner, world.keep)
      // One more step on the target is enough: where it is needed for what is too much there, it is not asked about this.
      const asked = spare.length === 0 ? target : null
      // The plugin is live, whatever becomes of this question, and a restart is never too little.
      const change = await changeBetween(world, plugin, [before.live, staged], asked).catch(() => 'restart' as const)
      return { change, spare }
    },

    prune: async ({ plugin, target, spare }) => {
      if (spare.length > 0) await world.target(target).remove(plugin, spare)
      if ((await world.store.list(plugin)).length > world.keep)
        await world.store.prune(plugin, { keep: world.keep, inUse: world.inUse(plugin) })
    },

    goBack: async ({ plugin, target: name, before, staged }) => {
      const target = world.target(name)
      const found = await target.shelf(plugin)
      if (isOvertaken(found, [before.live, staged])) return
      // A tree that is gone cannot be led to again. Where nothing was changed, it is left as it is.
      const back = (link: 'live' | 'previous', folder: string | null) =>
        folder === found[link] || found.trees.some((tree) => tree.folder === folder) ? folder : null
      const live = back('live', before.live?.folder ?? null)
      const previous = back('previous', before.previous)
      if (live !== found.live) await target.point(plugin, 'live', live)
      if (previous !== found.previous) await target.point(plugin, 'previous', previous)
      const wasNone = live === null && before.live?.digest === ''
      await assertLive(target, plugin, wasNone ? null : before.live)
    },

    discard: async ({ plugin, target: name, draft: key, staged, isBegun }) => {
      if (key !== null) {
        await using draft = await world.store.draft(plugin, key)
        await draft.discard()
      }
      if (!isBegun) return
      const target = world.target(name)
      if (staged !== null) {
        const { live, previous } = await target.shelf(plugin)
        // One that was taken as it lay there may be what is live.
        if (staged.folder !== live && staged.folder !== previous) await target.remove(plugin, [staged.folder])
      }
      // Installs of one plugin are serial, so what is staged under this home's name is what this one has begun.
      await target.sweep(plugin)
    },
  }) satisfies EffectsOf<typeof pluginInstall>

/** A release that was made of these very bytes; null where there is none. */
async function sealedAs({ store, engines }: PluginWorld, offer: PackageOffer): Promise<ReleaseRef | null> {
  const { name, version, integrity } = offer
  const releases = await store.list(name)
  const found = releases.find((release) => release.version === version && release.integrity === integrity)
  if (found === undefined) return null
  const manifest = await readManifest(found.content, offer).catch(() => null)
  if (manifest === null) return null // damaged: it is made anew
  // What plugins run in may be another than when it was proven.
  assertEngines(manifest, engines)
  return { version, digest: found.digest }
}

/**
 * What a rollback leads to once `staged` is live: what is live now. Not so a tree that nobody could go back to: one without
 * a seal, and one that is only another copy of what is put there, which is done where it is damaged.
 */
function wayBack({ live, previous }: Found, staged: Installed): string | null {
  if (live === null) return null
  return live.digest === '' || live.digest === staged.digest ? previous : live.folder
}

/**
 * What the second tree means for whoever has the first one loaded. What the store has of them is not read on the target;
 * what it does not have is, where a target is given.
 */
async function changeBetween(
  { store }: PluginWorld,
  plugin: string,
  installed: readonly [Installed | null, Installed],
  target: Target | null,
): Promise<PluginChange> {
  const [before, after] = installed
  // What it said of itself was not true, or it would not have been replaced.
  if (before === null || before.digest === '' || before.digest === after.digest) return 'restart'
  const known = [before, after].map(async (one): Promise<ComparedTree | null> => {
    const release = await store.find(plugin, one)
    if (release === null) return null
    const manifest = await manifestText(release.content).catch(() => null)
    const listing = await readListing(release).catch(() => null) // damaged: then the target has to say
    return listing === null ? null : { listing, manifest }
  })
  const found = await Promise.all(known)
  const folders = [before, after].filter((_, at) => found[at] === null).map(({ folder }) => folder)
  if (folders.length > 0 && target === null) return 'restart'
  const read = folders.length === 0 ? [] : await target!.read(plugin, folders)
  const [old, young] = found.map((tree) => tree ?? read.shift()!)
  return classifyChange(old!, young!)
}

async function previousOf(
  target: Target,
  plugin: string,
  { live, previous }: Found,
  signal: AbortSignal,
): Promise<Installed> {
  if (previous === null || previous === live?.folder)
    throw new InstarError('PLUGIN_NOTHING_BEFORE', `there is no version of ${plugin} to go back to`)
  const [{ seal, digest, problems }] = (await target.read(plugin, [previous], signal)) as [Read]
  if (seal === null || problems.length > 0)
    throw new InstarError('PLUGIN_DAMAGED', `${plugin} ${previous}: ${problems.join('; ')}`)
  return { folder: previous, version: seal.version, digest }
}
