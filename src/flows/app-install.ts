import type { appInstall } from '../../machines/index.ts'
import { assertKnown, settle } from '../apps/settings.ts'
import { InstarError } from '../errors.ts'
import type { EffectsOf } from '../run/flow.ts'
import { manifestOf } from './adopted-release.ts'
import type { AppWorld } from './app-world.ts'

/** Serves `machines/app-install.ts`. */
export const appInstallEffects = (world: AppWorld) =>
  ({
    adopt: async ({ app, wanted }, { key, signal }) => {
      const known = await world.adopted(app)
      if (known !== null) return { release: known, isFirst: false }
      await world.raise(app, wanted, key, signal)
      return { release: (await world.adopted(app))!, isFirst: true }
    },

    note: async ({ app, workspace, release, install }) => {
      const found = await world.store.find(app, release)
      if (found === null) throw new InstarError('RELEASE_INCOMPLETE', `${app} ${release.version} is no longer kept`)
      const { settings } = await manifestOf(app, found)
      assertKnown(settings, install)
      await settle(settings, install, null)
      await world.workspaces.note(workspace, app, install)
    },

    start: async ({ release, ...place }, { key, signal }) => world.begin(place, release, key, signal),

    undo: async ({ release, isFirst, ...place }, { key, signal }) => {
      if ((await world.releaseIn(place)) !== null) await world.ask(place, key, 'stop', signal)
      await world.workspaces.forget(place.workspace, place.app)
      // Another workspace may have adopted it meanwhile.
      if (isFirst && release !== null && world.workspaces.having(place.app).length === 0)
        await world.store.clear(place.app, { only: release })
    },
  }) satisfies EffectsOf<typeof appInstall>
