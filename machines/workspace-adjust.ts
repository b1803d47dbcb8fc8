import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'

/** What a person may ask of an organisation's workspaces. */
export interface WorkspaceInput {
  readonly workspace: string
  readonly kind: 'add' | 'remove' | 'set-credential' | 'remove-credential'
  /** Which credential, where it is about one. The secret is in no record: it is offered to the store, under this id. */
  readonly credential?: { readonly name: string; readonly offer: string | null } | null
}

type Adjustment = Required<WorkspaceInput>

export interface WorkspaceNotice extends Pick<WorkspaceInput, 'workspace' | 'kind'> {
  readonly type: 'workspace.adjusted'
  /** The name of the credential, where it is about one. */
  readonly credential: string | null
}

/**
 * Workspace adjust: adds a workspace, or takes one away with the processes of its apps and with its credentials; or sets or
 * removes one of those. What apps keep there stays. One run at a time for a workspace, so that no credential comes into one
 * that is just taken away.
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
    context: {} as Adjustment & { readonly failure: Failure | null },
    output: {} as { readonly failure: Failure | null },
    emitted: {} as WorkspaceNotice,
  },
  actors: { carryOut: effect<Adjustment, void>() },
  actions: {
    announce: emit(({ context: { workspace, kind, credential } }) => ({
      type: 'workspace.adjusted' as const,
      workspace,
      kind,
      credential: credential?.name ?? null,
    })),
  },
}).createMachine({
  id: 'workspace-adjust',
  version: '1',
  description:
    'Adds a workspace, or takes one away with its processes and credentials; or sets or removes one of those.',
  context: ({ input }) => ({
    workspace: input?.workspace ?? '',
    kind: input?.kind ?? 'add',
    credential: input?.credential ?? null,
    failure: null,
  }),
  output: ({ context: { failure } }) => ({ failure }),
  initial: 'adjusting',
  states: {
    adjusting: {
      invoke: {
        id: 'carryOut',
        src: 'carryOut',
        input: ({ context: { workspace, kind, credential } }) => ({ workspace, kind, credential }),
        onDone: 'adjusted',
        onError: { target: 'refused', actions: assign({ failure: ({ event }) => failureOf(event) }) },
      },
    },
    adjusted: { type: 'final', entry: 'announce' },
    refused: { type: 'final' },
  },
})
