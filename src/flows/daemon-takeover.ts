import type { daemonTakeover } from '../../machines/index.ts'
import type { EffectsOf } from '../run/flow.ts'
import type { Takeover } from '../sessions/takeover.ts'

/** Serves `machines/daemon-takeover.ts`. */
export const takeoverEffects = (takeover: Takeover) =>
  ({
    adopt: ({ how }, { signal }) => takeover.adopt(how, signal),
    takeDelta: (_, { signal }) => takeover.takeDelta(signal),
    recover: () => takeover.recover(),
    receiveHistory: (_, { signal }) => takeover.receiveHistory(signal),
    refuse: ({ failure }) => takeover.refuse(failure),
  }) satisfies EffectsOf<typeof daemonTakeover>
