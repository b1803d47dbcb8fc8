import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'
import { faultOf, type Offer, type ReleaseRef } from './runtime.ts'

/** Everything the gates look at, gathered in one go. Comparisons are made by the effect: versions are text here. */
export interface Evidence {
  /** The offer is not above the version that came with the host. */
  readonly notAboveBundled: boolean
  /** The offer is below the version that the pointer names, or below the highest that was ever committed. */
  readonly belowCommitted: boolean
  /** Why this version must not be used, or null. */
  readonly banned: string | null
  readonly engines: { readonly met: boolean; readonly wanted: string | null; readonly node: string | null }
  /** How long ago this machine first saw the offer. */
  readonly ageMs: number
  /** The pointer names this very version, and its tree is still what was sealed. */
  readonly stagedAndWhole: boolean
  /** The version that would run now. */
  readonly inUse: string | null
}

export type UpdateOutcome =
  | 'staged'
  | 'up-to-date'
  | 'already-staged'
  | 'bad-version'
  | 'engines-incompatible'
  | 'too-young'
  | 'rejected'
  | 'check-failed'
  | 'cancelled'

export interface UpdateResult {
  readonly runtime: string
  readonly outcome: UpdateOutcome
  /** The version that was offered, or null where none was learned. */
  readonly version: string | null
  /** The version in use when the offer was examined. */
  readonly from: string | null
  readonly failure: Failure | null
}

export interface UpdatePolicy {
  readonly engines: 'enforce' | 'warn'
  readonly minimumReleaseAgeMs: number
  /** A person asked for what the channel names, also where it is below what was in use before. */
  readonly allowOlder: boolean
}

export interface UpdateContext {
  readonly runtime: string
  readonly policy: UpdatePolicy
  readonly offer: Offer | null
  readonly evidence: Evidence | null
  readonly draft: string | null
  readonly release: ReleaseRef | null
  readonly failure: Failure | null
  readonly outcome: UpdateOutcome
}

export type UpdateNotice =
  | {
      readonly type: 'runtime.staged'
      readonly runtime: string
      readonly version: string
      readonly from: string | null
    }
  | {
      readonly type: 'runtime.rejected'
      readonly runtime: string
      readonly version: string | null
      readonly failure: Failure
    }
  | { readonly type: 'runtime.banned'; readonly runtime: string; readonly version: string; readonly failure: Failure }

/**
 * Runtime update: puts the newest acceptable version of one runtime beside the one in use and points the next launch at
 * it, or changes nothing and says why.
 *
 * Commit point: the pointer, inside `activate`. An error from `activate` does not say on which side of it the failure
 * happened, so `confirming` reads the pointer back and believes that.
 *
 * Invariants
 *   - The release that is in use is never touched.
 *   - The pointer only ever names a release that was sealed, started, probed and stopped.
 *   - Every end but `staged` leaves no draft and no new release behind; what could not be removed is swept later.
 *   - A failure of the world (network, disk, port) ends in `checkFailed` and strikes nobody.
 */
export const runtimeUpdate = setup({
  types: {
    input: {} as { runtime: string; policy: UpdatePolicy },
    context: {} as UpdateContext,
    events: {} as { type: 'cancel' },
    output: {} as UpdateResult,
    emitted: {} as UpdateNotice,
  },
  actors: {
    resolve: effect<{ runtime: string }, Offer>(),
    examine: effect<{ runtime: string; offer: Offer }, Evidence>(),
    fetch: effect<{ runtime: string; offer: Offer }, { draft: string }>(),
    verify: effect<{ runtime: string; offer: Offer; draft: string }, void>(),
    seal: effect<{ runtime: string; offer: Offer; draft: string }, ReleaseRef>(),
    qualify: effect<{ runtime: string; release: ReleaseRef }, { readyMs: number }>(),
    activate: effect<{ runtime: string; release: ReleaseRef; allowOlder: boolean }, void>(),
    readPointer: effect<{ runtime: string }, { current: ReleaseRef | null }>(),
    prune: effect<{ runtime: string }, void>(),
    strike: effect<{ runtime: string; version: string; reason: string }, { banned: boolean }>(),
    discard: effect<{ runtime: string; draft: string | null; release: ReleaseRef | null }, void>(),
  },
  guards: {
    upToDate: ({ context: { evidence, policy } }) =>
      evidence!.notAboveBundled || (evidence!.belowCommitted && !policy.allowOlder),
    banned: ({ context: { evidence } }) => evidence!.banned !== null,
    enginesUnmet: ({ context: { evidence, policy } }) => policy.engines === 'enforce' && !evidence!.engines.met,
    tooYoung: ({ context: { evidence, policy } }) => evidence!.ageMs < policy.minimumReleaseAgeMs,
    stagedAndWhole: ({ context: { evidence } }) => evidence!.stagedAndWhole,
    versionAtFault: ({ context: { offer, failure } }) => offer !== null && faultOf(failure) === 'version',
    offerRefused: ({ context: { failure } }) => faultOf(failure) === 'refused',
    pointsAtRelease: ({ context: { release }, event }) => {
      const { current } = (event as unknown as { output: { current: ReleaseRef | null } }).output
      return current?.version === release!.version && current.digest === release!.digest
    },
    isBannedNow: ({ event }) => (event as unknown as { output: { banned: boolean } }).output.banned,
    wasCancelled: ({ context: { outcome } }) => outcome === 'cancelled',
    wasRejected: ({ context: { outcome } }) => outcome === 'rejected',
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    conclude: assign({ outcome: (_, params: { outcome: UpdateOutcome }) => params.outcome }),
    announceStaged: emit(({ context: { runtime, release, evidence } }) => ({
      type: 'runtime.staged' as const,
      runtime,
      version: release!.version,
      from: evidence!.inUse,
    })),
    announceRejected: emit(({ context: { runtime, offer, failure } }) => ({
      type: 'runtime.rejected' as const,
      runtime,
      version: offer?.version ?? null,
      failure: failure!,
    })),
    announceBanned: emit(({ context: { runtime, offer, failure } }) => ({
      type: 'runtime.banned' as const,
      runtime,
      version: offer!.version,
      failure: failure!,
    })),
  },
}).createMachine({
  id: 'runtime-update',
  version: '1',
  description:
    'Puts the newest acceptable version beside the one in use and points the next launch at it, or says why not.',
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    runtime: input?.runtime ?? '',
    policy: input?.policy ?? { engines: 'enforce', minimumReleaseAgeMs: 0, allowOlder: false },
    offer: null,
    evidence: null,
    draft: null,
    release: null,
    failure: null,
    outcome: 'check-failed',
  }),
  output: ({ context: { runtime, outcome, offer, evidence, failure } }) => ({
    runtime,
    outcome,
    version: offer?.version ?? null,
    from: evidence?.inUse ?? null,
    failure,
  }),
  initial: 'resolving',
  states: {
    resolving: {
      description: 'Asks the registry, with one conditional request, which version the channel names.',
      on: { cancel: 'cancelled' },
      invoke: {
        id: 'resolve',
        src: 'resolve',
        input: ({ context: { runtime } }) => ({ runtime }),
        onDone: { target: 'examining', actions: assign({ offer: ({ event }) => event.output }) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    examining: {
      on: { cancel: 'cancelled' },
      invoke: {
        id: 'examine',
        src: 'examine',
        input: ({ context: { runtime, offer } }) => ({ runtime, offer: offer! }),
        onDone: { target: 'gating', actions: assign({ evidence: ({ event }) => event.output }) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    gating: {
      description: 'The gates in their order; the first that holds decides.',
      always: [
        { guard: 'upToDate', target: 'upToDate' },
        { guard: 'banned', target: 'badVersion' },
        { guard: 'enginesUnmet', target: 'enginesIncompatible' },
        { guard: 'tooYoung', target: 'tooYoung' },
        { guard: 'stagedAndWhole', target: 'alreadyStaged' },
        { target: 'fetching' },
      ],
    },
    fetching: {
      on: { cancel: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'cancelled' } } } },
      invoke: {
        id: 'fetch',
        src: 'fetch',
        input: ({ context: { runtime, offer } }) => ({ runtime, offer: offer! }),
        onDone: { target: 'verifying', actions: assign({ draft: ({ event }) => event.output.draft }) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    verifying: {
      description: 'Signatures, the unpacked tree, its manifest, its entry, the provided packages, native modules.',
      on: { cancel: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'cancelled' } } } },
      invoke: {
        id: 'verify',
        src: 'verify',
        input: ({ context: { runtime, offer, draft } }) => ({ runtime, offer: offer!, draft: draft! }),
        onDone: 'sealing',
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    sealing: {
      invoke: {
        id: 'seal',
        src: 'seal',
        input: ({ context: { runtime, offer, draft } }) => ({ runtime, offer: offer!, draft: draft! }),
        onDone: { target: 'qualifying', actions: assign({ release: ({ event }) => event.output }) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    qualifying: {
      description: 'Starts the sealed release on a spare port, probes it, stops it.',
      on: { cancel: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'cancelled' } } } },
      invoke: {
        id: 'qualify',
        src: 'qualify',
        input: ({ context: { runtime, release } }) => ({ runtime, release: release! }),
        onDone: 'activating',
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    activating: {
      description: 'No `cancel` here: the pointer may already have moved.',
      invoke: {
        id: 'activate',
        src: 'activate',
        input: ({ context: { runtime, release, policy } }) => ({
          runtime,
          release: release!,
          allowOlder: policy.allowOlder,
        }),
        onDone: 'pruning',
        onError: { target: 'confirming', actions: 'keepFailure' },
      },
    },
    confirming: {
      invoke: {
        id: 'readPointer',
        src: 'readPointer',
        input: ({ context: { runtime } }) => ({ runtime }),
        onDone: [
          { guard: 'pointsAtRelease', target: 'pruning', actions: assign({ failure: null }) },
          { target: 'discarding' },
        ],
        // Not knowing where the pointer is, nothing may be thrown away.
        onError: 'checkFailed',
      },
    },
    pruning: {
      description: 'The new release is in service whether or not old ones could be removed.',
      invoke: {
        id: 'prune',
        src: 'prune',
        input: ({ context: { runtime } }) => ({ runtime }),
        onDone: 'staged',
        onError: 'staged',
      },
    },
    sorting: {
      description: 'Who is to blame: the version, the offer, or the world around it.',
      always: [
        { guard: 'versionAtFault', target: 'striking', actions: { type: 'conclude', params: { outcome: 'rejected' } } },
        { guard: 'offerRefused', target: 'discarding', actions: { type: 'conclude', params: { outcome: 'rejected' } } },
        { target: 'discarding' },
      ],
    },
    striking: {
      invoke: {
        id: 'strike',
        src: 'strike',
        input: ({ context: { runtime, offer, failure } }) => ({
          runtime,
          version: offer!.version,
          reason: failure!.message,
        }),
        onDone: [{ guard: 'isBannedNow', target: 'discarding', actions: 'announceBanned' }, { target: 'discarding' }],
        // Unbanned, the version is merely proven bad again at the next check.
        onError: 'discarding',
      },
    },
    discarding: {
      invoke: {
        id: 'discard',
        src: 'discard',
        input: ({ context: { runtime, draft, release } }) => ({ runtime, draft, release }),
        onDone: 'discarded',
        // What could not be removed now is nobody's, so the next sweep takes it.
        onError: 'discarded',
      },
    },
    discarded: {
      always: [
        { guard: 'wasCancelled', target: 'cancelled' },
        { guard: 'wasRejected', target: 'rejected' },
        { target: 'checkFailed' },
      ],
    },
    staged: {
      type: 'final',
      entry: [{ type: 'conclude', params: { outcome: 'staged' } }, 'announceStaged'],
    },
    upToDate: { type: 'final', entry: { type: 'conclude', params: { outcome: 'up-to-date' } } },
    alreadyStaged: { type: 'final', entry: { type: 'conclude', params: { outcome: 'already-staged' } } },
    badVersion: { type: 'final', entry: { type: 'conclude', params: { outcome: 'bad-version' } } },
    enginesIncompatible: { type: 'final', entry: { type: 'conclude', params: { outcome: 'engines-incompatible' } } },
    tooYoung: { type: 'final', entry: { type: 'conclude', params: { outcome: 'too-young' } } },
    rejected: { type: 'final', entry: 'announceRejected' },
    checkFailed: { type: 'final', entry: { type: 'conclude', params: { outcome: 'check-failed' } } },
    cancelled: { type: 'final', entry: { type: 'conclude', params: { outcome: 'cancelled' } } },
  },
})
