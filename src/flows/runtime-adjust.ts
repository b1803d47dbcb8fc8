import type { Adjusted, ReleaseRef, runtimeAdjust } from '../../machines/index.ts'
import type { EffectsOf } from '../run/flow.ts'
import { inUseVersion, type RuntimeWorld } from './runtime-world.ts'

/** Serves `machines/runtime-adjust.ts`. */
export const adjustEffects = (world: RuntimeWorld) =>
  ({
    carryOut: async ({ runtime, adjustment }): Promise<Adjusted> => {
      const { store } = world
      switch (adjustment.kind) {
        case 'rollback':
          return rollBack(world, runtime, adjustment.from)
        case 'ban':
          await store.ban(runtime, adjustment.version, adjustment.reason)
          return {}
        case 'unban':
          await store.unban(runtime, adjustment.version)
          return {}
        case 'prune': {
          const { keep } = world.config(runtime).policy
          const removed = await store.prune(runtime, {
            keep,
            inUse: [...world.inUse(runtime), ...world.undecided(runtime)],
          })
          return { removed: removed.map(({ version }) => version) }
        }
      }
    },
  }) satisfies EffectsOf<typeof runtimeAdjust>

/** Goes back from a version and bans it in the same step: otherwise the next check would put it back. */
async function rollBack({ store, config }: RuntimeWorld, runtime: string, from: ReleaseRef): Promise<Adjusted> {
  await store.rollBack(runtime, { from, reason: 'rolled back by a person' })
  return { from: from.version, to: inUseVersion(await store.state(runtime), config(runtime)) }
}
