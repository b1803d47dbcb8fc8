import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'

/** A daemon that answers, as it describes itself, and how its version stands to the host's. */
export interface Daemon {
  readonly pid: number
  readonly version: string
  readonly node: string
  /** One more after each handoff or crash. */
  readonly generation: number
  /** Null where its sessions end with it. */
  readonly keeper: { readonly pid: number; readonly protocol: number } | null
  readonly standing: 'older' | 'same' | 'newer'
}

export type Wish = 'start' | 'update' | 'restart' | 'stop'

/** What is asked for, by everybody who asked for it before it was begun or while it is carried out. */
export interface Request {
  readonly wish: Wish
  readonly ids: readonly string[]
}

/** What became of a handoff, read back from whoever serves now. */
export interface Handoff {
  readonly outcome: 'handed-over' | 'kept'
  readonly predecessor: number
  readonly successor: number | null
  readonly sessions: number
  readonly freezeMs: number | null
  /** Why it was kept. */
  readonly reason: Failure | null
}

/** The same for everybody who asked. */
export interface Answer extends Request {
  readonly failure: Failure | null
  /** The daemon that serves after it. */
  readonly daemon: Daemon | null
  readonly handoff: Handoff | null
  /** How many sessions ended by it. */
  readonly ended: number
}

export interface SupervisionInput {
  /** The daemon's name. */
  readonly name: string
  /** The host's version, which a daemon should have. */
  readonly wanted: string
  /** Whether an older daemon is replaced without being asked. */
  readonly autoUpdate: boolean
}

export interface SupervisionContext extends SupervisionInput {
  readonly daemon: Daemon | null
  /** What is carried out now. */
  readonly current: Request | null
  /** What comes after it, in the order it was asked for; each wish once. */
  readonly waiting: readonly Request[]
  /** The newest, oldest first. */
  readonly answers: readonly Answer[]
  /** Sessions that `current` has ended so far. */
  readonly ended: number
  /** Why nothing is known of it, or why it is not there. */
  readonly failure: Failure | null
  /** An update to `wanted` that ended with the old daemon; not tried again without being asked. */
  readonly kept: { readonly wanted: string; readonly failure: Failure } | null
  /** How often in a row it could not be learned whether one is there. */
  readonly misses: number
  /** The configuration does not name it any more; it is let go as soon as nothing is under way. */
  readonly releasing: boolean
}

export type SupervisionEvent =
  | { readonly type: Wish; readonly id: string }
  | { readonly type: 'expect'; readonly wanted: string; readonly autoUpdate: boolean }
  | { readonly type: 'release' }

export type SupervisionNotice =
  | { readonly type: 'daemon.started'; readonly name: string; readonly daemon: Daemon }
  | { readonly type: 'daemon.updated'; readonly name: string; readonly handoff: Handoff; readonly daemon: Daemon }
  | { readonly type: 'daemon.updateFailed'; readonly name: string; readonly wanted: string; readonly failure: Failure }
  | { readonly type: 'daemon.lost'; readonly name: string; readonly daemon: Daemon }
  | { readonly type: 'daemon.unclear'; readonly name: string; readonly failure: Failure }
  | { readonly type: 'daemon.stopped'; readonly name: string; readonly ended: number }

const answersKept = 32

/** Who asks for what is asked for already gets the same answer. */
function joined(requests: readonly Request[], { wish, ids }: Request): readonly Request[] {
  const same = requests.find((request) => request.wish === wish)
  if (same === undefined) return [...requests, { wish, ids }]
  return requests.map((request) => (request === same ? { wish, ids: [...same.ids, ...ids] } : request))
}

/** After a stop nothing that was asked for earlier could still be meant. */
function isStopping({ current, waiting }: SupervisionContext): boolean {
  return current?.wish === 'stop' || waiting.some(({ wish }) => wish === 'stop')
}

function taken(context: SupervisionContext, { type: wish, id }: { type: Wish; id: string }) {
  const { name, current, waiting } = context
  const request = { wish, ids: [id] }
  if (isStopping(context) && wish !== 'stop')
    return { answers: answered(context, request, { failure: stopping(name) }) }
  if (current?.wish === wish) return { current: joined([current], request)[0]! }
  return { waiting: joined(waiting, request) }
}

function answered(
  { answers, daemon }: SupervisionContext,
  request: Request,
  answer: Partial<Omit<Answer, keyof Request>>,
): readonly Answer[] {
  // An update that nobody asked for is told by its notice alone.
  if (request.ids.length === 0) return answers
  const whole = { ...request, failure: null, daemon, handoff: null, ended: 0, ...answer }
  return [...answers, whole].slice(-answersKept)
}

/** A successor that is still too old must not be replaced over and over. */
function keptBy({ reason }: Handoff, { standing, version }: Daemon, wanted: string): SupervisionContext['kept'] {
  if (reason !== null) return { wanted, failure: reason }
  if (standing !== 'older') return null
  const message = `the daemon that took over is ${version}, not ${wanted}`
  return { wanted, failure: { name: 'InstarError', code: 'HANDOFF_FAILED', message } }
}

const stopping = (name: string): Failure => ({
  name: 'InstarError',
  code: 'DAEMON_STOPPING',
  message: `the daemon ${name} is being stopped`,
})

const notRunning = (name: string): Failure => ({
  name: 'InstarError',
  code: 'DAEMON_NOT_RUNNING',
  message: `no daemon ${name} runs`,
})

const located = (event: unknown) => (event as { output: Daemon | null }).output

const updateIn = (event: unknown) => (event as { output: { handoff: Handoff; daemon: Daemon } }).output

const aboutDaemon = ({ context: { name, daemon } }: { context: SupervisionContext }) => ({ name, daemon: daemon! })

/** Nothing is under way, but what is there has to be found out first. */
const begins = (target: 'locating' | 'attending') =>
  ({
    update: { target, actions: 'take' },
    restart: { target, actions: 'take' },
    stop: { target, actions: 'take' },
  }) as const

/**
 * Daemon supervision: the controller's side of one session daemon, by name. It adopts the one that runs or starts one,
 * compares its version with the host's, updates it by handoff, and stops it only when a person asks.
 *
 * Wishes: `start`, `update`, `restart` and `stop` carry an id and are answered in `answers`. They are carried out one
 * after the other, in the order they were asked for; who asks for what is asked for already gets the same answer. A
 * `restart` or `stop` during an update waits until the update has ended. While a `stop` is wanted, everything else is
 * refused with `DAEMON_STOPPING`.
 *
 * Invariants
 *   - No session is ended unless a person asked for `restart` or `stop`.
 *   - An update that failed leaves the old daemon, and is tried again only when a person asks or the host is another.
 *   - Not knowing whether a daemon runs is neither `running` nor `absent`; nothing is started then.
 *   - The only end is `released`, and it leaves the daemon as it is.
 */
export const daemonSupervision = setup({
  types: {
    input: {} as SupervisionInput,
    context: {} as SupervisionContext,
    events: {} as SupervisionEvent,
    emitted: {} as SupervisionNotice,
    tags: {} as 'running' | 'busy',
  },
  actors: {
    locate: effect<{ name: string; last: Daemon | null }, Daemon | null>(),
    start: effect<{ name: string }, Daemon>(),
    watch: effect<{ name: string; daemon: Daemon }, { end: 'lost' | 'handed-over' }>(),
    update: effect<{ name: string; daemon: Daemon }, { handoff: Handoff; daemon: Daemon }>(),
    stop: effect<{ name: string; daemon: Daemon }, { ended: number }>(),
  },
  guards: {
    isReleasing: ({ context: { releasing } }) => releasing,
    isThere: ({ context: { daemon } }) => daemon !== null,
    noneWaits: ({ context: { waiting } }) => waiting.length === 0,
    nextIsMet: ({ context: { waiting, daemon } }) =>
      daemon === null ? waiting[0]?.wish === 'stop' || waiting[0]?.wish === 'update' : waiting[0]?.wish === 'start',
    nextStarts: ({ context: { waiting, daemon } }) => waiting.length > 0 && daemon === null,
    nextUpdates: ({ context: { waiting } }) => waiting[0]?.wish === 'update',
    nextStops: ({ context: { waiting } }) => waiting[0]?.wish === 'restart' || waiting[0]?.wish === 'stop',
    isRestart: ({ context: { current } }) => current?.wish === 'restart',
    isOlder: ({ context: { daemon } }) => daemon!.standing === 'older',
    isDue: ({ context: { autoUpdate, daemon, kept, wanted } }) =>
      autoUpdate && daemon?.standing === 'older' && kept?.wanted !== wanted,
    wasKept: ({ context: { daemon, kept, wanted } }) => daemon!.standing === 'older' && kept?.wanted === wanted,
    updateKeptOld: ({ event }) => updateIn(event).handoff.outcome === 'kept',
    wasLost: ({ event }) => (event as unknown as { output: { end: string } }).output.end === 'lost',
  },
  actions: {
    take: assign(({ context, event }) => taken(context, event as { type: Wish; id: string })),
    answerAtOnce: assign({
      answers: ({ context, event }) => answered(context, { wish: 'start', ids: [(event as { id: string }).id] }, {}),
    }),
    keepExpectation: assign(({ event }) => {
      const { wanted, autoUpdate } = event as { wanted: string; autoUpdate: boolean }
      return { wanted, autoUpdate, releasing: false }
    }),
    keepRelease: assign({ releasing: true }),
    keepLocated: assign({ daemon: ({ event }) => located(event), failure: null, misses: 0 }),
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    countMiss: assign({ misses: ({ context: { misses } }) => misses + 1 }),
    answerNextAtOnce: assign(({ context }) => {
      const [next, ...waiting] = context.waiting
      const { wish } = next!
      const failure = wish === 'update' ? notRunning(context.name) : null
      return { waiting, answers: answered(context, next!, { failure }) }
    }),
    beginNext: assign(({ context: { waiting } }) => ({ current: waiting[0]!, waiting: waiting.slice(1), ended: 0 })),
    beginUpdate: assign({ current: { wish: 'update', ids: [] }, ended: 0 }),
    refuseAll: assign(({ context, event }) => {
      const failure = failureOf(event as { error?: unknown })
      const answers = context.waiting.reduce(
        (given, request) => answered({ ...context, answers: given, daemon: null }, request, { failure }),
        context.answers,
      )
      return { answers, waiting: [] }
    }),
    conclude: assign(({ context }) => ({
      current: null,
      answers: answered(context, context.current!, { ended: context.ended }),
    })),
    concludeUpdate: assign(({ context, event }) => {
      const { handoff, daemon } = updateIn(event)
      const { wanted, current } = context
      return {
        daemon,
        current: null,
        kept: keptBy(handoff, daemon, wanted),
        answers: answered({ ...context, daemon }, current!, { handoff }),
      }
    }),
    concludeFailed: assign(({ context, event }) => ({
      current: null,
      answers: answered(context, context.current!, {
        failure: failureOf(event as { error?: unknown }),
        ended: context.ended,
      }),
    })),
    blameUpdate: assign({
      kept: ({ context: { wanted }, event }) => ({ wanted, failure: failureOf(event as { error?: unknown }) }),
    }),
    countEnded: assign({
      ended: ({ event }) => (event as unknown as { output: { ended: number } }).output.ended,
      daemon: null,
    }),
    announceStarted: emit(({ context: { name, daemon } }) => ({
      type: 'daemon.started' as const,
      name,
      daemon: daemon!,
    })),
    announceUpdated: emit(({ context: { name }, event }) => ({
      type: 'daemon.updated' as const,
      name,
      ...updateIn(event),
    })),
    announceUpdateFailed: emit(({ context: { name, kept } }) => ({
      type: 'daemon.updateFailed' as const,
      name,
      ...kept!,
    })),
    announceLost: emit(({ context: { name, daemon } }) => ({
      type: 'daemon.lost' as const,
      name,
      daemon: daemon!,
    })),
    announceUnclear: emit(({ context: { name, failure } }) => ({
      type: 'daemon.unclear' as const,
      name,
      failure: failure!,
    })),
    announceStopped: emit(({ context: { name, ended } }) => ({
      type: 'daemon.stopped' as const,
      name,
      ended,
    })),
  },
  delays: {
    retryDelay: ({ context: { misses } }) => Math.min(1_000 * 2 ** misses, 300_000),
  },
}).createMachine({
  id: 'daemon-supervision',
  version: '1',
  description:
    "The controller's side of one session daemon: adopts or starts it, updates it, and stops it only when asked.",
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    name: input?.name ?? '',
    wanted: input?.wanted ?? '',
    autoUpdate: input?.autoUpdate ?? false,
    daemon: null,
    current: null,
    waiting: [],
    answers: [],
    ended: 0,
    failure: null,
    kept: null,
    misses: 0,
    releasing: false,
  }),
  // Where nothing else is said a wish waits for what is under way.
  on: {
    start: { actions: 'take' },
    update: { actions: 'take' },
    restart: { actions: 'take' },
    stop: { actions: 'take' },
    expect: { actions: 'keepExpectation' },
    release: { actions: 'keepRelease' },
  },
  initial: 'locating',
  states: {
    locating: {
      description:
        'Whether one answers, and what it says of itself. One whose keeper lives is given time to come back.',
      tags: 'busy',
      invoke: {
        id: 'locate',
        src: 'locate',
        input: ({ context: { name, daemon } }) => ({ name, last: daemon }),
        onDone: { target: 'attending', actions: 'keepLocated' },
        onError: { target: 'unclear', actions: ['keepFailure', 'refuseAll'] },
      },
    },
    unclear: {
      description: 'It could not be learned whether one is there. Asked again after a while, or when a person asks.',
      entry: ['countMiss', 'announceUnclear'],
      on: {
        ...begins('locating'),
        start: { target: 'locating', actions: 'take' },
        expect: { target: 'locating', actions: 'keepExpectation' },
        release: 'released',
      },
      always: { guard: 'isReleasing', target: 'released' },
      after: { retryDelay: 'locating' },
    },
    attending: {
      description: 'One wish after the other, and then what there is.',
      tags: 'busy',
      always: [
        { guard: 'nextIsMet', target: 'attending', reenter: true, actions: 'answerNextAtOnce' },
        { guard: 'nextStarts', target: 'starting', actions: 'beginNext' },
        { guard: 'nextUpdates', target: 'updating', actions: 'beginNext' },
        { guard: 'nextStops', target: 'stopping', actions: 'beginNext' },
        { guard: 'isReleasing', target: 'released' },
        { guard: 'isDue', target: 'updating', actions: 'beginUpdate' },
        { guard: 'isThere', target: 'running' },
        { target: 'absent' },
      ],
    },
    absent: {
      description: 'A wish looks again first.',
      on: {
        ...begins('locating'),
        start: { target: 'locating', actions: 'take' },
        release: 'released',
      },
    },
    running: {
      description: 'Only a person updates one that is outdated, or that an update was tried on and failed.',
      tags: 'running',
      on: {
        ...begins('attending'),
        start: { actions: 'answerAtOnce' },
        expect: { target: 'locating', actions: 'keepExpectation' },
        release: 'released',
      },
      invoke: {
        id: 'watch',
        src: 'watch',
        input: aboutDaemon,
        onDone: [{ guard: 'wasLost', target: 'locating', actions: 'announceLost' }, { target: 'locating' }],
        onError: { target: 'unclear', actions: 'keepFailure' },
      },
      initial: 'comparing',
      states: {
        comparing: {
          always: [
            { guard: 'wasKept', target: 'keptOld' },
            { guard: 'isOlder', target: 'outdated' },
            { target: 'upToDate' },
          ],
        },
        upToDate: {},
        outdated: {},
        keptOld: {},
      },
    },
    starting: {
      tags: 'busy',
      invoke: {
        id: 'start',
        src: 'start',
        input: ({ context: { name } }) => ({ name }),
        onDone: { target: 'attending', actions: ['keepLocated', 'conclude', 'announceStarted'] },
        onError: { target: 'attending', actions: ['keepFailure', 'concludeFailed'] },
      },
    },
    updating: {
      description: 'The daemon hands over by itself. Whoever serves when it has gone is asked for its version.',
      tags: ['busy', 'running'],
      invoke: {
        id: 'update',
        src: 'update',
        input: aboutDaemon,
        onDone: [
          { guard: 'updateKeptOld', target: 'attending', actions: ['concludeUpdate', 'announceUpdateFailed'] },
          { target: 'attending', actions: ['concludeUpdate', 'announceUpdated'] },
        ],
        // Who serves now is not known, so it is looked for.
        onError: { target: 'locating', actions: ['blameUpdate', 'concludeFailed', 'announceUpdateFailed'] },
      },
    },
    stopping: {
      description: 'A person asked for it: every session ends.',
      tags: 'busy',
      invoke: {
        id: 'stop',
        src: 'stop',
        input: aboutDaemon,
        onDone: [
          { guard: 'isRestart', target: 'starting', actions: ['countEnded', 'announceStopped'] },
          { target: 'attending', actions: ['countEnded', 'conclude', 'announceStopped'] },
        ],
        onError: { target: 'locating', actions: 'concludeFailed' },
      },
    },
    released: {
      description: 'The configuration no longer names it. It goes on by itself.',
      type: 'final',
    },
  },
})
