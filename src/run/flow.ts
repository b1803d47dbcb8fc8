import type { AnyStateMachine, InputFrom, OutputFrom, ProvidedActor, StateMachine } from 'xstate'
import type { PersistedState } from './run.ts'

export interface EffectContext {
  /** Names this one wish of the machine; the same after a crash. Hand it on as idempotency key. */
  readonly key: string
  /** Aborted when the machine no longer wants the answer, or when the interpreter closes (see {@link Detached}). */
  readonly signal: AbortSignal
  /** Shown to those who listen; never journaled. */
  progress(data: unknown): void
}

/**
 * What a machine asks the world to do. It may run twice with the same key, because a crash can fall between doing and
 * remembering. It ends soon after its signal is aborted: closing waits for it, and so do the effects that its run
 * wants next.
 */
export type Effect<Input, Output> = (input: Input, context: EffectContext) => Promise<Output>

type ActorsOf<Machine> =
  Machine extends StateMachine<any, any, any, infer Actors, any, any, any, any, any, any, any, any, any, any, any>
    ? Actors
    : never

/**
 * The functions that a machine's `setup({ actors })` asks for, by name and type.
 *
 *     const effects = { … } satisfies EffectsOf<typeof pluginInstall>
 */
export type EffectsOf<Machine extends AnyStateMachine> = {
  readonly [Actor in Extract<ActorsOf<Machine>, ProvidedActor> as Actor['src']]: Effect<
    InputFrom<Actor['logic']>,
    OutputFrom<Actor['logic']>
  >
}

/** Takes the state of runs from one version to the next. Keep the keys of effects that go on. */
export interface Migration {
  /** `name@version` */
  readonly from: string
  readonly to: string
  migrate(state: PersistedState): PersistedState
}

/** A machine and what serves its effects. */
export interface Flow<Machine extends AnyStateMachine = AnyStateMachine> {
  /** New runs begin with this version. */
  readonly machine: Machine
  readonly effects: EffectsOf<Machine>
  /** Older versions: a run that began with one goes on with it. Their effects are served by the same functions. */
  readonly retired?: readonly AnyStateMachine[]
  /**
   * Runs of `from` that are active when the interpreter opens go on as `to`. Where records of such a run are younger
   * than the last snapshot, `from` is needed among `retired` to read them.
   */
  readonly migrations?: readonly Migration[]
}

/** Any flow, for lists of different ones. */
export interface AnyFlow {
  readonly machine: AnyStateMachine
  readonly effects: Readonly<Record<string, Effect<any, any>>>
  readonly retired?: readonly AnyStateMachine[]
  readonly migrations?: readonly Migration[]
}
