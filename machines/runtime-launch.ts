import { and, assign, emit, or, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'
import { type Candidate, faultOf, type ReleaseRef } from './runtime.ts'

/**
 * A process that was started for a launch. It is recognised by more than its number, also by another controller: system
 * restarts and reused numbers are told apart by `boot` and `start`.
 */
export interface Child {
  readonly key: string
  readonly pid: number
  /** The port it was told to listen on. */
  readonly port: number
  /** What it finds in INSTAR_NONCE and nobody else knows. */
  readonly nonce: string
  /** It has a channel to the controller that started it. */
  readonly ipc: boolean
  /** Absolute path of its record. */
  readonly record: string
  readonly boot: string
  /** On Linux the tick at which it began; elsewhere when its record was written, in ms, which is not before that. */
  readonly start: number
}

/** How a process ended. `lost` means that nobody was there to learn it. */
export interface Exit {
  readonly code: number | null
  readonly signal: string | null
  readonly lost: boolean
}

/** How it ended, and who is to blame by the evidence that it left. */
export interface Ended {
  readonly exit: Exit
  readonly failure: Failure
}

/** One failed start that is held against its version, and not written yet. */
export interface OwedStrike {
  readonly version: string
  readonly release: ReleaseRef
  readonly failure: Failure
  /** Of the process that failed: however often the strike is tried, it counts once. */
  readonly key: string
}

export type LaunchOutcome = 'stopped' | 'exited' | 'failed'

export interface LaunchResult {
  readonly runtime: string
  readonly outcome: LaunchOutcome
  readonly version: string | null
  readonly exit: Exit | null
  readonly failure: Failure | null
}

export interface LaunchContext {
  readonly runtime: string
  readonly args: readonly string[]
  readonly probationMs: number
  /** What is still to be tried, best first. */
  readonly arms: readonly Candidate[]
  readonly candidate: Candidate | null
  readonly child: Child | null
  readonly url: string | null
  /** Starts of this candidate that the environment spoiled. */
  readonly spoiled: number
  readonly stopWanted: boolean
  readonly failure: Failure | null
  readonly exit: Exit | null
  readonly outcome: LaunchOutcome
  /** Oldest first. */
  readonly owed: readonly OwedStrike[]
  /** The version that was to run; null where the one that runs was the first choice. */
  readonly insteadOf: string | null
}

export type LaunchNotice =
  | { readonly type: 'runtime.pointerRepaired'; readonly runtime: string; readonly reason: string }
  | { readonly type: 'runtime.notChosen'; readonly runtime: string; readonly failure: Failure }
  | { readonly type: 'runtime.ready'; readonly runtime: string; readonly version: string; readonly arm: string }
  | {
      readonly type: 'runtime.startFailed'
      readonly runtime: string
      readonly version: string
      readonly failure: Failure
    }
  | { readonly type: 'runtime.rolledBack'; readonly runtime: string; readonly from: string; readonly to: string }
  | { readonly type: 'runtime.banned'; readonly runtime: string; readonly version: string; readonly failure: Failure }
  | { readonly type: 'runtime.crashed'; readonly runtime: string; readonly version: string; readonly exit: Exit }
  | { readonly type: 'runtime.failed'; readonly runtime: string; readonly failure: Failure | null }

const endIn = (event: unknown) => (event as { output: Ended }).output

const chosenIn = (event: unknown) =>
  (event as { output: { arms: readonly Candidate[]; repaired: string | null } }).output

const watch = {
  id: 'watch',
  src: 'watch',
  input: ({ context: { child } }: { context: LaunchContext }) => ({ child: child! }),
} as const

const terminate = {
  id: 'terminate',
  src: 'terminate',
  input: ({ context: { child } }: { context: LaunchContext }) => ({ child: child! }),
} as const

const asStopped = {
  target: 'ending',
  actions: { type: 'conclude', params: { outcome: 'stopped' } },
} as const

/**
 * Writes the strikes that are owed, oldest first. A version that is banned by one is announced and no longer pointed at.
 * Settled is also what could not be written: whoever has these states says what becomes of it.
 */
const striking = {
  writing: {
    invoke: {
      id: 'strike',
      src: 'strike',
      input: ({ context: { runtime, owed } }: { context: LaunchContext }) => {
        const { version, failure, key } = owed[0]!
        return { runtime, version, reason: failure.message, key }
      },
      onDone: [
        { guard: 'isBannedNow', target: 'restoring', actions: 'announceBanned' },
        { target: 'written', actions: 'forgetStrike' },
      ],
      onError: 'settled',
    },
  },
  restoring: {
    description: 'Points back at the known-good, only if the pointer still names the version that failed.',
    invoke: {
      id: 'restore',
      src: 'restore',
      input: ({ context: { runtime, owed } }: { context: LaunchContext }) => ({ runtime, failed: owed[0]!.release }),
      onDone: { target: 'written', actions: 'forgetStrike' },
      // The ban is written, so the next launch leaves this version out whatever the pointer says.
      onError: { target: 'written', actions: 'forgetStrike' },
    },
  },
  written: { always: [{ guard: 'strikeOwed', target: 'writing' }, { target: 'settled' }] },
} as const

/**
 * Runtime launch: runs the best version there is, watches it, and goes back by itself when it fails.
 *
 * Arms: what the pointer names, the previous known-good, the one bundled with the host; each is tried once in a launch.
 * An arm whose start was spoiled by the environment is tried again a few times first.
 *
 * Commit point: `commending`, after probation. Only then is a version known-good.
 *
 * Invariants
 *   - At most one process of this launch runs at any time.
 *   - The version that is struck is the one that was spawned, never the one the pointer names by now.
 *   - The bundled version is never struck.
 *   - A strike or ban that cannot be written never keeps the fallback from starting. It is tried again while the fallback
 *     runs, and once more before the end, and counts once however often it was tried.
 *   - The ends are `stopped`, `exited` and `failed`; `unstoppable` waits for a person.
 */
export const runtimeLaunch = setup({
  types: {
    input: {} as { runtime: string; args: readonly string[]; probationMs: number },
    context: {} as LaunchContext,
    events: {} as { type: 'stop' },
    output: {} as LaunchResult,
    emitted: {} as LaunchNotice,
    tags: {} as 'ready' | 'blocked',
  },
  actors: {
    choose: effect<{ runtime: string }, { arms: readonly Candidate[]; repaired: string | null }>(),
    chooseBundled: effect<{ runtime: string }, readonly Candidate[]>(),
    spawn: effect<{ runtime: string; candidate: Candidate; args: readonly string[] }, Child>(),
    probe: effect<{ runtime: string; candidate: Candidate; child: Child }, { url: string | null }>(),
    watch: effect<{ child: Child }, Ended>(),
    commend: effect<{ runtime: string; candidate: Candidate; child: Child }, void>(),
    terminate: effect<{ child: Child }, void>(),
    strike: effect<{ runtime: string; version: string; reason: string; key: string }, { banned: boolean }>(),
    restore: effect<{ runtime: string; failed: ReleaseRef }, void>(),
  },
  guards: {
    noneLeft: ({ context: { arms } }) => arms.length === 0,
    stopWanted: ({ context: { stopWanted } }) => stopWanted,
    exitedCleanly: ({ event }) => endIn(event).exit.code === 0,
    environmentAtFault: ({ context: { failure } }) => faultOf(failure) === 'environment',
    candidateRefused: ({ context: { failure } }) => faultOf(failure) === 'refused',
    mayTryAgain: ({ context: { spoiled } }) => spoiled < 3,
    isBundled: ({ context: { candidate } }) => candidate!.release === null,
    neverStarted: ({ context: { child } }) => child === null,
    isBannedNow: ({ event }) => (event as unknown as { output: { banned: boolean } }).output.banned,
    wasRepaired: ({ event }) => chosenIn(event).repaired !== null,
    strikeOwed: ({ context: { owed } }) => owed.length > 0,
    wasStopped: ({ context: { outcome } }) => outcome === 'stopped',
    hasExited: ({ context: { outcome } }) => outcome === 'exited',
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    keepArms: assign({ arms: ({ event }) => chosenIn(event).arms, insteadOf: null }),
    keepExit: assign({ exit: ({ event }) => endIn(event).exit }),
    blameExit: assign({ failure: ({ event }) => endIn(event).failure }),
    takeNextArm: assign({
      candidate: ({ context: { arms } }) => arms[0]!,
      arms: ({ context: { arms } }) => arms.slice(1),
      child: null,
      url: null,
      exit: null,
      spoiled: 0,
    }),
    countSpoiled: assign({ spoiled: ({ context: { spoiled } }) => spoiled + 1, child: null }),
    keepFirstChoice: assign({ insteadOf: ({ context: { insteadOf, candidate } }) => insteadOf ?? candidate!.version }),
    oweStrike: assign({
      owed: ({ context: { owed, candidate, failure, child } }) => [
        ...owed,
        { version: candidate!.version, release: candidate!.release!, failure: failure!, key: child!.key },
      ],
    }),
    forgetStrike: assign({ owed: ({ context: { owed } }) => owed.slice(1) }),
    wantStop: assign({ stopWanted: true }),
    conclude: assign({ outcome: (_, params: { outcome: LaunchOutcome }) => params.outcome }),
    announceRepaired: emit(({ context: { runtime }, event }) => ({
      type: 'runtime.pointerRepaired' as const,
      runtime,
      reason: chosenIn(event).repaired!,
    })),
    announceNotChosen: emit(({ context: { runtime, failure } }) => ({
      type: 'runtime.notChosen' as const,
      runtime,
      failure: failure!,
    })),
    announceReady: emit(({ context: { runtime, candidate } }) => ({
      type: 'runtime.ready' as const,
      runtime,
      version: candidate!.version,
      arm: candidate!.arm,
    })),
    announceStartFailed: emit(({ context: { runtime, candidate, failure } }) => ({
      type: 'runtime.startFailed' as const,
      runtime,
      version: candidate!.version,
      failure: failure!,
    })),
    announceBanned: emit(({ context: { runtime, owed } }) => ({
      type: 'runtime.banned' as const,
      runtime,
      version: owed[0]!.version,
      failure: owed[0]!.failure,
    })),
    announceRolledBack: emit(({ context: { runtime, candidate, arms } }) => ({
      type: 'runtime.rolledBack' as const,
      runtime,
      from: candidate!.version,
      to: arms[0]!.version,
    })),
    announceCrashed: emit(({ context: { runtime, candidate, exit } }) => ({
      type: 'runtime.crashed' as const,
      runtime,
      version: candidate!.version,
      exit: exit!,
    })),
    announceFailed: emit(({ context: { runtime, failure } }) => ({
      type: 'runtime.failed' as const,
      runtime,
      failure,
    })),
  },
  delays: {
    probation: ({ context: { probationMs } }) => probationMs,
    retryDelay: 1_000,
    strikeRetryDelay: 30_000,
  },
}).createMachine({
  id: 'runtime-launch',
  version: '1',
  description: 'Runs the best version there is, watches it, and goes back by itself when it fails.',
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    runtime: input?.runtime ?? '',
    args: input?.args ?? [],
    probationMs: input?.probationMs ?? 0,
    arms: [],
    candidate: null,
    child: null,
    url: null,
    spoiled: 0,
    stopWanted: false,
    failure: null,
    exit: null,
    outcome: 'failed',
    owed: [],
    insteadOf: null,
  }),
  output: ({ context: { runtime, candidate, exit, failure, outcome } }) => ({
    runtime,
    outcome,
    version: candidate?.version ?? null,
    exit,
    failure,
  }),
  initial: 'choosing',
  states: {
    choosing: {
      description: 'max(pointer, bundled), then the previous known-good, then bundled; banned ones are left out.',
      on: { stop: asStopped },
      invoke: {
        id: 'choose',
        src: 'choose',
        input: ({ context: { runtime } }) => ({ runtime }),
        onDone: [
          {
            guard: 'wasRepaired',
            target: 'picking',
            actions: ['keepArms', 'announceRepaired'],
          },
          { target: 'picking', actions: 'keepArms' },
        ],
        onError: { target: 'choosingBundled', actions: ['keepFailure', 'announceNotChosen'] },
      },
    },
    choosingBundled: {
      description: 'The store or a callback of the host failed; the bundled version needs neither.',
      on: { stop: asStopped },
      invoke: {
        id: 'chooseBundled',
        src: 'chooseBundled',
        input: ({ context: { runtime } }) => ({ runtime }),
        onDone: { target: 'picking', actions: assign({ arms: ({ event }) => event.output, insteadOf: null }) },
        onError: { target: 'ending', actions: 'keepFailure' },
      },
    },
    picking: {
      always: [
        { guard: 'noneLeft', target: 'ending' },
        { target: 'spawning', actions: 'takeNextArm' },
      ],
    },
    spawning: {
      description: 'A `stop` waits for the answer: until then nobody knows what there is to stop.',
      on: { stop: { actions: 'wantStop' } },
      invoke: {
        id: 'spawn',
        src: 'spawn',
        input: ({ context: { runtime, candidate, args } }) => ({ runtime, candidate: candidate!, args }),
        onDone: [
          { guard: 'stopWanted', target: 'stopping', actions: assign({ child: ({ event }) => event.output }) },
          { target: 'probing', actions: assign({ child: ({ event }) => event.output }) },
        ],
        onError: [
          { ...asStopped, guard: 'stopWanted', actions: ['keepFailure', asStopped.actions] },
          { target: 'blaming', actions: ['keepFailure', 'announceStartFailed'] },
        ],
      },
    },
    probing: {
      description: 'An end of the process in here is a failed start, whatever its code.',
      on: { stop: 'stopping' },
      invoke: [
        {
          ...watch,
          onDone: { target: 'clearing', actions: ['keepExit', 'blameExit', 'announceStartFailed'] },
          onError: { target: 'clearing', actions: ['keepFailure', 'announceStartFailed'] },
        },
        {
          id: 'probe',
          src: 'probe',
          input: ({ context: { runtime, candidate, child } }) => ({ runtime, candidate: candidate!, child: child! }),
          onDone: { target: 'probation', actions: [assign({ url: ({ event }) => event.output.url }), 'announceReady'] },
          onError: { target: 'clearing', actions: ['keepFailure', 'announceStartFailed'] },
        },
      ],
    },
    probation: {
      description: 'Ready is not enough: a crash in here counts as a failed start. Leaving in good order does not.',
      tags: 'ready',
      on: { stop: 'stopping' },
      after: { probation: 'commending' },
      invoke: {
        ...watch,
        onDone: [
          { guard: 'exitedCleanly', target: 'leaving', actions: 'keepExit' },
          { target: 'clearing', actions: ['keepExit', 'blameExit', 'announceStartFailed'] },
        ],
        onError: { target: 'clearing', actions: ['keepFailure', 'announceStartFailed'] },
      },
    },
    commending: {
      description: 'Reads back that the process still lives, then writes that this version is known-good.',
      tags: 'ready',
      on: { stop: 'stopping' },
      invoke: {
        id: 'commend',
        src: 'commend',
        input: ({ context: { runtime, candidate, child } }) => ({ runtime, candidate: candidate!, child: child! }),
        onDone: 'healthy',
        // Not known-good then, but it runs; whether it does, `healthy` watches.
        onError: 'healthy',
      },
    },
    healthy: {
      tags: 'ready',
      on: { stop: 'stopping' },
      initial: 'settled',
      invoke: {
        ...watch,
        onDone: [
          { guard: 'exitedCleanly', target: 'leaving', actions: 'keepExit' },
          { target: 'crashed', actions: 'keepExit' },
        ],
        onError: { target: 'clearing', actions: ['keepFailure', 'announceStartFailed'] },
      },
      states: {
        ...striking,
        settled: { always: { guard: 'strikeOwed', target: 'owing' } },
        owing: {
          description: 'A strike could not be written when it was due. Tried again until it is.',
          after: { strikeRetryDelay: 'writing' },
        },
      },
    },
    leaving: {
      description: 'It ended by itself, in good order. What is left of its process group ends as well.',
      invoke: {
        ...terminate,
        onDone: { target: 'ending', actions: { type: 'conclude', params: { outcome: 'exited' } } },
        onError: { target: 'unstoppable', actions: 'keepFailure' },
      },
    },
    crashed: {
      description: 'It had been healthy, so nobody is struck; the best version there is now is started again.',
      entry: 'announceCrashed',
      on: { stop: { actions: 'wantStop' } },
      invoke: {
        ...terminate,
        onDone: [{ guard: 'stopWanted', ...asStopped }, { target: 'pausing' }],
        onError: { target: 'unstoppable', actions: 'keepFailure' },
      },
    },
    pausing: {
      on: { stop: asStopped },
      after: { retryDelay: 'choosing' },
    },
    clearing: {
      description: 'Nothing of the failed start may still run when the next one begins.',
      on: { stop: { actions: 'wantStop' } },
      invoke: {
        ...terminate,
        onDone: [{ guard: 'stopWanted', ...asStopped }, { target: 'blaming' }],
        onError: { target: 'unstoppable', actions: 'keepFailure' },
      },
    },
    blaming: {
      always: [
        { guard: and(['environmentAtFault', 'mayTryAgain']), target: 'waiting', actions: 'countSpoiled' },
        { guard: or(['environmentAtFault', 'candidateRefused', 'isBundled', 'neverStarted']), target: 'fallingBack' },
        { target: 'striking', actions: 'oweStrike' },
      ],
    },
    waiting: {
      on: { stop: asStopped },
      after: { retryDelay: 'spawning' },
    },
    striking: {
      on: { stop: { actions: 'wantStop' } },
      initial: 'writing',
      states: { ...striking, settled: { type: 'final' } },
      onDone: 'fallingBack',
    },
    fallingBack: {
      always: [
        { guard: 'stopWanted', ...asStopped },
        { guard: 'noneLeft', target: 'ending' },
        { target: 'spawning', actions: ['announceRolledBack', 'keepFirstChoice', 'takeNextArm'] },
      ],
    },
    stopping: {
      invoke: {
        ...terminate,
        onDone: asStopped,
        onError: { target: 'unstoppable', actions: 'keepFailure' },
      },
    },
    unstoppable: {
      description: 'The process could not be ended. Waits for a person, who may try again.',
      on: { stop: 'stopping' },
      tags: 'blocked',
    },
    ending: {
      description:
        'Nothing runs any more. Strikes that cannot be written now are given up; what failed is struck again when it fails again.',
      initial: 'written',
      states: { ...striking, settled: { type: 'final' } },
      onDone: [
        { guard: 'wasStopped', target: 'stopped' },
        { guard: 'hasExited', target: 'exited' },
        { target: 'failed' },
      ],
    },
    stopped: { type: 'final' },
    exited: { type: 'final' },
    failed: { type: 'final', entry: 'announceFailed' },
  },
})
