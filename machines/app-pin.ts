import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'

export interface AppPinInput {
  readonly app: string
  /** What the organisation has now is to stay, and why; null: it may be raised again. */
  readonly pin: { readonly version: string; readonly note: string } | null
}

export interface AppPinNotice {
  readonly type: 'app.pinned' | 'app.unpinned'
  readonly app: string
  readonly version: string | null
  readonly note: string | null
}

/**
 * App pin: has an app stay at the version that the organisation has, with a note for whoever wonders; or lets it go.
 *
 * Commit point: the one write inside `carryOut`. It is safe to run twice, so a crash in it is followed by the same again.
 *
 * Invariants
 *   - The ends are `settled` and `refused`; after `refused` nothing has changed.
 *   - No version is changed by it.
 */
export const appPin = setup({
  types: {
    input: {} as AppPinInput,
    context: {} as AppPinInput & { readonly failure: Failure | null },
    output: {} as { readonly failure: Failure | null },
    emitted: {} as AppPinNotice,
  },
  actors: { carryOut: effect<AppPinInput, void>() },
  actions: {
    announce: emit(({ context: { app, pin } }) => ({
      type: pin === null ? ('app.unpinned' as const) : ('app.pinned' as const),
      app,
      version: pin?.version ?? null,
      note: pin?.note ?? null,
    })),
  },
}).createMachine({
  id: 'app-pin',
  version: '1',
  description:
    'Has an app stay at the version that the organisation has, with a note for whoever wonders; or lets it go.',
  context: ({ input }) => ({ app: input?.app ?? '', pin: input?.pin ?? null, failure: null }),
  output: ({ context: { failure } }) => ({ failure }),
  initial: 'pinning',
  states: {
    pinning: {
      invoke: {
        id: 'carryOut',
        src: 'carryOut',
        input: ({ context: { app, pin } }) => ({ app, pin }),
        onDone: 'settled',
        onError: { target: 'refused', actions: assign({ failure: ({ event }) => failureOf(event) }) },
      },
    },
    settled: { type: 'final', entry: 'announce' },
    refused: { type: 'final' },
  },
})
