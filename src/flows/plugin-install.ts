import { copyFile } from 'node:fs/promises'
import type { Found, Installed, PluginChange, PluginOffer, pluginInstall, ReleaseRef } from '../../machines/index.ts'
import { diskError, InstarError } from '../errors.ts'
import { manifestText } from '../packages/read-manifest.ts'
import { type ComparedTree, classifyChange } from '../plugins/classify.ts'
import { filePrefix, identityOf } from '../plugins/spec.ts'
import type { Read, Target } from '../plugins/target.ts'
import { type Draft, draftTag } from '../releases/draft.ts'
import { readListing } from '../releases/seal.ts'
import type { EffectsOf } from '../run/flow.ts'
import { blaming, offerFault } from './blame.ts'
import { download, flushDraft, integrityOf, tarballIn, unpackAs, unpackChecked } from './package-draft.ts'
import { assertLive, find, isOvertaken, type PluginWorld } from './plugin-world.ts'

/** Serves `machines/plugin-install.ts`. */
export const installEffects = (world: PluginWorld) =>
  ({
    resolve: ({ plugin, wanted }, { signal }) => blaming(offerFault, () => resolveOffer(world, plugin, wanted, signal)),

    // What was proven for another target, or before a version was left, need not be fetched again.
    look: async ({ plugin, target, offer }) => {
      const [before, release] = await Promise.all([
        find(world.target(target), plugin, offer.version),
        sealedAs(world, offer),
      ])
      return { before, release }
    },

    lookBack: async ({ plugin, target: name }) => {
      const target = world.target(name)
      const before = await find(target, plugin, null)
      const staged = await previousOf(target, plugin, before)
      return { before, staged }
    },

    fetch: ({ plugin, offer }, { key, signal, progress }) =>
      blaming(offerFault, async () => {
        const { integrity, source } = offer
        await using draft = await world.store.draft(plugin, key, { signal })
        if (source.kind === 'registry') await download(draft, registryOffer(offer), { signal, progress })
        else await packInto(draft, source, signal)
        await flushDraft(draft, `${plugin} ${offer.version}`)
        return { draft: key, integrity: integrity ?? (await integrityOf(tarballIn(draft))) }
      }),

    verify: ({ plugin, offer, draft: key }, { signal, progress }) =>
      blaming(offerFault, async () => {
        progress({ phase: 'verifying', version: offer.version })
        const { signatures } = world
        await using draft = await world.store.draft(plugin, key, { signal })
        if (offer.source.kind === 'registry') await unpackChecked(draft, registryOffer(offer), { signatures, signal })
        else await unpackAs(draft, offer, signal)
        await flushDraft(draft, `${plugin} ${offer.version}`)
      }),

    seal: ({ plugin, offer, draft: key, integrity }, { signal, progress }) =>
      blaming(offerFault, async () => {
        progress({ phase: 'sealing', version: offer.version })
        await using draft = await world.store.draft(plugin, key, { signal })
        const source = offer.source.kind === 'registry' ? offer.source.registry : offer.source.path
        const { version, digest } = await draft.seal({ version: offer.version, integrity, source, signal })
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
async function sealedAs({ store }: PluginWorld, { name, version, integrity }: PluginOffer): Promise<ReleaseRef | null> {
  const releases = await store.list(name)
  const found = releases.find((release) => release.version === version && release.integrity === integrity)
  return found === undefined ? null : { version, digest: found.digest }
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

/** Which exact version is meant, and where its bytes are. */
export async function resolveOffer(
  world: PluginWorld,
  plugin: string,
  wanted: string,
  signal: AbortSignal,
): Promise<PluginOffer> {
  if (wanted.startsWith(filePrefix)) {
    const path = wanted.slice(filePrefix.length)
    const { name, version, isFolder } = await identityOf(path)
    if (name !== plugin)
      throw new InstarError('MANIFEST_MISMATCH', `${path} holds ${name}, and ${plugin} was asked for`)
    return { name, version, integrity: null, source: { kind: isFolder ? 'folder' : 'tarball', path } }
  }
  const { resolve } = await import('../packages/resolve.ts')
  const { seen } = await world.store.state(plugin)
  const answer = await resolve({
    package: plugin,
    channel: wanted,
    ...(world.registry !== undefined && { registry: world.registry }),
    firstSeen: Object.fromEntries(Object.entries(seen).map(([version, { integrity }]) => [version, integrity])),
    signal,
  })
  if ('notModified' in answer) throw new InstarError('INTERNAL', 'no etag was given, and one was answered to')
  const { name, version, integrity, tarball, registry, signatures } = answer
  if (seen[version] === undefined) await world.store.seen(plugin, version, integrity)
  return { name, version, integrity, source: { kind: 'registry', tarball, registry, signatures } }
}

function registryOffer({ name, version, integrity, source }: PluginOffer) {
  if (source.kind !== 'registry' || integrity === null) throw new Error('not from a registry')
  const { tarball, registry, signatures } = source
  return { name, version, integrity, tarball, registry, signatures }
}

/** A folder goes through an archive too, so that one set of rules judges what may be in a plugin. */
async function packInto(draft: Draft, source: { kind: 'tarball' | 'folder'; path: string }, signal: AbortSignal) {
  await draft.reset()
  try {
    if (source.kind === 'tarball') await copyFile(source.path, tarballIn(draft))
    else {
      const { create } = await import('tar')
      const filter = (path: string) => !/^(\.\/)?\.git(\/|$)/.test(path)
      await create(
        {
          cwd: source.path,
          file: tarballIn(draft),
          gzip: true,
          portable: true,
          prefix: 'package',
          strict: true,
          filter,
        },
        ['.'],
      )
    }
    signal.throwIfAborted()
  } catch (error) {
    await draft.discard()
    throw diskError(error, `reading ${source.path}`)
  }
}

async function previousOf(target: Target, plugin: string, { live, previous }: Found): Promise<Installed> {
  if (previous === null || previous === live?.folder)
    throw new InstarError('PLUGIN_NOTHING_BEFORE', `there is no version of ${plugin} to go back to`)
  const [{ seal, digest, problems }] = (await target.read(plugin, [previous])) as [Read]
  if (seal === null || problems.length > 0)
    throw new InstarError('PLUGIN_DAMAGED', `${plugin} ${previous}: ${problems.join('; ')}`)
  return { folder: previous, version: seal.version, digest }
}
