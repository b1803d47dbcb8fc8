import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'
import type { Found, Installed, PluginChange } from './plugin.ts'
import { faultOf } from './runtime.ts'

export interface SetMember {
  readonly plugin: string
  /** A range, a tag, a path. */
  readonly wanted: string
}

export interface SetInput {
  readonly target: string
  readonly members: readonly SetMember[]
}

/** A member that lies on the target and is not live yet, or why it does not. */
export interface Prepared {
  readonly plugin: string
  readonly version: string | null
  readonly before: Found | null
  /** Null where what is live already is what is wanted, and where it failed. */
  readonly staged: Installed | null
  readonly failure: Failure | null
}

export interface Swapped {
  readonly plugin: string
  readonly change: PluginChange
  readonly spare: readonly string[]
}

export type SetOutcome = 'installed' | 'current' | 'rejected' | 'failed' | 'rolled-back' | 'blocked' | 'cancelled'

export interface SetResult extends SetInput {
  readonly outcome: SetOutcome
  readonly prepared: readonly Prepared[]
  readonly swapped: readonly Swapped[]
  readonly failure: Failure | null
  readonly rollBackFailure: Failure | null
}

export interface SetNotice {
  readonly type: 'plugins.installed' | 'plugins.rolledBack' | 'plugins.blocked'
  readonly target: string
  readonly plugins: readonly string[]
  readonly failure: Failure | null
  readonly rollBackFailure: Failure | null
}

type Ready = { readonly target: string; readonly prepared: readonly Prepared[] }

const ready = ({ context: { target, prepared } }: { context: SetResult }): Ready => ({
  target,
  prepared: prepared.filter(({ staged }) => staged !== null),
})

const isBad = ({ failure }: Prepared) => failure !== null

/**
 * Plugin set: several plugins that belong together. All of them are put into service on one target, or none is.
 *
 * Commit point: none of its own. Each member has the rename of its live symlink, one after the other within `swap`; until
 * the last of them has been read back, all of them can be taken back, and are when one fails. A reader who looks at two
 * of them during `swapping` may find one new and one old.
 *
 * Invariants
 *   - Nothing that is live has been touched until every member lies on the target, sealed.
 *   - The ends are `installed`, `current`, `rejected`, `failed`, `rolledBack`, `blocked` and `cancelled`; only in
 *     `blocked` may some be new and some old, and a person has to look at the target.
 */
export const pluginSet = setup({
  types: {
    input: {} as SetInput,
    context: {} as SetResult,
    events: {} as { type: 'cancel' },
    output: {} as SetResult,
    emitted: {} as SetNotice,
  },
  actors: {
    prepare: effect<SetInput, readonly Prepared[]>(),
    swap: effect<Ready, readonly Swapped[]>(),
    prune: effect<{ readonly target: string; readonly swapped: readonly Swapped[] }, void>(),
    goBack: effect<Ready, void>(),
    discard: effect<SetInput & Ready, void>(),
  },
  guards: {
    isRefused: ({ context: { prepared } }) =>
      prepared.some((one) => isBad(one) && faultOf(one.failure) !== 'environment'),
    isIncomplete: ({ context: { prepared } }) => prepared.some(isBad),
    isCurrent: ({ context: { prepared } }) => prepared.every(({ staged }) => staged === null),
    wasCancelled: ({ context: { outcome } }) => outcome === 'cancelled',
    wasRejected: ({ context: { outcome } }) => outcome === 'rejected',
    wasRolledBack: ({ context: { outcome } }) => outcome === 'rolled-back',
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    keepRollBackFailure: assign({ rollBackFailure: ({ event }) => failureOf(event as { error?: unknown }) }),
    conclude: assign({ outcome: (_, params: { outcome: SetOutcome }) => params.outcome }),
    announce: emit(({ context: { target, members, failure, rollBackFailure } }, params: Pick<SetNotice, 'type'>) => ({
      ...params,
      target,
      plugins: members.map(({ plugin }) => plugin),
      failure,
      rollBackFailure,
    })),
  },
}).createMachine({
  id: 'plugin-set',
  version: '1',
  description: 'Several plugins that belong together: all of them are put into service on one target, or none is.',
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    target: input?.target ?? '',
    members: input?.members ?? [],
    prepared: [],
    swapped: [],
    failure: null,
    rollBackFailure: null,
    outcome: 'failed',
  }),
  output: ({ context }) => context,
  initial: 'preparing',
  states: {
    preparing: {
      description: 'Each member is resolved, fetched, verified, sealed and put beside what is live.',
      on: { cancel: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'cancelled' } } } },
      invoke: {
        id: 'prepare',
        src: 'prepare',
        input: ({ context: { target, members } }) => ({ target, members }),
        onDone: { target: 'weighing', actions: assign({ prepared: ({ event }) => event.output }) },
        onError: { target: 'discarding', actions: 'keepFailure' },
      },
    },
    weighing: {
      description: 'One that is missing keeps all others back.',
      always: [
        {
          guard: 'isRefused',
          target: 'discarding',
          actions: { type: 'conclude', params: { outcome: 'rejected' } },
        },
        { guard: 'isIncomplete', target: 'discarding' },
        { guard: 'isCurrent', target: 'current' },
        { target: 'swapping' },
      ],
    },
    swapping: {
      description: 'One after the other: noted what to go back to, swapped in, read back through the live path.',
      invoke: {
        id: 'swap',
        src: 'swap',
        input: ready,
        onDone: { target: 'pruning', actions: assign({ swapped: ({ event }) => event.output }) },
        onError: { target: 'rollingBack', actions: 'keepFailure' },
      },
    },
    pruning: {
      description: 'They are live whether or not old ones could be removed.',
      invoke: {
        id: 'prune',
        src: 'prune',
        input: ({ context: { target, swapped } }) => ({ target, swapped }),
        onDone: 'installed',
        onError: 'installed',
      },
    },
    rollingBack: {
      description: 'For every member, what was live before is live again, and that is read back too.',
      invoke: {
        id: 'goBack',
        src: 'goBack',
        input: ready,
        onDone: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'rolled-back' } } },
        onError: { target: 'blocked', actions: 'keepRollBackFailure' },
      },
    },
    discarding: {
      invoke: {
        id: 'discard',
        src: 'discard',
        input: ({ context: { target, members, prepared } }) => ({ target, members, prepared }),
        onDone: 'discarded',
        // What could not be removed now is nobody's, so a sweep takes it.
        onError: 'discarded',
      },
    },
    discarded: {
      always: [
        { guard: 'wasCancelled', target: 'cancelled' },
        { guard: 'wasRejected', target: 'rejected' },
        { guard: 'wasRolledBack', target: 'rolledBack' },
        { target: 'failed' },
      ],
    },
    installed: {
      type: 'final',
      entry: [
        { type: 'conclude', params: { outcome: 'installed' } },
        { type: 'announce', params: { type: 'plugins.installed' } },
      ],
    },
    current: { type: 'final', entry: { type: 'conclude', params: { outcome: 'current' } } },
    rejected: { type: 'final' },
    failed: { type: 'final' },
    rolledBack: { type: 'final', entry: { type: 'announce', params: { type: 'plugins.rolledBack' } } },
    blocked: {
      type: 'final',
      entry: [
        { type: 'conclude', params: { outcome: 'blocked' } },
        { type: 'announce', params: { type: 'plugins.blocked' } },
      ],
    },
    cancelled: { type: 'final' },
  },
})
