import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from '../../machines/index.ts'

const declared = setup({
  types: {
    input: {} as { readonly folder: string },
    context: {} as { readonly folder: string; readonly bytes: number; readonly failure: Failure | null },
    events: {} as { type: 'again' } | { type: 'giveUp' },
    output: {} as { readonly bytes: number },
    emitted: {} as { readonly type: 'backup.done'; readonly bytes: number },
  },
  actors: { copy: effect<{ readonly folder: string }, number>() },
})

/** A procedure of a host's own: copies a folder, and tries again when it is told to. */
export const backupNamed = (id: string) =>
  declared.createMachine({
    id,
    version: '1',
    description: 'Copies a folder, and tries again when it is told to.',
    context: ({ input }) => ({ folder: input.folder, bytes: 0, failure: null }),
    output: ({ context: { bytes } }) => ({ bytes }),
    initial: 'copying',
    states: {
      copying: {
        invoke: {
          id: 'copy',
          src: 'copy',
          input: ({ context: { folder } }) => ({ folder }),
          onDone: { target: 'kept', actions: assign({ bytes: ({ event }) => event.output }) },
          onError: { target: 'waiting', actions: assign({ failure: ({ event }) => failureOf(event) }) },
        },
      },
      waiting: {
        after: { 86400000: 'copying' },
        on: { again: 'copying', giveUp: 'givenUp' },
      },
      kept: { type: 'final', entry: emit(({ context: { bytes } }) => ({ type: 'backup.done' as const, bytes })) },
      givenUp: { type: 'final' },
    },
  })

export const backup = backupNamed('nightly-backup')
