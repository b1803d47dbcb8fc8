import type { AppRelease, PackageOffer } from '../../machines/index.ts'
import type { EffectContext } from '../run/flow.ts'
import { throughGate } from './adopted-release.ts'
import { upgradeEffects } from './app-upgrade.ts'
import type { AppWorld } from './app-world.ts'
import { keptFault, offerFault, withFault } from './blame.ts'

/**
 * What an app is to be started from: its release as it is kept or, where that does not pass the gate any more, the same
 * version pulled anew, once for all who ask while this controller runs. What was kept stays as it is unless the new one is
 * good.
 *
 * @throws {InstarError} why the kept one is refused, where the registry has none that is better or cannot be asked.
 */
export async function runnableRelease(
  world: AppWorld,
  app: string,
  kept: AppRelease,
  context: EffectContext,
): ReturnType<typeof throughGate> {
  try {
    return await throughGate(world, app, kept, context.signal)
  } catch (reason) {
    if (keptFault(reason) === 'environment' || !(await isPublished(world, app, kept))) throw reason
    const better = await pulledAnew(world, app, kept, context).catch((refusal) => {
      context.signal.throwIfAborted()
      // A registry that could not be asked may be asked again.
      throw withFault(reason, offerFault(refusal))
    })
    return throughGate(world, app, better, context.signal)
  }
}

/** What a registry has under the name and version of something local is another's. */
async function isPublished({ store }: AppWorld, app: string, kept: AppRelease): Promise<boolean> {
  const found = await store.find(app, kept)
  return found?.published ?? Object.hasOwn((await store.state(app)).seen, kept.version)
}

/** Once; what was refused then is refused for as long as this controller runs. */
async function pulledAnew(world: AppWorld, app: string, kept: AppRelease, context: EffectContext): Promise<AppRelease> {
  const { pulled } = world.desk
  const pulling = pulled.get(kept.digest) ?? pull(world, app, kept, context)
  pulled.set(kept.digest, pulling)
  try {
    return await pulling
  } catch (error) {
    if (offerFault(error) === 'environment') pulled.delete(kept.digest)
    throw error
  }
}

/** It becomes the organisation's where the refused one was that. */
async function pull(world: AppWorld, app: string, kept: AppRelease, context: EffectContext): Promise<AppRelease> {
  const { resolve, look } = upgradeEffects(world)
  const offer = await resolve({ app, wanted: kept.version }, context)
  const release = (await look({ app, offer }, context)).release ?? (await fetched(world, app, offer, context))
  const { current } = await world.store.pointer(app)
  if (current === null || (current.version === kept.version && current.digest === kept.digest))
    await world.store.activate(app, release, { allowOlder: true, signal: context.signal })
  return release
}

/** As an upgrade does it. */
async function fetched(world: AppWorld, app: string, offer: PackageOffer, context: EffectContext): Promise<AppRelease> {
  const { fetch, gate, seal, discard } = upgradeEffects(world)
  const { draft, integrity } = await fetch({ app, offer }, context)
  try {
    await gate({ app, offer, draft, integrity }, context)
    return await seal({ app, offer, draft, integrity }, context)
  } catch (error) {
    await discard({ app, draft })
    throw error
  }
}
