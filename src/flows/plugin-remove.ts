import type { pluginRemove } from '../../machines/index.ts'
import { sealOf } from '../plugins/read.ts'
import type { EffectsOf } from '../run/flow.ts'
import { assertLive, type PluginWorld } from './plugin-world.ts'

/** Serves `machines/plugin-remove.ts`. */
export const removeEffects = (world: PluginWorld) =>
  ({
    find: async ({ plugin, target }) => {
      const shelf = await world.target(target).shelf(plugin)
      const { live, trees } = shelf
      return { isThere: live !== null || trees.length > 0, version: sealOf(shelf, live)?.version ?? null }
    },

    unlink: async ({ plugin, target: name }) => {
      const target = world.target(name)
      await target.point(plugin, 'live', null)
      await assertLive(target, plugin, null)
    },

    clear: async ({ plugin, target: name }) => {
      const target = world.target(name)
      await target.point(plugin, 'previous', null)
      const { trees } = await target.shelf(plugin)
      await target.sweep(plugin)
      await target.remove(
        plugin,
        trees.map(({ folder }) => folder),
      )
    },
  }) satisfies EffectsOf<typeof pluginRemove>
