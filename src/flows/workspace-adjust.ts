import type { workspaceAdjust } from '../../machines/index.ts'
import type { EffectContext, EffectsOf } from '../run/flow.ts'
import type { AppWorld } from './app-world.ts'

/** Serves `machines/workspace-adjust.ts`. */
export const workspaceEffects = (world: AppWorld) => {
  const { workspaces, credentials } = world

  const remove = async (workspace: string, { key, signal }: EffectContext): Promise<void> => {
    if (!workspaces.list().includes(workspace)) return
    for (const app of Object.keys(workspaces.apps(workspace))) {
      const place = { app, workspace }
      if ((await world.releaseIn(place)) !== null) await world.ask(place, `${key} ${app}`, 'stop', signal)
    }
    // Before it, or a secret could be there for another workspace that is called the same.
    await credentials.forget(workspace)
    await workspaces.remove(workspace)
  }

  return {
    carryOut: async ({ workspace, kind, credential }, context) => {
      const at = new Date().toISOString()
      if (kind === 'add') return workspaces.add(workspace, at)
      if (kind === 'remove') return remove(workspace, context)
      if (kind === 'remove-credential') return credentials.remove(workspace, credential!.name)
      workspaces.apps(workspace) // or it was taken away meanwhile
      await credentials.keep(workspace, credential!.name, credential!.offer!, at)
    },
  } satisfies EffectsOf<typeof workspaceAdjust>
}
