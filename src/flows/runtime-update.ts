import { isDeepStrictEqual } from 'node:util'
import gt from 'semver/functions/gt.js'
import lt from 'semver/functions/lt.js'
import * as z from 'zod'
import type { Evidence, Offer, runtimeUpdate } from '../../machines/index.ts'
import type { RuntimeConfig } from '../config.ts'
import { InstarError } from '../errors.ts'
import type { Draft } from '../releases/draft.ts'
import type { EffectsOf } from '../run/flow.ts'
import { findChild, stopChild } from '../runtime/child.ts'
import { enginesSatisfied, nodeVersionOf } from '../runtime/node-version.ts'
import { qualify } from '../runtime/qualify.ts'
import { blaming, offerFault, startFault } from './blame.ts'
import { download, filling, flushDraft, unpackChecked } from './package-draft.ts'
import { contentOf, inUseVersion, programOf, type RuntimeWorld, recordsIn } from './runtime-world.ts'

/** What the last answer of the registry was, so that the next question can be conditional. */
const Remembered = z.object({
  package: z.string(),
  channel: z.string(),
  asked: z.string().nullable(),
  etag: z.string(),
  offer: z.object({
    name: z.string(),
    version: z.string(),
    integrity: z.string(),
    tarball: z.string(),
    registry: z.string(),
    engines: z.record(z.string(), z.string()),
    signatures: z.array(z.object({ keyid: z.string(), sig: z.string() })),
  }),
})

/** Serves `machines/runtime-update.ts`. The registry side is imported when it is needed: it is large. */
export const updateEffects = (world: RuntimeWorld) =>
  ({
    resolve: ({ runtime }, { signal }) => blaming(offerFault, () => resolveOffer(world, runtime, signal)),

    examine: ({ runtime, offer }, { signal }) => examine(world, runtime, offer, signal),

    fetch: ({ runtime, offer }, { key, signal, progress }) =>
      blaming(offerFault, async () => {
        refuseInDevelopment(world, runtime)
        // One update of a runtime runs at a time, so what else is staged under its name is a crash's.
        await world.store.sweep(runtime)
        await using draft = await world.store.draft(runtime, key, { signal })
        await filling(draft, () => download(draft, offer, { signal, progress }))
        return { draft: key }
      }),

    verify: ({ runtime, offer, draft: key }, { signal, progress }) =>
      blaming(offerFault, async () => {
        progress({ phase: 'verifying', version: offer.version })
        await using draft = await world.store.draft(runtime, key, { signal })
        await verifyOffer(world.config(runtime), offer, draft, signal)
        await flushDraft(draft, `${runtime} ${offer.version}`)
      }),

    seal: ({ runtime, offer, draft: key }, { signal, progress }) =>
      blaming(offerFault, async () => {
        progress({ phase: 'sealing', version: offer.version })
        await using draft = await world.store.draft(runtime, key, { signal })
        const { version, integrity, registry } = offer
        const release = await draft.seal({ version, integrity, source: `${offer.name} from ${registry}`, signal })
        return { version: release.version, digest: release.digest }
      }),

    qualify: ({ runtime, release }, { key, signal, progress }) =>
      blaming(startFault, async () => {
        const recordDirectory = recordsIn(world.home)
        // First of all, and whatever becomes of this run: what a crash in the first one left.
        const leftover = await findChild({ key, recordDirectory })
        if (leftover !== undefined) await stopChild(leftover, { everything: true })
        refuseInDevelopment(world, runtime)
        progress({ phase: 'qualifying', version: release.version })
        const { readyMs } = await qualify({
          ...programOf(world.config(runtime)),
          release: await contentOf(world, runtime, { release }, signal),
          home: world.home,
          key,
          recordDirectory,
          signal,
        })
        return { readyMs }
      }),

    activate: async ({ runtime, release, allowOlder }, { signal }) => {
      refuseInDevelopment(world, runtime)
      await world.store.activate(runtime, release, { allowOlder, signal })
    },

    readPointer: async ({ runtime }) => {
      const { current } = await world.store.pointer(runtime)
      return { current: current && { version: current.version, digest: current.digest } }
    },

    prune: async ({ runtime }) => {
      await world.store.prune(runtime, { keep: world.config(runtime).policy.keep, inUse: world.inUse(runtime) })
    },

    // Nobody used it yet, so one failure is enough.
    strike: async ({ runtime, version, reason }, { key }) =>
      world.store.strike(runtime, version, { reason, limit: 1, key }),

    discard: async ({ runtime, draft: key, release }) => {
      if (release !== null) await world.store.remove(runtime, release, { inUse: world.inUse(runtime) })
      if (key === null) return
      await using draft = await world.store.draft(runtime, key)
      await draft.discard()
    },
  }) satisfies EffectsOf<typeof runtimeUpdate>

function refuseInDevelopment({ development }: RuntimeWorld, runtime: string): void {
  if (development)
    throw new InstarError('DEVELOPMENT_MODE', `${runtime} is not looked for: the controller is in development mode`)
}

async function resolveOffer(world: RuntimeWorld, runtime: string, signal: AbortSignal): Promise<Offer> {
  refuseInDevelopment(world, runtime)
  const { package: name, channel } = world.config(runtime)
  const asked = world.registry ?? null
  const { resolve } = await import('../packages/resolve.ts')
  const { remembered, seen } = await world.store.state(runtime)
  const last = Remembered.safeParse(remembered).data
  const isSameQuestion = last?.package === name && last.channel === channel && last.asked === asked
  const answer = await resolve({
    package: name,
    channel,
    ...(asked !== null && { registry: asked }),
    ...(isSameQuestion && { etag: last.etag }),
    firstSeen: Object.fromEntries(Object.entries(seen).map(([version, { integrity }]) => [version, integrity])),
    signal,
  })
  if ('notModified' in answer) return last!.offer
  const { version, integrity, tarball, registry, engines, signatures, etag } = answer
  const offer: Offer = { name, version, integrity, tarball, registry, engines, signatures }
  if (seen[version] === undefined) await world.store.seen(runtime, version, integrity)
  const next = etag === null ? null : { package: name, channel, asked, etag, offer }
  if (!isDeepStrictEqual(next, last ?? null)) await world.store.remember(runtime, Remembered.nullable().parse(next))
  return offer
}

async function examine(
  world: RuntimeWorld,
  runtime: string,
  { version, engines }: Offer,
  signal: AbortSignal,
): Promise<Evidence> {
  const { store } = world
  const config = world.config(runtime)
  const { bundled, node } = config
  // Repairs first, so that what is read next is what a launch would find.
  const { current } = await store.pointer(runtime)
  const state = await store.state(runtime)
  const { bans, committed, seen } = state
  const nodeVersion = await nodeVersionOf(node ?? process.execPath, signal)
  const points = current?.version === version
  const verdict = points ? await store.verify({ name: runtime, ...current }, { full: true, signal }) : null
  return {
    notAboveBundled: bundled !== undefined && !gt(version, bundled.version),
    belowCommitted: committed !== null && lt(version, committed),
    banned: bans[version]?.reason ?? null,
    engines: { met: enginesSatisfied(engines.node, nodeVersion), wanted: engines.node ?? null, node: nodeVersion },
    // A clock that went back makes nothing older than it is.
    ageMs: Math.max(0, Date.now() - Date.parse(seen[version]?.firstSeen ?? new Date().toISOString())),
    stagedAndWhole: verdict?.whole === true,
    inUse: inUseVersion(state, config),
  }
}

async function verifyOffer(config: RuntimeConfig, offer: Offer, draft: Draft, signal: AbortSignal): Promise<void> {
  const [{ readManifest }, { provide }, { checkNatives }, { entryPath }] = await Promise.all([
    import('../packages/read-manifest.ts'),
    import('../runtime/provide.ts'),
    import('../runtime/native.ts'),
    import('../runtime/entry.ts'),
  ])
  const node = config.node ?? process.execPath
  await unpackChecked(draft, offer, { signatures: config.policy.signatures, signal })
  const tree = draft.content
  const { engines } = await readManifest(tree, offer)
  const nodeVersion = await nodeVersionOf(node, signal)
  // The gate looked at what the registry said; this is what the package says.
  if (config.policy.engines === 'enforce' && !enginesSatisfied(engines.node, nodeVersion))
    throw new InstarError('MANIFEST_MISMATCH', `the package wants Node ${engines.node}, the registry did not say so`)
  await entryPath(tree, config.entry)
  await provide(tree, config.provide, { signal })
  await checkNatives({ release: tree, provided: Object.keys(config.provide), node, signal })
}
