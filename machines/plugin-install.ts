import { assign, emit, setup } from 'xstate'
import { effect, type Failure, failureOf } from './effect.ts'
import type { PackageOffer } from './package.ts'
import type { Found, Installed, PluginChange } from './plugin.ts'
import { faultOf, type ReleaseRef } from './runtime.ts'

export interface InstallInput {
  readonly plugin: string
  /** As the configuration or the person named it. */
  readonly target: string
  /** What was asked for: a range, a tag, a path. Null: the tree that was live before the one that is. */
  readonly wanted: string | null
}

export type InstallOutcome = 'installed' | 'current' | 'rejected' | 'failed' | 'rolled-back' | 'blocked' | 'cancelled'

export interface InstallResult {
  readonly plugin: string
  readonly target: string
  readonly outcome: InstallOutcome
  readonly version: string | null
  /** What was live before; null where nothing was. */
  readonly from: string | null
  /** What whoever has it loaded has to do now; null where nothing was installed. */
  readonly change: PluginChange | null
  readonly failure: Failure | null
  /** Why what was live before could not be put back. */
  readonly rollBackFailure: Failure | null
}

export interface InstallContext extends InstallInput {
  readonly offer: PackageOffer | null
  readonly draft: string | null
  /** Of what was fetched. */
  readonly integrity: string | null
  readonly release: ReleaseRef | null
  /** What the target had before anything was changed there. */
  readonly before: Found | null
  readonly staged: Installed | null
  readonly change: PluginChange | null
  /** Trees on the target that nobody needs any more. */
  readonly spare: readonly string[]
  readonly failure: Failure | null
  readonly rollBackFailure: Failure | null
  readonly outcome: InstallOutcome
}

export type InstallNotice =
  | {
      readonly type: 'plugin.installed'
      readonly plugin: string
      readonly target: string
      readonly version: string
      readonly from: string | null
      readonly change: PluginChange
    }
  | {
      readonly type: 'plugin.rolledBack' | 'plugin.blocked'
      readonly plugin: string
      readonly target: string
      readonly failure: Failure
      readonly rollBackFailure: Failure | null
    }

type Place = { readonly plugin: string; readonly target: string }

type Fetched = Place & { readonly offer: PackageOffer; readonly draft: string; readonly integrity: string }

const fetched = ({ context: { plugin, target, offer, draft, integrity } }: { context: InstallContext }): Fetched => ({
  plugin,
  target,
  offer: offer!,
  draft: draft!,
  integrity: integrity!,
})

/** What was live before; null where nothing was, or a tree that says of no version that it is one. */
const versionBefore = (before: Found | null) => before?.live?.version || null

/**
 * Plugin install: puts one exact version of a plugin on a target, in place of the one that is live there, or leaves that
 * one live and says why.
 *
 * Commit point: the rename of the live symlink, inside `swap`. Whatever `swap` answers, `marking` reads back through the
 * live path what is there now and believes that.
 *
 * Invariants
 *   - A reader of the live path finds all of the old tree or all of the new one, at any moment.
 *   - The new tree is sealed before it is live; the old one is kept until the new one has been read back.
 *   - Before `snapshotting` nothing that is live, or could be gone back to, has been touched.
 *   - The ends are `installed`, `current`, `rejected`, `failed`, `rolledBack`, `blocked` and `cancelled`; only in
 *     `blocked` does a person have to look at the target.
 */
export const pluginInstall = setup({
  types: {
    input: {} as InstallInput,
    context: {} as InstallContext,
    events: {} as { type: 'cancel' },
    output: {} as InstallResult,
    emitted: {} as InstallNotice,
  },
  actors: {
    resolve: effect<Place & { wanted: string }, PackageOffer>(),
    look: effect<Place & { offer: PackageOffer }, { before: Found; release: ReleaseRef | null }>(),
    lookBack: effect<Place, { before: Found; staged: Installed }>(),
    fetch: effect<Place & { offer: PackageOffer }, { draft: string; integrity: string }>(),
    verify: effect<Fetched, void>(),
    seal: effect<Fetched, ReleaseRef>(),
    stage: effect<Place & { release: ReleaseRef }, Installed>(),
    snapshot: effect<Place & { before: Found; staged: Installed }, void>(),
    swap: effect<Place & { staged: Installed }, void>(),
    readBack: effect<
      Place & { staged: Installed; before: Found },
      { change: PluginChange; spare: readonly string[] }
    >(),
    prune: effect<Place & { spare: readonly string[] }, void>(),
    goBack: effect<Place & { before: Found; staged: Installed }, void>(),
    discard: effect<Place & { draft: string | null; staged: Installed | null; isBegun: boolean }, void>(),
  },
  guards: {
    isRollback: ({ context: { wanted } }) => wanted === null,
    isProven: ({ event }) => (event as unknown as { output: { release: ReleaseRef | null } }).output.release !== null,
    isCurrent: ({ context: { before, release } }) => before!.isWhole && before!.live!.digest === release!.digest,
    isStale: ({ context: { draft }, event }) =>
      draft === null && failureOf(event as { error?: unknown }).code === 'RELEASE_DAMAGED',
    sourceAtFault: ({ context: { failure } }) => faultOf(failure) !== 'environment',
    wasOvertaken: ({ event }) => failureOf(event as { error?: unknown }).code === 'PLUGIN_OVERTAKEN',
    wasCancelled: ({ context: { outcome } }) => outcome === 'cancelled',
    wasRejected: ({ context: { outcome } }) => outcome === 'rejected',
    wasRolledBack: ({ context: { outcome } }) => outcome === 'rolled-back',
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    keepRollBackFailure: assign({ rollBackFailure: ({ event }) => failureOf(event as { error?: unknown }) }),
    conclude: assign({ outcome: (_, params: { outcome: InstallOutcome }) => params.outcome }),
    announceInstalled: emit(({ context: { plugin, target, staged, before, change } }) => ({
      type: 'plugin.installed' as const,
      plugin,
      target,
      version: staged!.version,
      from: versionBefore(before),
      change: change!,
    })),
    announceRolledBack: emit(({ context: { plugin, target, failure } }) => ({
      type: 'plugin.rolledBack' as const,
      plugin,
      target,
      failure: failure!,
      rollBackFailure: null,
    })),
    announceBlocked: emit(({ context: { plugin, target, failure, rollBackFailure } }) => ({
      type: 'plugin.blocked' as const,
      plugin,
      target,
      failure: failure!,
      rollBackFailure,
    })),
  },
}).createMachine({
  id: 'plugin-install',
  version: '1',
  description:
    'Puts one version of a plugin on a target in place of the one that is live there, or leaves that live and says why.',
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    plugin: input?.plugin ?? '',
    target: input?.target ?? '',
    wanted: input?.wanted ?? null,
    offer: null,
    draft: null,
    integrity: null,
    release: null,
    before: null,
    staged: null,
    change: null,
    spare: [],
    failure: null,
    rollBackFailure: null,
    outcome: 'failed',
  }),
  output: ({ context: { plugin, target, outcome, staged, offer, before, change, failure, rollBackFailure } }) => ({
    plugin,
    target,
    outcome,
    version: offer?.version ?? staged?.version ?? null,
    from: versionBefore(before),
    change: outcome === 'installed' ? change : null,
    failure,
    rollBackFailure,
  }),
  initial: 'choosing',
  states: {
    choosing: {
      always: [{ guard: 'isRollback', target: 'lookingBack' }, { target: 'resolving' }],
    },
    lookingBack: {
      description: 'The tree that was live before: it has to be there and whole.',
      on: { cancel: 'cancelled' },
      invoke: {
        id: 'lookBack',
        src: 'lookBack',
        input: ({ context: { plugin, target } }) => ({ plugin, target }),
        onDone: {
          target: 'snapshotting',
          actions: assign({ before: ({ event }) => event.output.before, staged: ({ event }) => event.output.staged }),
        },
        onError: { target: 'failed', actions: 'keepFailure' },
      },
    },
    resolving: {
      description: 'Which exact version is meant, and where its bytes are.',
      on: { cancel: 'cancelled' },
      invoke: {
        id: 'resolve',
        src: 'resolve',
        input: ({ context: { plugin, target, wanted } }) => ({ plugin, target, wanted: wanted! }),
        onDone: { target: 'looking', actions: assign({ offer: ({ event }) => event.output }) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    looking: {
      description:
        'What is live on the target now, and whether this version was proven before. A target that cannot take a plugin is refused before a byte is sent.',
      on: { cancel: 'cancelled' },
      invoke: {
        id: 'look',
        src: 'look',
        input: ({ context: { plugin, target, offer } }) => ({ plugin, target, offer: offer! }),
        onDone: [
          {
            guard: 'isProven',
            target: 'comparing',
            actions: assign(({ event }) => event.output),
          },
          { target: 'fetching', actions: assign({ before: ({ event }) => event.output.before }) },
        ],
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    fetching: {
      on: { cancel: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'cancelled' } } } },
      invoke: {
        id: 'fetch',
        src: 'fetch',
        input: ({ context: { plugin, target, offer } }) => ({ plugin, target, offer: offer! }),
        onDone: { target: 'verifying', actions: assign(({ event }) => event.output) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    verifying: {
      description: 'Signatures, the unpacked tree, its manifest.',
      on: { cancel: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'cancelled' } } } },
      invoke: {
        id: 'verify',
        src: 'verify',
        input: fetched,
        onDone: 'sealing',
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    sealing: {
      description: 'From here on it is a release on this machine.',
      on: { cancel: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'cancelled' } } } },
      invoke: {
        id: 'seal',
        src: 'seal',
        input: fetched,
        onDone: { target: 'comparing', actions: assign({ release: ({ event }) => event.output }) },
        onError: { target: 'sorting', actions: 'keepFailure' },
      },
    },
    comparing: {
      always: [{ guard: 'isCurrent', target: 'current' }, { target: 'staging' }],
    },
    staging: {
      description: 'Puts the tree beside the live one and seals it there, the seal last.',
      on: { cancel: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'cancelled' } } } },
      invoke: {
        id: 'stage',
        src: 'stage',
        input: ({ context: { plugin, target, release } }) => ({ plugin, target, release: release! }),
        onDone: { target: 'snapshotting', actions: assign({ staged: ({ event }) => event.output }) },
        onError: [
          // What was proven before is no longer what it was.
          { guard: 'isStale', target: 'fetching' },
          { target: 'sorting', actions: 'keepFailure' },
        ],
      },
    },
    snapshotting: {
      description: 'Notes on the target what to go back to. Nothing is copied: the live tree itself is kept.',
      invoke: {
        id: 'snapshot',
        src: 'snapshot',
        input: ({ context: { plugin, target, before, staged } }) => ({
          plugin,
          target,
          before: before!,
          staged: staged!,
        }),
        onDone: 'swapping',
        onError: { target: 'rollingBack', actions: 'keepFailure' },
      },
    },
    swapping: {
      description: 'One rename of a symlink.',
      invoke: {
        id: 'swap',
        src: 'swap',
        input: ({ context: { plugin, target, staged } }) => ({ plugin, target, staged: staged! }),
        onDone: 'marking',
        onError: { target: 'rollingBack', actions: 'keepFailure' },
      },
    },
    marking: {
      description: 'Reads the seal back through the live path: a target may report success and have written elsewhere.',
      invoke: {
        id: 'readBack',
        src: 'readBack',
        input: ({ context: { plugin, target, staged, before } }) => ({
          plugin,
          target,
          staged: staged!,
          before: before!,
        }),
        onDone: [
          // Nothing was added, so nothing is too much.
          {
            guard: 'isRollback',
            target: 'installed',
            actions: assign({ change: ({ event }) => event.output.change }),
          },
          { target: 'pruning', actions: assign(({ event }) => event.output) },
        ],
        onError: [
          // What is live is somebody else's doing, and whole: not ours to undo.
          { guard: 'wasOvertaken', target: 'discarding', actions: 'keepFailure' },
          { target: 'rollingBack', actions: 'keepFailure' },
        ],
      },
    },
    pruning: {
      description: 'The plugin is live whether or not old ones could be removed.',
      invoke: {
        id: 'prune',
        src: 'prune',
        input: ({ context: { plugin, target, spare } }) => ({ plugin, target, spare }),
        onDone: 'installed',
        onError: 'installed',
      },
    },
    rollingBack: {
      description: 'What was live before is live again, and that is read back too.',
      invoke: {
        id: 'goBack',
        src: 'goBack',
        input: ({ context: { plugin, target, before, staged } }) => ({
          plugin,
          target,
          before: before!,
          staged: staged!,
        }),
        onDone: { target: 'discarding', actions: { type: 'conclude', params: { outcome: 'rolled-back' } } },
        onError: { target: 'blocked', actions: 'keepRollBackFailure' },
      },
    },
    sorting: {
      description: 'Who is to blame: what was offered, or the world around it.',
      always: [
        {
          guard: 'sourceAtFault',
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
        input: ({ context: { plugin, target, draft, release, staged, wanted } }) => ({
          plugin,
          target,
          draft,
          // What was there before this run stays.
          staged: wanted === null ? null : staged,
          // Before there is a release to put there, nothing is: the target need not even be asked.
          isBegun: release !== null || staged !== null,
        }),
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
    installed: { type: 'final', entry: [{ type: 'conclude', params: { outcome: 'installed' } }, 'announceInstalled'] },
    current: { type: 'final', entry: { type: 'conclude', params: { outcome: 'current' } } },
    rejected: { type: 'final' },
    failed: { type: 'final' },
    rolledBack: { type: 'final', entry: 'announceRolledBack' },
    blocked: { type: 'final', entry: [{ type: 'conclude', params: { outcome: 'blocked' } }, 'announceBlocked'] },
    cancelled: { type: 'final', entry: { type: 'conclude', params: { outcome: 'cancelled' } } },
  },
})
