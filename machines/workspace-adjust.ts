import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'

/** What a person may ask of an organisation's workspaces. */
export interface WorkspaceInput {
  readonly workspace: string
  readonly kind: 'add' | 'remove'
}

export interface WorkspaceNotice extends WorkspaceInput {
  readonly type: 'workspace.adjusted'
}

/**
 * Workspace adjust: adds a workspace, or takes one away with the processes of its apps. What apps keep there stays.
 *
 * Commit point: the one write at the end of `carryOut`. It is safe to run twice, so a crash in it is followed by the same
 * again.
 *
 * Invariants
 *   - The ends are `adjusted` and `refused`; after `refused` the workspaces are those that there were.
 */
export const workspaceAdjust = setup({
  types: {
    input: {} as WorkspaceInput,
    context: {} as WorkspaceInput & { readonly failure: Failure | null },
    output: {} as { readonly failure: Failure | null },
    emitted: {} as WorkspaceNotice,
  },
  actors: { carryOut: effect<WorkspaceInput, void>() },
  actions: {
    announce: emit(({ context: { workspace, kind } }) => ({ type: 'workspace.adjusted' as const, workspace, kind })),
  },
}).createMachine({
  id: 'workspace-adjust',
  version: '1',
  context: ({ input }) => ({ workspace: input?.workspace ?? '', kind: input?.kind ?? 'add', failure: null }),
  output: ({ context: { failure } }) => ({ failure }),
  initial: 'adjusting',
  states: {
    adjusting: {
      invoke: {
        id: 'carryOut',
        src: 'carryOut',
        input: ({ context: { workspace, kind } }) => ({ workspace, kind }),
        onDone: 'adjusted',
        onError: { target: 'refused', actions: assign({ failure: ({ event }) => failureOf(event) }) },
      },
    },
    adjusted: { type: 'final', entry: 'announce' },
    refused: { type: 'final' },
  },
})
