import { assign, emit, setup } from 'xstate'
import type { AppInstall, AppRelease } from './app.ts'
import { effect, type Failure, failureOf } from './effect.ts'

export interface AppInstallInput {
  readonly app: string
  readonly workspace: string
  /** What the organisation gets where it does not have the app yet: a dist-tag, a range, an exact version, or where the bytes are. */
  readonly wanted: string
  readonly install: AppInstall
}

export interface AppInstallContext extends AppInstallInput {
  /** How the workspace has run it so far; null where it gets it now. */
  readonly before: AppInstall | null
  readonly release: AppRelease | null
  /** The organisation has it by this install. */
  readonly isFirst: boolean
  readonly failure: Failure | null
}

export interface AppInstallResult {
  readonly app: string
  readonly workspace: string
  readonly outcome: 'installed' | 'refused'
  readonly version: string | null
  readonly failure: Failure | null
}

export interface AppInstallNotice {
  readonly type: 'app.installed'
  readonly app: string
  readonly workspace: string
  readonly version: string
}

type Place = Pick<AppInstallInput, 'app' | 'workspace'>

const place = ({ app, workspace }: AppInstallContext): Place => ({ app, workspace })

/**
 * App install: gives one workspace an app, in the version that the organisation has, or has it run otherwise than before; or
 * leaves all as it was.
 *
 * Commit point: the first answer of its process, in `starting`. Where that does not come, everything is taken back.
 *
 * Invariants
 *   - A workspace never decides the version of an app that the organisation has already.
 *   - What ran before serves until what is wanted has answered; an exclusive app's calls wait.
 *   - The ends are `installed` and `refused`; after `refused` the workspace and the organisation have what they had.
 */
export const appInstall = setup({
  types: {
    input: {} as AppInstallInput,
    context: {} as AppInstallContext,
    output: {} as AppInstallResult,
    emitted: {} as AppInstallNotice,
  },
  actors: {
    adopt: effect<Place & { wanted: string }, { release: AppRelease; isFirst: boolean; before: AppInstall | null }>(),
    note: effect<Place & { release: AppRelease; install: AppInstall }, void>(),
    start: effect<Place & { release: AppRelease; before: AppInstall | null }, void>(),
    undo: effect<Place & { release: AppRelease | null; isFirst: boolean; before: AppInstall | null }, void>(),
  },
  actions: {
    keepFailure: assign({ failure: ({ event }) => failureOf(event as { error?: unknown }) }),
    announce: emit(({ context }) => ({
      type: 'app.installed' as const,
      ...place(context),
      version: context.release!.version,
    })),
  },
}).createMachine({
  id: 'app-install',
  version: '1',
  description:
    'Gives one workspace an app, in the version that the organisation has, or has it run otherwise; or leaves all as it was.',
  context: ({ input }) => ({
    // The pure transition function asks for a context without input now and then, and throws the result away.
    app: input?.app ?? '',
    workspace: input?.workspace ?? '',
    wanted: input?.wanted ?? '',
    install: input?.install ?? { args: [], env: {}, credentials: {}, config: {} },
    before: null,
    release: null,
    isFirst: false,
    failure: null,
  }),
  output: ({ context }) => ({
    ...place(context),
    outcome: context.failure === null ? ('installed' as const) : ('refused' as const),
    version: context.release?.version ?? null,
    failure: context.failure,
  }),
  initial: 'adopting',
  states: {
    adopting: {
      description: "The organisation's version; where it has none, the one that was asked for becomes it.",
      invoke: {
        id: 'adopt',
        src: 'adopt',
        input: ({ context }) => ({ ...place(context), wanted: context.wanted }),
        onDone: { target: 'noting', actions: assign(({ event }) => event.output) },
        onError: { target: 'refused', actions: 'keepFailure' },
      },
    },
    noting: {
      description:
        'What the install was given is what the app asks for; it is kept, for every version that will run here.',
      invoke: {
        id: 'note',
        src: 'note',
        input: ({ context }) => ({ ...place(context), release: context.release!, install: context.install }),
        onDone: 'starting',
        onError: { target: 'undoing', actions: 'keepFailure' },
      },
    },
    starting: {
      invoke: {
        id: 'start',
        src: 'start',
        input: ({ context }) => ({ ...place(context), release: context.release!, before: context.before }),
        onDone: 'installed',
        onError: { target: 'undoing', actions: 'keepFailure' },
      },
    },
    undoing: {
      description: 'Nothing half installed stays.',
      invoke: {
        id: 'undo',
        src: 'undo',
        input: ({ context }) => ({
          ...place(context),
          release: context.release,
          isFirst: context.isFirst,
          before: context.before,
        }),
        onDone: 'refused',
        onError: 'refused',
      },
    },
    installed: { type: 'final', entry: 'announce' },
    refused: { type: 'final' },
  },
})
