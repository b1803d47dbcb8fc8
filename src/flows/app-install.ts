import type { appInstall } from '../../machines/index.ts'
import { assertKnown, settle } from '../apps/settings.ts'
import type { EffectsOf } from '../run/flow.ts'
import { settingsOf } from './adopted-release.ts'
import type { AppWorld } from './app-world.ts'

/** Serves `machines/app-install.ts`. */
export const appInstallEffects = (world: AppWorld) =>
  ({
    adopt: async ({ wanted, ...place }, { key, signal }) => {
      const { app, workspace } = place
      const before = world.workspaces.apps(workspace)[app] ?? null
      const known = (before && (await world.releaseIn(place))) ?? (await world.adopted(app))
      // A crash may have come after it was raised for this install, and before that was known.
      if (known !== null) return { release: known, isFirst: await world.hasRaised(key), before }
      await world.raise(app, wanted, key, signal)
      return { release: (await world.adopted(app))!, isFirst: true, before }
    },

    note: async ({ app, workspace, release, install }) => {
      const settings = await settingsOf(world, app, release)
      if (settings !== null) {
        assertKnown(settings, install)
        await settle(settings, install, null)
      }
      await world.workspaces.note(workspace, app, install)
    },

    start: async ({ release, before, ...place }, { key, signal }) => {
      if (before === null) return world.begin(place, release, key, signal)
      await world.restart(place, key, signal)
    },

    undo: async ({ release, isFirst, before, ...place }, { key, signal }) => {
      if (before !== null) {
        await world.workspaces.note(place.workspace, place.app, before)
        if (await world.isDead(place)) await world.restart(place, key, signal)
        return
      }
      if ((await world.releaseIn(place)) !== null) await world.ask(place, key, 'stop', signal)
      await world.workspaces.forget(place.workspace, place.app)
      // Another workspace may have adopted it meanwhile.
      if (isFirst && release !== null && world.workspaces.having(place.app).length === 0)
        await world.store.clear(place.app, { only: release })
    },
  }) satisfies EffectsOf<typeof appInstall>
