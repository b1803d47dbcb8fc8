import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'

export interface AppRemoveInput {
  readonly app: string
  readonly workspace: string
}

export interface AppRemoveResult extends AppRemoveInput {
  readonly outcome: 'removed' | 'failed'
  readonly failure: Failure | null
}

export interface AppRemoveNotice extends AppRemoveInput {
  readonly type: 'app.removed'
}

/**
 * App remove: takes an app from one workspace. What it keeps there stays.
 *
 * Commit point: `forgetting`. Until then the install is known, so that a crash in between is followed by the same again.
 *
 * Invariants
 *   - The ends are `removed` and `failed`; after `failed` it is still installed.
 */
export const appRemove = setup({
  types: {
    input: {} as AppRemoveInput,
    context: {} as AppRemoveInput & { readonly failure: Failure | null },
    output: {} as AppRemoveResult,
    emitted: {} as AppRemoveNotice,
  },
  actors: {
    stop: effect<AppRemoveInput, void>(),
    forget: effect<AppRemoveInput, void>(),
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    announce: emit(({ context: { app, workspace } }) => ({ type: 'app.removed' as const, app, workspace })),
  },
}).createMachine({
  id: 'app-remove',
  version: '1',
  description: 'Takes an app from one workspace. What it keeps there stays.',
  context: ({ input }) => ({ app: input?.app ?? '', workspace: input?.workspace ?? '', failure: null }),
  output: ({ context: { app, workspace, failure } }) => ({
    app,
    workspace,
    outcome: failure === null ? ('removed' as const) : ('failed' as const),
    failure,
  }),
  initial: 'stopping',
  states: {
    stopping: {
      invoke: {
        id: 'stop',
        src: 'stop',
        input: ({ context: { app, workspace } }) => ({ app, workspace }),
        onDone: 'forgetting',
        onError: { target: 'failed', actions: 'keepFailure' },
      },
    },
    forgetting: {
      invoke: {
        id: 'forget',
        src: 'forget',
        input: ({ context: { app, workspace } }) => ({ app, workspace }),
        onDone: 'removed',
        onError: { target: 'failed', actions: 'keepFailure' },
      },
    },
    removed: { type: 'final', entry: 'announce' },
    failed: { type: 'final' },
  },
})
