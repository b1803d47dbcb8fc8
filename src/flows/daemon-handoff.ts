import type { daemonHandoff } from '../../machines/index.ts'
import type { EffectsOf } from '../run/flow.ts'
import type { Handoff } from '../sessions/handoff.ts'

/** What these effects need of the daemon process they run in. */
export interface HandoffWorld {
  /** A new one for every run: what it holds is of no use to another. */
  begin(): Handoff
  /** The one that was begun last. After a crash there is none, and nothing is left to be put back. */
  current(): Handoff | null
}

/** Serves `machines/daemon-handoff.ts`. */
export const handoffEffects = (world: HandoffWorld) =>
  ({
    snapshot: () => world.begin().snapshot(),
    spawnSuccessor: ({ command }, { signal }) => world.current()!.spawnSuccessor(command, signal),
    commit: ({ successor, timeoutMs }, { signal }) => world.current()!.commit(successor, timeoutMs, signal),
    finalize: (_, { signal }) => world.current()!.finalize(signal),
    rollBack: async () => world.current()?.rollBack(),
  }) satisfies EffectsOf<typeof daemonHandoff>
