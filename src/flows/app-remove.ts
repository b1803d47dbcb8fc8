import type { appRemove } from '../../machines/index.ts'
import type { EffectsOf } from '../run/flow.ts'
import type { AppWorld } from './app-world.ts'

/** Serves `machines/app-remove.ts`. */
export const appRemoveEffects = (world: AppWorld) =>
  ({
    stop: async (place, { key, signal }) => {
      if ((await world.releaseIn(place)) !== null) await world.ask(place, key, 'stop', signal)
    },

    forget: async ({ app, workspace }) => world.workspaces.forget(workspace, app),
  }) satisfies EffectsOf<typeof appRemove>
