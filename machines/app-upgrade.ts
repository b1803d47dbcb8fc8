import { assign, emit, setup } from 'xstate'
import type { AppRelease, InstanceOutcome } from './app.ts'
import { effect, type Failure, failureOf } from './effect.ts'
import type { PackageOffer } from './package.ts'
import { faultOf, type ReleaseRef } from './runtime.ts'

export interface UpgradePolicy {
  /** How many workspaces are replaced at the same time. */
  readonly parallel: number
  /** Once more than this part of the workspaces has failed, every one goes back. 1: none ever does. */
  readonly rollbackWhenFailed: number
}

export interface UpgradeInput {
  readonly app: string
  /** A dist-tag, a range, an exact version, or where the bytes are; null for the version that the organisation had before. */
  readonly wanted: string | null
  readonly policy: UpgradePolicy
}

/** A workspace that runs another version than the one that is wanted. */
export interface Behind {
  readonly workspace: string
  readonly from: AppRelease
}

/** What became of one workspace. */
export interface WorkspaceResult extends Behind {
  readonly outcome: InstanceOutcome
  readonly failure: Failure | null
}

/**
 * `upgraded`: everywhere. `partly`: some have kept what they had, or are dead. `returned`: too many failed, or it was
 * cancelled on the way, and those that had been upgraded went back. `blocked`: the way back failed, too.
 */
export type UpgradeOutcome =
  | 'upgraded'
  | 'current'
  | 'partly'
  | 'returned'
  | 'blocked'
  | 'rejected'
  | 'failed'
  | 'cancelled'

export interface UpgradeResult {
  readonly app: string
  readonly outcome: UpgradeOutcome
  /** The organisation's version before. */
  readonly from: string | null
  readonly to: string | null
  readonly workspaces: readonly WorkspaceResult[]
  readonly failure: Failure | null
  readonly returnFailure: Failure | null
}

export interface UpgradeContext extends UpgradeInput {
  readonly offer: PackageOffer | null
  readonly draft: string | null
  /** Of what was fetched. */
  readonly integrity: string | null
  readonly release: AppRelease | null
  /** What the organisation had before. */
  readonly before: ReleaseRef | null
  /** Who is still to be upgraded. */
  readonly behind: readonly Behind[]
  readonly results: readonly WorkspaceResult[]
  /** New installs adopt it from here on. */
  readonly isRaised: boolean
  readonly isCancelled: boolean
  readonly failure: Failure | null
  readonly returnFailure: Failure | null
  readonly outcome: UpgradeOutcome
}

export interface UpgradeNotice {
  readonly type: 'app.raised' | 'app.returned' | 'app.blocked'
  readonly app: string
  readonly from: string | null
  readonly to: string
  readonly failure: Failure | null
}

type Fetched = {
  readonly app: string
  readonly offer: PackageOffer
  readonly draft: string
  readonly integrity: string
}

const fetched = ({ context: { app, offer, draft, integrity } }: { context: UpgradeContext }): Fetched => ({
  app,
  offer: offer!,
  draft: draft!,
  integrity: integrity!,
})

const hasFailed = ({ outcome }: WorkspaceResult) => outcome === 'kept' || outcome === 'dead'

const notice = (type: UpgradeNotice['type'], { app, before, release, failure }: UpgradeContext): UpgradeNotice => ({
  type,
  app,
  from: before?.version ?? null,
  to: release!.version,
  failure,
})

/**
 * App upgrade: raises an app's version for the organisation, and carries it into every workspace that has the app, a few
 * at a time; or leaves every workspace with the version it had.
 *
 * Commit point: `raising`, where the organisation's pointer moves. Workspaces that were upgraded before it are taken back
 * when it is not reached. What runs in a workspace is decided by that workspace's own machine; this one asks it.
 *
 * Invariants
 *   - The bytes are fetched and judged once, before any workspace is touched.
 *   - A workspace whose new version does not come up keeps the old one, and its result says so.
 *   - Who is behind is looked at anew until nobody is: also one that was added on the way ends with the new version.
 *   - The ends are `current`, `settled`, `returned`, `blocked`, `rejected`, `failed` and `cancelled`.
 */
export const appUpgrade = setup({
  types: {
    input: {} as UpgradeInput,
    context: {} as UpgradeContext,
    events: {} as { type: 'cancel' },
    output: {} as UpgradeResult,
    emitted: {} as UpgradeNotice,
  },
  actors: {
    resolve: effect<{ app: string; wanted: string }, PackageOffer>(),
    look: effect<{ app: string; offer: PackageOffer }, { before: ReleaseRef | null; release: AppRelease | null }>(),
    lookBack: effect<{ app: string }, { before: ReleaseRef; release: AppRelease }>(),
    fetch: effect<{ app: string; offer: PackageOffer }, { draft: string; integrity: string }>(),
    gate: effect<Fetched, void>(),
    seal: effect<Fetched, AppRelease>(),
    plan: effect<{ app: string; release: AppRelease; except: readonly string[] }, readonly Behind[]>(),
    roll: effect<{ app: string; release: AppRelease; behind: readonly Behind[] }, readonly WorkspaceResult[]>(),
    raise: effect<{ app: string; release: AppRelease }, void>(),
    prune: effect<{ app: string }, void>(),
    goBack: effect<
      { app: string; before: ReleaseRef | null; results: readonly WorkspaceResult[]; parallel: number },
      readonly WorkspaceResult[]
    >(),
    discard: effect<{ app: string; draft: string | null }, void>(),
  },
  guards: {
    isRollback: ({ context: { wanted } }) => wanted === null,
    isProven: ({ event }) => (event as unknown as { output: { release: AppRelease | null } }).output.release !== null,
    isDone: ({ context: { behind } }) => behind.length === 0,
    isCurrent: ({ context: { behind, before, release, results } }) =>
      behind.length === 0 &&
      results.length === 0 &&
      before?.version === release!.version &&
      before.digest === release!.digest,
    isRaised: ({ context: { isRaised, behind } }) => isRaised && behind.length === 0,
    isGivenUp: ({ context: { isCancelled, behind, results, policy } }) =>
      isCancelled || results.filter(hasFailed).length > policy.rollbackWhenFailed * (results.length + behind.length),
    offerAtFault: ({ context: { failure } }) => faultOf(failure) !== 'environment',
    wasCancelled: ({ context: { isCancelled } }) => isCancelled,
    wasRejected: ({ context: { outcome } }) => outcome === 'rejected',
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    keepReturnFailure: assign({ returnFailure: ({ event }) => failureOf(event as { error?: unknown }) }),
    keepCancelled: assign({ isCancelled: true }),
    // Of a workspace that was removed meanwhile there is nothing to tell.
    keepResults: assign(({ context: { results, behind, policy }, event }) => ({
      results: [...results, ...(event as unknown as { output: readonly WorkspaceResult[] }).output],
      behind: behind.slice(policy.parallel),
    })),
    conclude: assign({ outcome: (_, params: { outcome: UpgradeOutcome }) => params.outcome }),
    concludeSettled: assign({
      outcome: ({ context: { results } }) => (results.some(hasFailed) ? ('partly' as const) : ('upgraded' as const)),
    }),
    announceRaised: emit(({ context }) => notice('app.raised', context)),
    announceReturned: emit(({ context }) => notice('app.returned', context)),
    announceBlocked: emit(({ context }) => notice('app.blocked', context)),
  },
}).createMachine({
  id: 'app-upgrade',
  version: '1',
  description:
    "Raises an app's version for the organisation and carries it into every workspace; or leaves each with what it had.",
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    app: input?.app ?? '',
    wanted: input?.wanted ?? null,
    policy: input?.policy ?? { parallel: 1, rollbackWhenFailed: 1 },
    offer: null,
    draft: null,
    integrity: null,
    release: null,
    before: null,
    behind: [],
    results: [],
    isRaised: false,
    isCancelled: false,
    failure: null,
    returnFailure: null,
    outcome: 'failed',
  }),
  output: ({ context: { app, outcome, before, offer, release, results, failure, returnFailure } }) => ({
    app,
    outcome,
    from: before?.version ?? null,
    to: release?.version ?? offer?.version ?? null,
    workspaces: results,
    failure,
    returnFailure,
  }),
  initial: 'choosing',
  states: {
    choosing: {
      always: [{ guard: 'isRollback', target: 'lookingBack' }, { target: 'resolving' }],
    },
    lookingBack: {
      description: 'The version that the organisation had before: it has to be there and whole.',
      on: { cancel: 'cancelled' },
      invoke: {
        id: 'lookBack',
        src: 'lookBack',
        input: ({ context: { app } }) => ({ app }),
        onDone: { target: 'planning', actions: assign(({ event }) => event.output) },
        onError: { target: 'failed', actions: 'keepFailure' },
      },
    },
    resolving: {
      on: { cancel: 'cancelled' },
      invoke: {
        id: 'resolve',
        src: 'resolve',
        input: ({ context: { app, wanted } }) => ({ app, wanted: wanted! }),
        onDone: { target: 'looking', actions: assign({ offer: ({ event }) => event.output }) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    looking: {
      description: 'What the organisation has, and whether this version was proven before.',
      on: { cancel: 'cancelled' },
      invoke: {
        id: 'look',
        src: 'look',
        input: ({ context: { app, offer } }) => ({ app, offer: offer! }),
        onDone: [
          { guard: 'isProven', target: 'planning', actions: assign(({ event }) => event.output) },
          { target: 'fetching', actions: assign({ before: ({ event }) => event.output.before }) },
        ],
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    fetching: {
      description: 'Once for all workspaces.',
      on: { cancel: { target: 'discarding', actions: 'keepCancelled' } },
      invoke: {
        id: 'fetch',
        src: 'fetch',
        input: ({ context: { app, offer } }) => ({ app, offer: offer! }),
        onDone: { target: 'gating', actions: assign(({ event }) => event.output) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    gating: {
      description: 'Signatures, the tree, what it needs, and the manifest against what this host can do.',
      on: { cancel: { target: 'discarding', actions: 'keepCancelled' } },
      invoke: {
        id: 'gate',
        src: 'gate',
        input: fetched,
        onDone: 'sealing',
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    sealing: {
      on: { cancel: { target: 'discarding', actions: 'keepCancelled' } },
      invoke: {
        id: 'seal',
        src: 'seal',
        input: fetched,
        onDone: { target: 'planning', actions: assign({ release: ({ event }) => event.output }) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    planning: {
      description: 'Who has the app and runs another version. Looked at anew, since workspaces come and go meanwhile.',
      on: { cancel: { actions: 'keepCancelled' } },
      invoke: {
        id: 'plan',
        src: 'plan',
        input: ({ context: { app, release, results } }) => ({
          app,
          release: release!,
          except: results.map(({ workspace }) => workspace),
        }),
        onDone: { target: 'weighing', actions: assign({ behind: ({ event }) => event.output }) },
        onError: { target: 'goingBack', actions: 'keepFailure' },
      },
    },
    weighing: {
      description: 'Whether it goes on.',
      always: [
        { guard: 'isGivenUp', target: 'goingBack' },
        { guard: 'isCurrent', target: 'current' },
        { guard: 'isRaised', target: 'pruning' },
        { guard: 'isDone', target: 'raising' },
        { target: 'rolling' },
      ],
    },
    rolling: {
      // The next few; a cancellation waits until they have an end.
      on: { cancel: { actions: 'keepCancelled' } },
      invoke: {
        id: 'roll',
        src: 'roll',
        input: ({ context: { app, release, behind, policy } }) => ({
          app,
          release: release!,
          behind: behind.slice(0, policy.parallel),
        }),
        onDone: { target: 'weighing', actions: 'keepResults' },
        onError: { target: 'goingBack', actions: 'keepFailure' },
      },
    },
    raising: {
      description: 'New installs have this version from here on.',
      invoke: {
        id: 'raise',
        src: 'raise',
        input: ({ context: { app, release } }) => ({ app, release: release! }),
        onDone: { target: 'planning', actions: [assign({ isRaised: true }), 'announceRaised'] },
        onError: { target: 'goingBack', actions: 'keepFailure' },
      },
    },
    pruning: {
      description: 'It is done whether or not old versions could be removed.',
      invoke: {
        id: 'prune',
        src: 'prune',
        input: ({ context: { app } }) => ({ app }),
        onDone: 'settled',
        onError: 'settled',
      },
    },
    goingBack: {
      description: 'Every workspace that was upgraded has its version before again, and so has the organisation.',
      invoke: {
        id: 'goBack',
        src: 'goBack',
        input: ({ context: { app, before, results, policy } }) => ({
          app,
          before,
          results,
          parallel: policy.parallel,
        }),
        onDone: { target: 'returned', actions: assign({ results: ({ event }) => event.output }) },
        onError: { target: 'blocked', actions: 'keepReturnFailure' },
      },
    },
    sorting: {
      description: 'Who is to blame: what was offered, or the world around it.',
      always: [
        {
          guard: 'offerAtFault',
          target: 'discarding',
          actions: { type: 'conclude', params: { outcome: 'rejected' } },
        },
        { target: 'discarding' },
      ],
    },
    discarding: {
      invoke: {
        id: 'discard',
        src: 'discard',
        input: ({ context: { app, draft } }) => ({ app, draft }),
        onDone: 'discarded',
        // What could not be removed now is nobody's, so the next sweep takes it.
        onError: 'discarded',
      },
    },
    discarded: {
      always: [
        { guard: 'wasCancelled', target: 'cancelled' },
        { guard: 'wasRejected', target: 'rejected' },
        { target: 'failed' },
      ],
    },
    settled: { type: 'final', entry: 'concludeSettled' },
    current: { type: 'final', entry: { type: 'conclude', params: { outcome: 'current' } } },
    returned: {
      type: 'final',
      entry: [{ type: 'conclude', params: { outcome: 'returned' } }, 'announceReturned'],
    },
    blocked: {
      type: 'final',
      entry: [{ type: 'conclude', params: { outcome: 'blocked' } }, 'announceBlocked'],
    },
    rejected: { type: 'final' },
    failed: { type: 'final' },
    cancelled: { type: 'final', entry: { type: 'conclude', params: { outcome: 'cancelled' } } },
  },
})
