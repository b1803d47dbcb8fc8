import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'
import type { ReleaseRef } from './runtime.ts'

/** What a person may ask of one runtime's releases. */
export type Adjustment =
  /** `from` is what was current when the person asked, so that a second run cannot go back twice. */
  | { readonly kind: 'rollback'; readonly from: ReleaseRef }
  | { readonly kind: 'ban'; readonly version: string; readonly reason: string }
  | { readonly kind: 'unban'; readonly version: string }
  | { readonly kind: 'prune' }

/** What became of it: versions before and after for a rollback, what was removed by pruning. */
export interface Adjusted {
  readonly from?: string | null
  readonly to?: string | null
  readonly removed?: readonly string[]
}

export interface AdjustInput {
  readonly runtime: string
  readonly adjustment: Adjustment
}

/** Told to those who follow what becomes of a runtime, since it was somebody else who asked. */
export interface AdjustNotice extends AdjustInput {
  readonly type: 'runtime.adjusted'
  readonly adjusted: Adjusted
}

/**
 * Runtime adjust: carries out one thing that a person asked of a runtime's releases, so that it stands in the journal
 * beside what the program did by itself.
 *
 * Commit point: the one write inside `carryOut`. It is safe to run twice, so a crash in it is followed by the same again.
 *
 * Invariants
 *   - The ends are `adjusted` and `refused`; after `refused` nothing has changed.
 */
export const runtimeAdjust = setup({
  types: {
    input: {} as AdjustInput,
    context: {} as AdjustInput & { readonly adjusted: Adjusted | null; readonly failure: Failure | null },
    output: {} as { readonly adjusted: Adjusted | null; readonly failure: Failure | null },
    emitted: {} as AdjustNotice,
  },
  actors: { carryOut: effect<AdjustInput, Adjusted>() },
  actions: {
    announce: emit(({ context: { runtime, adjustment, adjusted } }) => ({
      type: 'runtime.adjusted' as const,
      runtime,
      adjustment,
      adjusted: adjusted!,
    })),
  },
}).createMachine({
  id: 'runtime-adjust',
  version: '1',
  description: "Carries out one thing that a person asked of a runtime's releases, so that it stands in the journal.",
  context: ({ input }) => ({
    runtime: input?.runtime ?? '',
    adjustment: input?.adjustment ?? { kind: 'prune' },
    adjusted: null,
    failure: null,
  }),
  output: ({ context: { adjusted, failure } }) => ({ adjusted, failure }),
  initial: 'adjusting',
  states: {
    adjusting: {
      invoke: {
        id: 'carryOut',
        src: 'carryOut',
        input: ({ context: { runtime, adjustment } }) => ({ runtime, adjustment }),
        onDone: { target: 'adjusted', actions: assign({ adjusted: ({ event }) => event.output }) },
        onError: { target: 'refused', actions: assign({ failure: ({ event }) => failureOf(event) }) },
      },
    },
    adjusted: { type: 'final', entry: 'announce' },
    refused: { type: 'final' },
  },
})
