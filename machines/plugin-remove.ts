import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'

export interface RemoveInput {
  readonly plugin: string
  readonly target: string
}

export interface RemoveResult extends RemoveInput {
  readonly outcome: 'removed' | 'absent' | 'failed'
  /** What was live. */
  readonly version: string | null
  /** With `removed`: why its trees are left. */
  readonly failure: Failure | null
}

export interface RemoveNotice extends RemoveInput {
  readonly type: 'plugin.removed'
  readonly version: string | null
}

/**
 * Plugin remove: takes a plugin away from a target, and then the trees that it had there.
 *
 * Commit point: the live symlink is removed, inside `unlink`. From then on no loader finds the plugin, whatever becomes of
 * its trees.
 *
 * Invariants
 *   - The trees are removed only when the live path has been seen to be gone.
 *   - The ends are `removed`, `absent` and `failed`; after `failed` it is live as before, or gone with trees left for a sweep.
 */
export const pluginRemove = setup({
  types: {
    input: {} as RemoveInput,
    context: {} as RemoveResult,
    output: {} as RemoveResult,
    emitted: {} as RemoveNotice,
  },
  actors: {
    find: effect<RemoveInput, { isThere: boolean; version: string | null }>(),
    unlink: effect<RemoveInput, void>(),
    clear: effect<RemoveInput, void>(),
  },
  guards: {
    isThere: ({ event }) => (event as unknown as { output: { isThere: boolean } }).output.isThere,
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    announce: emit(({ context: { plugin, target, version } }) => ({
      type: 'plugin.removed' as const,
      plugin,
      target,
      version,
    })),
  },
}).createMachine({
  id: 'plugin-remove',
  version: '1',
  description: 'Takes a plugin away from a target, and then the trees that it had there.',
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    plugin: input?.plugin ?? '',
    target: input?.target ?? '',
    version: null,
    failure: null,
    outcome: 'failed',
  }),
  output: ({ context }) => context,
  initial: 'finding',
  states: {
    finding: {
      invoke: {
        id: 'find',
        src: 'find',
        input: ({ context: { plugin, target } }) => ({ plugin, target }),
        onDone: [
          { guard: 'isThere', target: 'unlinking', actions: assign({ version: ({ event }) => event.output.version }) },
          { target: 'absent' },
        ],
        onError: { target: 'failed', actions: 'keepFailure' },
      },
    },
    unlinking: {
      invoke: {
        id: 'unlink',
        src: 'unlink',
        input: ({ context: { plugin, target } }) => ({ plugin, target }),
        onDone: 'clearing',
        onError: { target: 'failed', actions: 'keepFailure' },
      },
    },
    clearing: {
      description: 'What cannot be removed now is nobody’s, and a sweep takes it.',
      invoke: {
        id: 'clear',
        src: 'clear',
        input: ({ context: { plugin, target } }) => ({ plugin, target }),
        onDone: 'removed',
        onError: { target: 'removed', actions: 'keepFailure' },
      },
    },
    removed: { type: 'final', entry: [assign({ outcome: 'removed' }), 'announce'] },
    absent: { type: 'final', entry: assign({ outcome: 'absent' }) },
    failed: { type: 'final' },
  },
})
