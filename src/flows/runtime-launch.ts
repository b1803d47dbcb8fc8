import gt from 'semver/functions/gt.js'
import type { Candidate, ReleaseRef, runtimeLaunch } from '../../machines/index.ts'
import { errorRecord, InstarError } from '../errors.ts'
import type { EffectsOf } from '../run/flow.ts'
import { exitOf, findChild, isAlive, stopChild } from '../runtime/child.ts'
import { runtimeExited } from '../runtime/exited.ts'
import { fill } from '../runtime/fill.ts'
import { launchOrder } from '../runtime/launch-order.ts'
import { probe } from '../runtime/probe.ts'
import { startRuntime } from '../runtime/start.ts'
import { blaming, startFault, withFault } from './blame.ts'
import { contentOf, launchRules, programOf, type RuntimeWorld, recordsIn } from './runtime-world.ts'

/** Serves `machines/runtime-launch.ts`. */
export const launchEffects = (world: RuntimeWorld) =>
  ({
    choose: async ({ runtime }) => {
      if (world.development) return { arms: bundledArm(world, runtime), repaired: null }
      return chooseArms(world, runtime)
    },

    chooseBundled: async ({ runtime }) => bundledArm(world, runtime),

    spawn: ({ runtime, candidate, args }, { key, signal }) =>
      blaming(startFault, async () => {
        // One that was started before a crash of ours is this launch's, whatever has changed since; whether it still runs
        // is what `watch` reports.
        const found = await findChild({ key, recordDirectory: recordsIn(world.home) })
        if (found !== undefined) return found
        if (world.development && candidate.release !== null)
          throw new InstarError('DEVELOPMENT_MODE', `only the bundled version of ${runtime} is run in development mode`)
        const { child } = await startRuntime({
          ...programOf(world.config(runtime), args),
          release: await contentOf(world, runtime, candidate, signal),
          home: world.home,
          key,
          recordDirectory: recordsIn(world.home),
          cwd: workingFolder(world, runtime),
          signal,
        })
        return child
      }),

    probe: ({ runtime, child }, { signal }) =>
      blaming(startFault, async () => {
        const { url } = await probe(child, world.config(runtime).probe, { signal })
        return { url }
      }),

    watch: async ({ child }, { signal }) => {
      const exit = await exitOf(child, { signal })
      const error = await runtimeExited(child, exit)
      return { exit, failure: errorRecord(withFault(error, startFault(error))) }
    },

    commend: async ({ runtime, candidate: { release }, child }) => {
      if (!(await isAlive(child)))
        throw new InstarError('RUNTIME_EXITED', `${runtime} ended before its probation was over`)
      if (release !== null) await world.store.markGood(runtime, release)
    },

    terminate: async ({ child }) => {
      await stopChild(child)
    },

    strike: async ({ runtime, version, reason, key }) =>
      world.store.strike(runtime, version, { reason, limit: world.config(runtime).policy.strikes, key }),

    restore: async ({ runtime, failed }) => {
      await world.store.restore(runtime, { failed })
    },
  }) satisfies EffectsOf<typeof runtimeLaunch>

function workingFolder({ config, home }: RuntimeWorld, runtime: string): string {
  const { cwd } = config(runtime)
  return cwd === undefined ? process.cwd() : fill(cwd, { home })
}

function bundledArm({ config }: RuntimeWorld, runtime: string): readonly Candidate[] {
  const { bundled } = config(runtime)
  return bundled === undefined ? [] : [{ arm: 'bundled', version: bundled.version, release: null }]
}

/** The pointer's version, the one before it, the bundled one; each only where it may be launched. */
async function chooseArms(
  world: RuntimeWorld,
  runtime: string,
): Promise<{ arms: readonly Candidate[]; repaired: string | null }> {
  const { store } = world
  const config = world.config(runtime)
  const { bundled } = config
  const { problem, ...pointers } = await store.pointer(runtime)
  const { current } = pointers
  const bans = await store.bans(runtime)
  // The host was upgraded and brought something at least as new.
  if (current !== null && bundled !== undefined && !gt(current.version, bundled.version))
    await store.clear(runtime, { only: current })

  const usable = launchOrder(pointers, launchRules({ bans }, config))
  const before = usable.find(({ version }) => version !== current?.version)
  const offered = [
    ...usable.filter((release) => release === current).map((release) => candidate('current', release)),
    ...(before === undefined ? [] : [candidate('previous', before)]),
    ...bundledArm(world, runtime),
  ]
  return { arms: await preferred(world, runtime, offered), repaired: problem?.reason ?? null }
}

/** What the host wants tried, out of what there is: it may leave out and reorder, not invent. */
async function preferred(
  { preferArms }: RuntimeWorld,
  runtime: string,
  arms: readonly Candidate[],
): Promise<readonly Candidate[]> {
  if (preferArms === undefined) return arms
  const wanted = await preferArms(runtime, arms)
  return wanted.flatMap(({ arm }) => arms.find((each) => each.arm === arm) ?? [])
}

const candidate = (arm: Candidate['arm'], { version, digest }: ReleaseRef): Candidate => ({
  arm,
  version,
  release: { version, digest },
})
