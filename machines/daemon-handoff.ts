import { assign, emit, setup } from 'xstate'
import type { DaemonProcess, SessionMark } from './daemon.ts'
import { effect, type Failure, failureOf } from './effect.ts'

export interface HandoffInput {
  /** The daemon's name. */
  readonly name: string
  /** The program that the successor is, without the daemon's own arguments. */
  readonly command: readonly string[]
  /** How long the successor may take to be prepared. Default 15000. */
  readonly prepareTimeoutMs?: number
  /** How long the successor may take to acknowledge once nothing flows. Default 5000. */
  readonly commitTimeoutMs?: number
}

/** What the successor acknowledged. */
export interface Committed {
  /** How long no byte flowed. */
  readonly freezeMs: number
  readonly sessions: readonly SessionMark[]
}

export interface HandoffOutput {
  readonly outcome: 'handed-over' | 'kept'
  readonly successor: DaemonProcess | null
  readonly freezeMs: number | null
  readonly sessions: readonly SessionMark[]
  /** Why it was kept; with `handed-over`, what did not cross afterwards. */
  readonly failure: Failure | null
  /** What could not be put back after `failure`. */
  readonly rollBackFailure: Failure | null
}

export interface HandoffContext extends Required<HandoffInput> {
  readonly successor: DaemonProcess | null
  readonly committed: Committed | null
  readonly failure: Failure | null
  readonly rollBackFailure: Failure | null
}

export type HandoffNotice =
  | { readonly type: 'daemon.handedOver'; readonly name: string; readonly successor: DaemonProcess }
  | { readonly type: 'daemon.kept'; readonly name: string; readonly failure: Failure }

/**
 * Daemon handoff: the predecessor's side of replacing a session daemon while its terminals run.
 *
 * Commit point: the successor's acknowledgement, inside `commit`. An error from `commit` says that it did not come and
 * will not count any more.
 *
 * Invariants
 *   - Until the acknowledgement the predecessor owns everything and serves on, whatever happens.
 *   - After it the successor owns everything, whatever happens.
 *   - An aborted `spawnSuccessor` ends what it started, so `rollBack` may find nothing to end.
 *   - The ends are `handedOver` and `kept`.
 */
export const daemonHandoff = setup({
  types: {
    input: {} as HandoffInput,
    context: {} as HandoffContext,
    output: {} as HandoffOutput,
    emitted: {} as HandoffNotice,
  },
  actors: {
    snapshot: effect<{ name: string }, { sessions: number }>(),
    spawnSuccessor: effect<{ name: string; command: readonly string[] }, DaemonProcess>(),
    commit: effect<{ name: string; successor: DaemonProcess; timeoutMs: number }, Committed>(),
    finalize: effect<{ name: string; successor: DaemonProcess }, void>(),
    rollBack: effect<{ name: string; successor: DaemonProcess | null }, void>(),
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    blameSilence: assign({
      failure: ({ context: { prepareTimeoutMs } }) => ({
        name: 'InstarError',
        code: 'HANDOFF_TIMEOUT',
        message: `the successor was not prepared within ${prepareTimeoutMs} ms`,
      }),
    }),
    announceHandedOver: emit(({ context: { name, successor } }) => ({
      type: 'daemon.handedOver' as const,
      name,
      successor: successor!,
    })),
    announceKept: emit(({ context: { name, failure } }) => ({
      type: 'daemon.kept' as const,
      name,
      failure: failure!,
    })),
  },
  delays: {
    prepareTimeout: ({ context: { prepareTimeoutMs } }) => prepareTimeoutMs,
  },
}).createMachine({
  id: 'daemon-handoff',
  version: '1',
  description: "The predecessor's side of replacing a session daemon while its terminals run.",
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    name: input?.name ?? '',
    command: input?.command ?? [],
    prepareTimeoutMs: input?.prepareTimeoutMs ?? 15_000,
    commitTimeoutMs: input?.commitTimeoutMs ?? 5_000,
    successor: null,
    committed: null,
    failure: null,
    rollBackFailure: null,
  }),
  output: ({ context: { successor, committed, failure, rollBackFailure } }) => ({
    outcome: committed === null ? 'kept' : 'handed-over',
    successor: committed === null ? null : successor,
    freezeMs: committed?.freezeMs ?? null,
    sessions: committed?.sessions ?? [],
    failure,
    rollBackFailure,
  }),
  initial: 'snapshotting',
  states: {
    snapshotting: {
      description: 'What would be handed over. Refuses where the platform cannot.',
      invoke: {
        id: 'snapshot',
        src: 'snapshot',
        input: ({ context: { name } }) => ({ name }),
        onDone: 'spawning',
        onError: { target: 'kept', actions: 'keepFailure' },
      },
    },
    spawning: {
      description: 'The successor boots and validates the plan while the predecessor serves.',
      after: { prepareTimeout: { target: 'rollingBack', actions: 'blameSilence' } },
      invoke: {
        id: 'spawnSuccessor',
        src: 'spawnSuccessor',
        input: ({ context: { name, command } }) => ({ name, command }),
        onDone: { target: 'committing', actions: assign({ successor: ({ event }) => event.output }) },
        onError: { target: 'rollingBack', actions: 'keepFailure' },
      },
    },
    committing: {
      description:
        'Nothing flows. No timer here: whether the acknowledgement or the deadline was first, `commit` decides.',
      invoke: {
        id: 'commit',
        src: 'commit',
        input: ({ context: { name, successor, commitTimeoutMs } }) => ({
          name,
          successor: successor!,
          timeoutMs: commitTimeoutMs,
        }),
        onDone: { target: 'finalizing', actions: assign({ committed: ({ event }) => event.output }) },
        onError: { target: 'rollingBack', actions: 'keepFailure' },
      },
    },
    finalizing: {
      description: 'The successor serves already; scrollback crosses, channels close.',
      invoke: {
        id: 'finalize',
        src: 'finalize',
        input: ({ context: { name, successor } }) => ({ name, successor: successor! }),
        onDone: 'handedOver',
        onError: { target: 'handedOver', actions: 'keepFailure' },
      },
    },
    rollingBack: {
      description: 'Ends the successor, and takes up what was laid down for it.',
      invoke: {
        id: 'rollBack',
        src: 'rollBack',
        input: ({ context: { name, successor } }) => ({ name, successor }),
        onDone: 'kept',
        onError: { target: 'kept', actions: assign({ rollBackFailure: ({ event }) => failureOf(event) }) },
      },
    },
    handedOver: { type: 'final', entry: 'announceHandedOver' },
    kept: { type: 'final', entry: 'announceKept' },
  },
})
