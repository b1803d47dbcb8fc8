import { assign, emit, setup } from 'xstate'
import type { AppProcess, AppRelease, InstanceOutcome } from './app.ts'
import { effect, type Failure, failureOf } from './effect.ts'
import { faultOf, type ReleaseRef } from './runtime.ts'

export interface InstanceInput {
  readonly app: string
  readonly workspace: string
  readonly release: AppRelease
}

/** One thing that was asked for: a version, the same one anew (null), or that it ends. */
export type InstanceWish =
  | { readonly id: string; readonly wish: 'run'; readonly release: AppRelease | null }
  | { readonly id: string; readonly wish: 'stop' }

export interface InstanceAnswer {
  readonly id: string
  readonly outcome: InstanceOutcome | 'stopped'
  /** What runs now, or would. */
  readonly version: string
  /** With `kept` and `dead`: why. */
  readonly failure: Failure | null
  /** With `dead`: why the version before could not be started again. */
  readonly returnFailure: Failure | null
}

export interface InstanceContext extends InstanceInput {
  readonly process: AppProcess | null
  /** Up beside the process that it is to replace. */
  readonly successor: AppProcess | null
  /** What is carried out now; while the first start is under way, nothing. */
  readonly current: InstanceWish | null
  /** What comes after it, in the order it was asked for. */
  readonly waiting: readonly InstanceWish[]
  /** The newest, oldest first. */
  readonly answers: readonly InstanceAnswer[]
  /** Starts and lives in a row that ended too early. */
  readonly misses: number
  /** Why it ended last. */
  readonly failure: Failure | null
}

export type InstanceEvent =
  | { readonly type: 'run'; readonly id: string; readonly release: AppRelease | null }
  | { readonly type: 'stop'; readonly id: string }

export interface InstanceNotice {
  readonly type: 'app.ready' | 'app.upgraded' | 'app.kept' | 'app.died' | 'app.dead' | 'app.stopped'
  readonly app: string
  readonly workspace: string
  readonly version: string
  readonly failure: Failure | null
}

type Place = Pick<InstanceInput, 'app' | 'workspace'>

const answersKept = 32
const missesMax = 5

const place = ({ app, workspace }: InstanceContext): Place => ({ app, workspace })

const about = ({ context }: { context: InstanceContext }) => ({ ...place(context), process: context.process! })

const isSame = (one: ReleaseRef, other: ReleaseRef) => one.version === other.version && one.digest === other.digest

/** The release that is being carried in. */
const wantedOf = ({ current, release }: InstanceContext): AppRelease =>
  current?.wish === 'run' ? (current.release ?? release) : release

/** The one that was started: the same version may have been pulled anew for it. */
const releaseOf = (wanted: AppRelease, { digest }: AppProcess): AppRelease => ({ ...wanted, digest })

const isOther = (context: InstanceContext) => !isSame(wantedOf(context), context.release)

function answered(
  context: InstanceContext,
  { id }: InstanceWish,
  answer: Pick<InstanceAnswer, 'outcome'> & Partial<InstanceAnswer>,
): readonly InstanceAnswer[] {
  const whole = { id, version: context.release.version, failure: null, returnFailure: null, ...answer }
  return [...context.answers, whole].slice(-answersKept)
}

const notice = (type: InstanceNotice['type'], context: InstanceContext): InstanceNotice => ({
  type,
  ...place(context),
  version: context.release.version,
  failure: context.failure,
})

/** Nothing is under way that would have to end first. */
const begins = {
  run: { target: 'attending', actions: 'take' },
  stop: { target: 'attending', actions: 'take' },
} as const

/**
 * App instance: the one process of an app in one workspace. Keeps it running, and replaces it without losing a call.
 *
 * Commit point of a replacement: the end of `launching`, when the new process has answered its handshake. Until then the
 * old one serves, and any failure leaves it; from then on the new version is the one that is started after a crash.
 *
 * Processes end with the controller, so that after a replay there is none: whoever watches one says so, and it is started
 * again without being blamed.
 *
 * Invariants
 *   - A call is answered by the old process, by the new one, or waits for one of them; none is dropped for a replacement.
 *   - Of an exclusive app no two processes run at once; its calls wait while it is replaced.
 *   - A new version that does not come up never replaces one that did.
 *   - A process that dies is started again, in its own version, later each time, until that is given up (`dead`).
 *   - The only end is `stopped`, and only where that was asked for.
 */
export const appInstance = setup({
  types: {
    input: {} as InstanceInput,
    context: {} as InstanceContext,
    events: {} as InstanceEvent,
    emitted: {} as InstanceNotice,
    tags: {} as 'serving',
  },
  actors: {
    start: effect<Place & { release: AppRelease }, AppProcess>(),
    watch: effect<Place & { process: AppProcess }, { end: 'died' | 'unattended'; failure: Failure | null }>(),
    change: effect<Place & { from: AppProcess | null; to: AppProcess }, void>(),
    pause: effect<Place & { process: AppProcess | null }, void>(),
    stop: effect<Place, void>(),
  },
  guards: {
    isMet: ({ context: { waiting, release, process } }) =>
      process !== null &&
      waiting[0]?.wish === 'run' &&
      waiting[0].release !== null &&
      isSame(waiting[0].release, release),
    isStop: ({ context: { waiting } }) => waiting[0]?.wish === 'stop',
    isAbsent: ({ context: { waiting, process } }) => waiting.length > 0 && process === null,
    isExclusive: ({ context: { waiting, release } }) =>
      waiting[0]?.wish === 'run' && (release.exclusive || waiting[0].release?.exclusive === true),
    isReplacement: ({ context: { waiting } }) => waiting[0]?.wish === 'run',
    isThere: ({ context: { process } }) => process !== null,
    /** What is refused itself would be refused again. */
    mayRetry: ({ context: { misses, failure } }) => faultOf(failure) === 'environment' && misses + 1 < missesMax,
    wasUnattended: ({ event }) => (event as unknown as { output: { end: string } }).output.end === 'unattended',
    isOther: ({ context }) => isOther(context),
  },
  actions: {
    take: assign(({ context: { waiting }, event }) => {
      const wish: InstanceWish =
        event.type === 'stop'
          ? { id: event.id, wish: 'stop' }
          : {
              id: (event as { id: string }).id,
              wish: 'run',
              release: (event as { release: AppRelease | null }).release,
            }
      return { waiting: [...waiting, wish] }
    }),
    begin: assign(({ context: { waiting } }) => ({ current: waiting[0]!, waiting: waiting.slice(1) })),
    answerMet: assign(({ context }) => ({
      waiting: context.waiting.slice(1),
      answers: answered(context, context.waiting[0]!, { outcome: 'current' }),
    })),
    keepProcess: assign(({ context, event }) => {
      const { output: process } = event as unknown as { output: AppProcess }
      return { process, release: releaseOf(context.release, process), failure: null }
    }),
    forgetProcess: assign({ process: null }),
    adopt: assign(({ context, event }) => {
      const { output: process } = event as unknown as { output: AppProcess }
      return { release: releaseOf(wantedOf(context), process), misses: 0 }
    }),
    keepSuccessor: assign({ successor: ({ event }) => (event as unknown as { output: AppProcess }).output }),
    promote: assign(({ context: { successor } }) => ({ process: successor, successor: null, failure: null })),
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    keepDeath: assign({
      failure: ({ event }) => (event as unknown as { output: { failure: Failure | null } }).output.failure,
    }),
    countMiss: assign({ misses: ({ context: { misses } }) => misses + 1 }),
    forgive: assign({ misses: 0 }),
    answerUpgraded: assign(({ context }) => ({
      current: null,
      answers: answered(context, context.current!, { outcome: 'upgraded' }),
    })),
    answerKept: assign(({ context }) => ({
      current: null,
      answers: answered(context, context.current!, { outcome: 'kept', failure: context.failure }),
    })),
    answerDead: assign(({ context, event }) => {
      const failure = failureOf(event as { error?: unknown })
      // Where the version before was to come back, that has failed, too.
      const failures = isOther(context) ? { failure: context.failure, returnFailure: failure } : { failure }
      return { current: null, answers: answered(context, context.current!, { outcome: 'dead', ...failures }) }
    }),
    answerStopped: assign(({ context }) => ({
      current: null,
      answers: answered(context, context.current!, { outcome: 'stopped' }),
    })),
    announceReady: emit(({ context }) => notice('app.ready', context)),
    announceUpgraded: emit(({ context }) => notice('app.upgraded', context)),
    announceKept: emit(({ context }) => notice('app.kept', context)),
    announceDied: emit(({ context }) => notice('app.died', context)),
    announceDead: emit(({ context }) => notice('app.dead', context)),
    announceStopped: emit(({ context }) => notice('app.stopped', context)),
  },
  delays: {
    backOff: ({ context: { misses } }) => Math.min(500 * 2 ** misses, 60_000),
    /** One that lived as long was no failed start. */
    steady: 60_000,
  },
}).createMachine({
  id: 'app-instance',
  version: '1',
  description: 'The one process of an app in one workspace: keeps it running, and replaces it without losing a call.',
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    app: input?.app ?? '',
    workspace: input?.workspace ?? '',
    release: input?.release ?? { version: '', digest: '', exclusive: false },
    process: null,
    successor: null,
    current: null,
    waiting: [],
    answers: [],
    misses: 0,
    failure: null,
  }),
  // Where nothing else is said a wish waits for what is under way.
  on: { run: { actions: 'take' }, stop: { actions: 'take' } },
  initial: 'starting',
  states: {
    starting: {
      description: 'The process is up once it has answered its handshake. Calls wait for it.',
      invoke: {
        id: 'start',
        src: 'start',
        input: ({ context }) => ({ ...place(context), release: context.release }),
        onDone: {
          target: 'attending',
          actions: ['keepProcess', 'announceReady'],
        },
        onError: { target: 'failing', actions: 'keepFailure' },
      },
    },
    failing: {
      description:
        'Tried again later each time, unless it has been often enough, or something else was asked for meanwhile.',
      always: [
        { guard: 'isAbsent', target: 'attending' },
        { guard: 'mayRetry', target: 'waiting', actions: 'countMiss' },
        { target: 'dead' },
      ],
    },
    waiting: {
      on: begins,
      after: { backOff: 'starting' },
    },
    attending: {
      description: 'One wish after the other, and then what there is.',
      always: [
        { guard: 'isMet', target: 'attending', reenter: true, actions: 'answerMet' },
        { guard: 'isStop', target: 'stopping', actions: 'begin' },
        { guard: 'isAbsent', target: 'replacing', actions: 'begin' },
        { guard: 'isExclusive', target: 'pausing', actions: 'begin' },
        { guard: 'isReplacement', target: 'launching', actions: 'begin' },
        { guard: 'isThere', target: 'ready' },
        { target: 'starting' },
      ],
    },
    ready: {
      tags: 'serving',
      on: begins,
      after: { steady: { actions: 'forgive' } },
      invoke: {
        id: 'watch',
        src: 'watch',
        input: about,
        onDone: [
          { guard: 'wasUnattended', target: 'starting', actions: 'forgetProcess' },
          {
            target: 'failing',
            actions: ['forgetProcess', 'keepDeath', 'announceDied'],
          },
        ],
        onError: { target: 'failing', actions: ['forgetProcess', 'keepFailure'] },
      },
    },
    launching: {
      description: 'The new one beside the old one, which serves.',
      tags: 'serving',
      invoke: {
        id: 'launch',
        src: 'start',
        input: ({ context }) => ({ ...place(context), release: wantedOf(context) }),
        onDone: { target: 'changing', actions: ['keepSuccessor', 'adopt'] },
        onError: {
          target: 'attending',
          actions: ['keepFailure', 'answerKept', 'announceKept'],
        },
      },
    },
    changing: {
      description: 'New calls go to the new one; the old one answers those it has, and is ended.',
      tags: 'serving',
      invoke: {
        id: 'change',
        src: 'change',
        input: ({ context }) => ({ ...place(context), from: context.process, to: context.successor! }),
        onDone: { target: 'attending', actions: ['promote', 'answerUpgraded', 'announceUpgraded'] },
        // After a crash of the controller both are gone; else the old one could not be ended, which is told by its end.
        onError: { target: 'attending', actions: ['promote', 'answerUpgraded', 'announceUpgraded'] },
      },
    },
    pausing: {
      description: 'Of an exclusive app the old one answers what it has and is ended first. New calls wait.',
      invoke: {
        id: 'pause',
        src: 'pause',
        input: ({ context }) => ({ ...place(context), process: context.process }),
        onDone: { target: 'replacing', actions: 'forgetProcess' },
        onError: {
          target: 'attending',
          actions: ['keepFailure', 'answerKept', 'announceKept'],
        },
      },
    },
    replacing: {
      description: 'Nothing serves; calls wait.',
      invoke: {
        id: 'replace',
        src: 'start',
        input: ({ context }) => ({ ...place(context), release: wantedOf(context) }),
        onDone: {
          target: 'attending',
          actions: ['keepProcess', 'adopt', 'answerUpgraded', 'announceUpgraded'],
        },
        onError: [
          { guard: 'isOther', target: 'returning', actions: 'keepFailure' },
          { target: 'dead', actions: ['keepFailure', 'answerDead'] },
        ],
      },
    },
    returning: {
      invoke: {
        id: 'return',
        src: 'start',
        input: ({ context }) => ({ ...place(context), release: context.release }),
        onDone: {
          target: 'attending',
          actions: [assign({ process: ({ event }) => event.output }), 'answerKept', 'announceKept'],
        },
        onError: { target: 'dead', actions: 'answerDead' },
      },
    },
    dead: {
      description: 'A person has to look at it, or another version has to come.',
      entry: 'announceDead',
      // What was asked for behind the one that failed.
      always: { guard: 'isAbsent', target: 'attending' },
      on: begins,
    },
    stopping: {
      invoke: {
        id: 'stop',
        src: 'stop',
        input: ({ context }) => place(context),
        onDone: { target: 'stopped', actions: 'answerStopped' },
        onError: {
          target: 'attending',
          actions: ['keepFailure', 'answerKept'],
        },
      },
    },
    stopped: { type: 'final', entry: 'announceStopped' },
  },
})
