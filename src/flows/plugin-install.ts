import type { Found, Installed, PluginChange, PluginOffer, pluginInstall, ReleaseRef } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import { manifestText, readManifest } from '../packages/read-manifest.ts'
import { type ComparedTree, classifyChange } from '../plugins/classify.ts'
import { assertEngines, contributionsOf } from '../plugins/manifest.ts'
import type { Read, Target } from '../plugins/target.ts'
import { draftTag } from '../releases/draft.ts'
import { readListing } from '../releases/seal.ts'
import type { EffectsOf } from '../run/flow.ts'
import { blaming, offerFault } from './blame.ts'
import { filling, flushDraft, integrityOf, tarballIn, unpackAs, unpackChecked } from './package-draft.ts'
import { bring, registryOffer, resolveOffer, sourceText } from './plugin-source.ts'
import { assertLive, find, isOvertaken, type PluginWorld } from './plugin-world.ts'

/** Serves `machines/plugin-install.ts`. */
export const installEffects = (world: PluginWorld) =>
  ({
    resolve: ({ plugin, wanted }, { key, signal }) =>
      blaming(offerFault, () => resolveOffer(world, { plugin, wanted, key }, signal)),

    // What was proven for another target, or before a version was left, need not be fetched again.
    look: ({ plugin, target, offer }) =>
      blaming(offerFault, async () => {
        const [before, release] = await Promise.all([
          find(world.target(target), plugin, offer.version),
          sealedAs(world, offer),
        ])
        return { before, release }
      }),

    lookBack: async ({ plugin, target: name }) => {
      const target = world.target(name)
      const before = await find(target, plugin, null)
      const staged = await previousOf(target, plugin, before)
      return { before, staged }
    },

    fetch: ({ plugin, offer }, { key, signal, progress }) =>
      blaming(offerFault, async () => {
        await using draft = await world.store.draft(plugin, key, { signal })
        return await filling(draft, async () => {
          await bring(offer, draft, { signal, progress })
          await flushDraft(draft, `${plugin} ${offer.version}`)
          const integrity = offer.integrity ?? (await integrityOf(tarballIn(draft)))
          signal.throwIfAborted()
          return { draft: key, integrity }
        })
      }),

    verify: ({ plugin, offer, draft: key }, { signal, progress }) =>
      blaming(offerFault, async () => {
        progress({ phase: 'verifying', version: offer.version })
        const { signatures } = world
        await using draft = await world.store.draft(plugin, key, { signal })
        const manifest =
          offer.source.kind === 'registry'
            ? await unpackChecked(draft, registryOffer(offer), { signatures, signal })
            : await unpackAs(draft, offer, signal)
        contributionsOf(manifest)
        assertEngines(manifest, world.engines)
        await flushDraft(draft, `${plugin} ${offer.version}`)
      }),

    seal: ({ plugin, offer, draft: key, integrity }, { signal, progress }) =>
      blaming(offerFault, async () => {
        progress({ phase: 'sealing', version: offer.version })
        await using draft = await world.store.draft(plugin, key, { signal })
        const published = offer.source.kind === 'registry'
        const sealing = { version: offer.version, integrity, source: sourceText(offer), published, signal }
        const { version, digest } = await draft.seal(sealing)
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

    snapshot: async ({ plugin, target, before }) =>
      world.target(target).point(plugin, 'previous', before.live?.folder ?? null),

    swap: async ({ plugin, target, staged }) => world.target(target).point(plugin, 'live', staged.folder),

    readBack: async ({ plugin, target: name, staged, before }) => {
      const target = world.target(name)
      const { live, previous, trees } = await assertLive(target, plugin, staged, before.live)
      const own = trees.filter(({ seal }) => seal?.owner === target.owner)
      const spare = own.filter(({ folder }) => folder !== live && folder !== previous)
      const byAge = spare.sort((a, b) => (b.seal?.sealedAt ?? '').localeCompare(a.seal?.sealedAt ?? ''))
      return {
        change: before.live === null ? 'restart' : await changeBetween(world, target, plugin, [before.live, staged]),
        spare: byAge.slice(world.keep).map(({ folder }) => folder),
      }
    },

    prune: async ({ plugin, target, spare }) => {
      if (spare.length > 0) await world.target(target).remove(plugin, spare)
      if ((await world.store.list(plugin)).length > world.keep)
        await world.store.prune(plugin, { keep: world.keep, inUse: world.inUse(plugin) })
    },

    goBack: async ({ plugin, target: name, before, staged }) => {
      const target = world.target(name)
      if (isOvertaken(await target.shelf(plugin), [before.live, staged])) return
      await target.point(plugin, 'live', before.live?.folder ?? null)
      await target.point(plugin, 'previous', before.previous)
      await assertLive(target, plugin, before.live)
    },

    discard: async ({ plugin, target: name, draft: key, staged }) => {
      if (key !== null) {
        await using draft = await world.store.draft(plugin, key)
        await draft.discard()
      }
      const target = world.target(name)
      const { live, previous } = await target.shelf(plugin)
      // One that was taken as it lay there may be what is live.
      if (staged !== null && staged.folder !== live && staged.folder !== previous)
        await target.remove(plugin, [staged.folder])
      // Installs of one plugin are serial, so what is staged under this home's name is what this one has begun.
      await target.sweep(plugin)
    },
  }) satisfies EffectsOf<typeof pluginInstall>

/** A release that was made of these very bytes; null where there is none. */
async function sealedAs({ store, engines }: PluginWorld, offer: PluginOffer): Promise<ReleaseRef | null> {
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

/** What the second tree means for whoever has the first one loaded. What the store has of them is not read far away. */
async function changeBetween(
  { store }: PluginWorld,
  target: Target,
  plugin: string,
  installed: readonly [Installed, Installed],
): Promise<PluginChange> {
  const known = installed.map(async (one): Promise<ComparedTree | null> => {
    const release = await store.find(plugin, one)
    if (release === null) return null
    const manifest = await manifestText(release.content).catch(() => null)
    const listing = await readListing(release).catch(() => null) // damaged: then the target has to say
    return listing === null ? null : { listing, manifest }
  })
  const found = await Promise.all(known)
  const folders = installed.filter((_, at) => found[at] === null).map(({ folder }) => folder)
  const read = await target.read(plugin, folders)
  const trees = found.map((tree, at) => tree ?? read.find(({ folder }) => folder === installed[at]!.folder)!)
  return classifyChange(trees[0]!, trees[1]!)
}

async function previousOf(target: Target, plugin: string, { live, previous }: Found): Promise<Installed> {
  if (previous === null || previous === live?.folder)
    throw new InstarError('PLUGIN_NOTHING_BEFORE', `there is no version of ${plugin} to go back to`)
  const [{ seal, digest, problems }] = (await target.read(plugin, [previous])) as [Read]
  if (seal === null || problems.length > 0)
    throw new InstarError('PLUGIN_DAMAGED', `${plugin} ${previous}: ${problems.join('; ')}`)
  return { folder: previous, version: seal.version, digest }
}
