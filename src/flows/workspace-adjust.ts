import type { workspaceAdjust } from '../../machines/index.ts'
import type { EffectsOf } from '../run/flow.ts'
import type { AppWorld } from './app-world.ts'

/** Serves `machines/workspace-adjust.ts`. */
export const workspaceEffects = (world: AppWorld) =>
  ({
    carryOut: async ({ workspace, kind }, { key, signal }) => {
      const { workspaces } = world
      if (kind === 'add') return workspaces.add(workspace, new Date().toISOString())
      if (!workspaces.list().includes(workspace)) return
      for (const app of Object.keys(workspaces.apps(workspace))) {
        const place = { app, workspace }
        if ((await world.releaseIn(place)) !== null) await world.ask(place, `${key} ${app}`, 'stop', signal)
      }
      await workspaces.remove(workspace)
    },
  }) satisfies EffectsOf<typeof workspaceAdjust>
