import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { AppRelease, appUpgrade, Behind, PackageOffer, WorkspaceResult } from '../../machines/index.ts'
import { hasDependencies, installDependencies } from '../apps/dependencies.ts'
import { assertRunnable, readAppManifest } from '../apps/manifest.ts'
import { settle } from '../apps/settings.ts'
import { errorRecord, InstarError } from '../errors.ts'
import { inParallel } from '../in-parallel.ts'
import { readManifest } from '../packages/read-manifest.ts'
import type { EffectContext, EffectsOf } from '../run/flow.ts'
import { appRelease, settingsOf, throughGate } from './adopted-release.ts'
import type { AppPlace, AppWorld } from './app-world.ts'
import { blaming, keptFault, offerFault } from './blame.ts'
import { filling, flushDraft } from './package-draft.ts'
import { bring, originOf, resolveOffer, unpackOffer } from './package-source.ts'

/** Serves `machines/app-upgrade.ts`. */
export const upgradeEffects = (world: AppWorld) => {
  const { store } = world

  return {
    resolve: ({ app, wanted }, { key, signal }) =>
      blaming(offerFault, () => resolveOffer(world, { name: app, wanted, kind: 'app', key }, signal)),

    look: async ({ app, offer }, { signal }) => ({
      before: (await store.pointer(app)).current,
      release: await provenRelease(world, app, offer, signal),
    }),

    lookBack: async ({ app }) => {
      const { current, previous } = await store.pointer(app)
      if (current === null || previous === null)
        throw new InstarError('NOTHING_TO_ROLL_BACK', `there is no version of ${app} to go back to`)
      const found = await store.find(app, previous)
      if (found === null) throw new InstarError('RELEASE_INCOMPLETE', `${app} ${previous.version} is no longer kept`)
      return { before: current, release: await appRelease(app, found) }
    },

    fetch: ({ app, offer }, { key, signal, progress }) =>
      blaming(offerFault, async () => {
        await using draft = await store.draft(app, key, { signal })
        return await filling(draft, async () => {
          // What it depends on is installed beside it anew, whatever lies there now.
          const integrity = await bring(offer, draft, { signal, progress, leaveOut: ['node_modules'] })
          await flushDraft(draft, `${app} ${offer.version}`)
          return { draft: key, integrity }
        })
      }),

    gate: ({ app, offer, draft: key }, { signal, progress }) =>
      blaming(offerFault, async () => {
        const { signatures, registry, capabilities } = world
        progress({ phase: 'verifying', version: offer.version })
        await using draft = await store.draft(app, key, { signal })
        await unpackOffer(draft, offer, { signatures, signal })
        // What has no package.json is read as a bundle, which only a bundle may be.
        // A bundle brings all it needs.
        const dependent = offer.source.kind === 'bundle' ? null : await readManifest(draft.content, offer)
        const manifest = await readAppManifest(draft.content, offer)
        await assertRunnable(manifest, { nodeVersion: process.versions.node, capabilities })
        if (dependent !== null && hasDependencies(dependent)) {
          progress({ phase: 'dependencies', version: offer.version })
          await installDependencies(draft.content, { registry, cache: join(draft.scratch, 'cache'), signal })
        }
        await flushDraft(draft, `${app} ${offer.version}`)
      }),

    seal: ({ app, offer, draft: key, integrity }, { signal, progress }) =>
      blaming(offerFault, async () => {
        const { version } = offer
        progress({ phase: 'sealing', version })
        await using draft = await store.draft(app, key, { signal })
        return appRelease(app, await draft.seal({ version, integrity, ...originOf(offer), signal }))
      }),

    plan: async ({ app, release, except }) => {
      const behind: Behind[] = []
      for (const workspace of world.workspaces.having(app)) {
        const place = { app, workspace }
        const from = except.includes(workspace) ? null : await world.releaseIn(place)
        if (from === null) continue
        if (!isSame(from, release) || (await world.isDead(place))) behind.push({ workspace, from })
      }
      return behind
    },

    roll: async ({ app, release, behind }, context) => {
      const results = await inParallel(behind.length, behind, ({ workspace, from }) =>
        carryInto(world, { app, workspace, from, to: release }, context),
      )
      return results.filter((result) => result !== null)
    },

    raise: async ({ app, release }, { signal }) => {
      await store.activate(app, release, { allowOlder: true, signal })
    },

    prune: async ({ app }) => {
      const running = world.workspaces.having(app).map((workspace) => world.releaseIn({ app, workspace }))
      const inUse = (await Promise.all(running)).filter((release) => release !== null)
      await store.prune(app, { keep: world.keep, inUse })
    },

    goBack: async ({ app, before, results, parallel }, context) => {
      const { current } = await store.pointer(app)
      if (before === null) await store.clear(app)
      else if (current === null || !isSame(current, before))
        await store.activate(app, before, { allowOlder: true, signal: context.signal })
      return inParallel(parallel, results, async (result): Promise<WorkspaceResult> => {
        const { workspace, from, outcome } = result
        if (outcome !== 'upgraded' && outcome !== 'current') return result
        const to = await world.releaseIn({ app, workspace })
        if (to === null) return result
        const back = await carryInto(world, { app, workspace, from: to, to: from }, context)
        const isBack = back?.outcome === 'upgraded' || back?.outcome === 'current'
        return isBack ? { ...result, outcome: 'kept' } : { ...result, outcome: 'dead', failure: back?.failure ?? null }
      })
    },

    discard: async ({ app, draft: key }) => {
      if (key === null) return
      await using draft = await store.draft(app, key)
      await draft.discard()
    },
  } satisfies EffectsOf<typeof appUpgrade>
}

const isSame = (one: { version: string; digest: string }, other: { version: string; digest: string }) =>
  one.version === other.version && one.digest === other.digest

/** Null for a workspace that is gone, or has the app no more. */
async function carryInto(
  world: AppWorld,
  { app, workspace, from, to }: Behind & { readonly app: string; readonly to: AppRelease },
  { key, signal, progress }: EffectContext,
): Promise<WorkspaceResult | null> {
  const place = { app, workspace }
  if ((await world.releaseIn(place)) === null) return null
  // The same after a crash, so that what was carried out is not asked for again.
  const id = createHash('sha256').update(`${key} ${workspace} ${to.digest}`).digest('hex').slice(0, 32)
  try {
    // Before anything is paused for it.
    await assertSettled(world, place, to)
    const { outcome, failure } = await world.ask(place, id, to, signal)
    if (outcome === 'stopped') return null
    progress({ phase: 'rolling', workspace, outcome })
    return { workspace, from, outcome, failure }
  } catch (error) {
    signal.throwIfAborted()
    if ((await world.releaseIn(place)) === null) return null
    return { workspace, from, outcome: 'kept', failure: errorRecord(error) }
  }
}

/** @throws {InstarError} `APP_CONFIG_INVALID` where a version asks for what the install does not give. */
async function assertSettled(world: AppWorld, { app, workspace }: AppPlace, to: AppRelease): Promise<void> {
  const settings = await settingsOf(world, app, to)
  if (settings !== null) await settle(settings, world.workspaces.install(workspace, app), null)
}

/** A release that was made of these very bytes and passes the gate; null where there is none, so that it is fetched. */
async function provenRelease(
  world: AppWorld,
  app: string,
  { version, integrity }: PackageOffer,
  signal: AbortSignal,
): Promise<AppRelease | null> {
  for (const found of await world.store.list(app)) {
    if (found.version !== version || found.integrity !== integrity) continue
    try {
      const { manifest } = await throughGate(world, app, found, signal)
      return { version, digest: found.digest, exclusive: manifest.exclusive }
    } catch (error) {
      if (keptFault(error) === 'environment') throw error
    }
  }
  return null
}
