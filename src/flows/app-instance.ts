import type { AppProcess, AppRelease, appInstance } from '../../machines/index.ts'
import { commandOf } from '../apps/command.ts'
import { appEnvironment } from '../apps/environment.ts'
import { makeDirectories } from '../disk.ts'
import { errorRecord, InstarError } from '../errors.ts'
import type { EffectContext, EffectsOf } from '../run/flow.ts'
import { abortable } from '../runtime/pause.ts'
import { type AppPlace, type AppWorld, appRecordsIn } from './app-world.ts'
import { runnableRelease } from './runnable-release.ts'

/** Serves `machines/app-instance.ts`. */
export const instanceEffects = (world: AppWorld) => {
  const { desk } = world

  const begin = async (place: AppPlace, release: AppRelease, context: EffectContext): Promise<AppProcess> => {
    const { key } = context
    await world.swept
    // Imported when there is an app: the protocol's implementation is large.
    const { AppConnection } = await import('../apps/app-connection.ts')
    const known = desk.connections.get(key)
    const connection = known ?? (await AppConnection.open(await startOf(world, place, release, context)))
    desk.connections.set(key, connection)
    void connection.ended.then(() => desk.connections.delete(key))
    const slot = desk.slot(place)
    // The one that serves goes on until it is told that it is replaced.
    if (slot.connection === null) slot.serve(connection)
    return connection.process
  }

  const end = async (process: AppProcess | null, signal: AbortSignal): Promise<void> => {
    const connection = process === null ? undefined : desk.connections.get(process.key)
    if (connection === undefined) return
    await connection.drained(world.drainMs, signal)
    await connection.close()
  }

  return {
    start: ({ release, ...place }, context) => begin(place, release, context),

    watch: async ({ process }, { signal }) => {
      const connection = desk.connections.get(process.key)
      if (connection === undefined) return { end: 'unattended', failure: null }
      const why = await abortable(connection.ended, signal)
      return { end: 'died', failure: errorRecord(why) }
    },

    change: async ({ from, to, ...place }, { signal }) => {
      const successor = desk.connections.get(to.key)
      if (successor === undefined) throw new InstarError('APP_NOT_READY', `${place.app} has ended meanwhile`)
      desk.slot(place).serve(successor)
      await end(from, signal)
    },

    pause: async ({ process, ...place }, { signal }) => {
      desk.slot(place).pause()
      await end(process, signal)
    },

    stop: async (place) => {
      const slot = desk.slot(place)
      const { connection } = slot
      slot.pause()
      await connection?.close()
    },
  } satisfies EffectsOf<typeof appInstance>
}

async function startOf(world: AppWorld, place: AppPlace, wanted: AppRelease, context: EffectContext) {
  const { key, signal } = context
  const { app, workspace } = place
  const { workspaces, home, handshakeTimeoutMs } = world
  const { release, manifest } = await runnableRelease(world, app, wanted, context)
  const install = workspaces.install(workspace, app)
  const data = workspaces.dataOf(workspace, app)
  await makeDirectories(data)
  const secrets = Object.entries(install.credentials).map(
    async ([variable, name]) => [variable, await world.credential(name, place)] as const,
  )
  const command = await commandOf(manifest, install, data, Object.fromEntries(await Promise.all(secrets)))
  return {
    name: `${app} in ${workspace}`,
    release: { version: release.version, digest: release.digest },
    handshakeTimeoutMs,
    isSuccessor: world.desk.slot(place).connection !== null,
    signal,
    child: { ...command, key, recordDirectory: appRecordsIn(home), cwd: data, inherited: appEnvironment() },
  }
}
