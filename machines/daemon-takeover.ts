import { assign, emit, setup } from 'xstate'
import type { SessionGap, SessionMark } from './daemon.ts'
import { effect, type Failure, failureOf } from './effect.ts'

/** What a daemon begins with: what its predecessor hands over, what a keeper kept, or nothing. */
export type Takeover = 'handoff' | 'crash' | 'start'

export interface TakeoverInput {
  /** The daemon's name. */
  readonly name: string
  readonly how: Takeover
  /** The process before this one, where there was one. */
  readonly predecessor: number | null
}

/** What was opened and found to be what the plan or the table says. */
export interface Adopted {
  readonly sessions: readonly { readonly handle: number; readonly id: string; readonly pid: number }[]
}

export interface TakeoverOutput {
  readonly outcome: 'settled' | 'refused'
  readonly how: Takeover
  readonly predecessor: number | null
  readonly sessions: readonly SessionMark[]
  readonly gaps: readonly SessionGap[]
  /** How much scrollback crossed; null where none was to come. */
  readonly historyBytes: number | null
  /** Why it was refused; with `settled`, why scrollback is missing. */
  readonly failure: Failure | null
}

export interface TakeoverContext extends TakeoverInput {
  readonly adopted: Adopted | null
  readonly sessions: readonly SessionMark[]
  readonly gaps: readonly SessionGap[]
  readonly historyBytes: number | null
  readonly failure: Failure | null
  readonly outcome: 'settled' | 'refused'
}

export type TakeoverNotice =
  | { readonly type: 'daemon.tookOver'; readonly name: string; readonly how: Takeover; readonly sessions: number }
  | { readonly type: 'daemon.refused'; readonly name: string; readonly failure: Failure }

/**
 * Daemon takeover: how a daemon process comes to own its sessions, whether a predecessor hands them over, a keeper kept
 * them through a crash, or there are none yet.
 *
 * Commit point: the acknowledgement inside `takeDelta`, else the end of `recover`. From then on this process serves.
 *
 * Invariants
 *   - Before the commit point nothing is read from a terminal and nothing is answered to a client.
 *   - An effect that fails before the commit point has given back whatever it took.
 *   - The ends are `settled` and `refused`.
 */
export const daemonTakeover = setup({
  types: {
    input: {} as TakeoverInput,
    context: {} as TakeoverContext,
    output: {} as TakeoverOutput,
    emitted: {} as TakeoverNotice,
    tags: {} as 'serving',
  },
  actors: {
    adopt: effect<TakeoverInput, Adopted>(),
    takeDelta: effect<{ name: string; adopted: Adopted }, { sessions: readonly SessionMark[] }>(),
    recover: effect<
      { name: string; how: Takeover; adopted: Adopted },
      { sessions: readonly SessionMark[]; gaps: readonly SessionGap[] }
    >(),
    receiveHistory: effect<{ name: string }, { bytes: number }>(),
    refuse: effect<TakeoverInput & { failure: Failure }, void>(),
  },
  guards: {
    isHandoff: ({ context: { how } }) => how === 'handoff',
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    announceTookOver: emit(({ context: { name, how, sessions } }) => ({
      type: 'daemon.tookOver' as const,
      name,
      how,
      sessions: sessions.length,
    })),
    announceRefused: emit(({ context: { name, failure } }) => ({
      type: 'daemon.refused' as const,
      name,
      failure: failure!,
    })),
  },
}).createMachine({
  id: 'daemon-takeover',
  version: '1',
  description:
    'How a daemon comes to own its sessions: from a predecessor, from a keeper after a crash, or with none yet.',
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    name: input?.name ?? '',
    how: input?.how ?? 'start',
    predecessor: input?.predecessor ?? null,
    adopted: null,
    sessions: [],
    gaps: [],
    historyBytes: null,
    failure: null,
    outcome: 'refused',
  }),
  output: ({ context: { outcome, how, predecessor, sessions, gaps, historyBytes, failure } }) => ({
    outcome,
    how,
    predecessor,
    sessions,
    gaps,
    historyBytes,
    failure,
  }),
  initial: 'adopting',
  states: {
    adopting: {
      description: 'Reads the plan or the table, believes none of it unseen, opens every terminal. Reads from none.',
      invoke: {
        id: 'adopt',
        src: 'adopt',
        input: ({ context: { name, how, predecessor } }) => ({ name, how, predecessor }),
        onDone: [
          {
            guard: 'isHandoff',
            target: 'awaitingCommit',
            actions: assign({ adopted: ({ event }) => event.output }),
          },
          { target: 'recovering', actions: assign({ adopted: ({ event }) => event.output }) },
        ],
        onError: { target: 'refusing', actions: 'keepFailure' },
      },
    },
    awaitingCommit: {
      description: 'No timer here: the predecessor has one, and its end closes the channel.',
      invoke: {
        id: 'takeDelta',
        src: 'takeDelta',
        input: ({ context: { name, adopted } }) => ({ name, adopted: adopted! }),
        onDone: {
          target: 'serving',
          actions: [assign({ sessions: ({ event }) => event.output.sessions }), 'announceTookOver'],
        },
        onError: { target: 'refusing', actions: 'keepFailure' },
      },
    },
    recovering: {
      description: 'After a crash each session goes on at its watermark, and what may be missing before it is a gap.',
      invoke: {
        id: 'recover',
        src: 'recover',
        input: ({ context: { name, how, adopted } }) => ({ name, how, adopted: adopted! }),
        onDone: {
          target: 'settled',
          actions: [
            assign({ sessions: ({ event }) => event.output.sessions, gaps: ({ event }) => event.output.gaps }),
            'announceTookOver',
          ],
        },
        onError: { target: 'refusing', actions: 'keepFailure' },
      },
    },
    serving: {
      description: 'Serves while the scrollback of before still comes from the predecessor.',
      tags: 'serving',
      invoke: {
        id: 'receiveHistory',
        src: 'receiveHistory',
        input: ({ context: { name } }) => ({ name }),
        onDone: { target: 'settled', actions: assign({ historyBytes: ({ event }) => event.output.bytes }) },
        // What has not come is gone, and clients that ask for it are told.
        onError: { target: 'settled', actions: 'keepFailure' },
      },
    },
    refusing: {
      description: 'Tells whoever waits for this process why it will not serve.',
      invoke: {
        id: 'refuse',
        src: 'refuse',
        input: ({ context: { name, how, predecessor, failure } }) => ({ name, how, predecessor, failure: failure! }),
        onDone: 'refused',
        // The end of this process says it too.
        onError: 'refused',
      },
    },
    settled: { type: 'final', tags: 'serving', entry: assign({ outcome: 'settled' }) },
    refused: { type: 'final', entry: 'announceRefused' },
  },
})
