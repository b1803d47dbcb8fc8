import type { AnyMachineSnapshot } from 'xstate'
import { type ErrorRecord, errorRecord, InstarError } from '../errors.ts'
import type { PersistedSnapshot, PureMachine } from './pure-machine.ts'
import type { RunEvent } from './record.ts'

/** An effect that should be running. `key` is `seq:id` of the record that asked for it. */
export interface WantedEffect {
  readonly id: string
  readonly key: string
  readonly src: string
  readonly input?: unknown
}

/** A timer that should be armed. `due` is wall clock in ms, so that it survives restarts. */
export interface WantedTimer {
  readonly id: string
  readonly key: string
  readonly due: number
  readonly event: RunEvent
}

/** Who a run is, whatever its state. */
export interface RunHead {
  readonly run: string
  /** `name@version`; a run stays with it unless it is migrated. */
  readonly machine: string
  /** Runs of one machine name and one key are serial. */
  readonly key: string
  readonly startedSeq: number
  readonly startedAt: number
  /** The last record of this run. */
  readonly seq: number
  readonly at: number
}

/** One run as `apply` sees it. Never changed in place: what a record leaves alone is shared with the run before it. */
export interface Run extends RunHead {
  readonly snapshot: AnyMachineSnapshot
  readonly effects: readonly WantedEffect[]
  readonly timers: readonly WantedTimer[]
}

/** One run as everybody else sees it: plain data, safe to keep and to send. */
export interface RunState extends RunHead {
  readonly status: 'active' | 'done' | 'error'
  readonly value: unknown
  readonly context: unknown
  readonly output?: unknown
  readonly error?: ErrorRecord
  readonly effects: readonly { readonly id: string; readonly key: string; readonly src: string }[]
  readonly timers: readonly { readonly id: string; readonly due: number }[]
  readonly tags?: readonly string[]
  /** The definition is not here, so `value`, `context` and `output` are not known. */
  readonly opaque?: true
}

/** A run that goes on, without its head: what snapshots and `$migrate` records hold, and what a migration rewrites. */
export interface PersistedState {
  readonly snapshot: PersistedSnapshot
  readonly effects: readonly WantedEffect[]
  readonly timers: readonly WantedTimer[]
}

// Kept on the run itself: a WeakMap with an entry for every record makes the garbage collector the main cost of a send.
const view = Symbol('the public view')

/** The public view of a run. The same run gives the same object. */
export function stateOf(run: Run & { [view]?: RunState }): RunState {
  run[view] ??= viewOf(run)
  return run[view]
}

// Made for every send, so without spreads: they took 3 of its 15 µs.
function viewOf({ run, machine, key, startedSeq, startedAt, seq, at, snapshot, effects, timers }: Run): RunState {
  const state: { -readonly [Field in keyof RunState]: RunState[Field] } = {
    run,
    machine,
    key,
    startedSeq,
    startedAt,
    seq,
    at,
    status: snapshot.status as RunState['status'],
    value: snapshot.value,
    context: snapshot.context,
    effects: effects.map(({ id, key, src }) => ({ id, key, src })),
    timers: timers.map(({ id, due }) => ({ id, due })),
  }
  if (snapshot.output !== undefined) state.output = snapshot.output
  if (snapshot.error !== undefined) state.error = asErrorRecord(snapshot.error)
  if (snapshot.tags.size > 0) state.tags = [...snapshot.tags]
  return state
}

/** What a run that has ended answers. @throws {InstarError} `INTERNAL` */
export function outputOf<Output>({ status, output, error, run }: RunState): Output {
  // Only a machine that threw ends this way, which is a defect in it.
  if (status === 'error') throw new InstarError('INTERNAL', `${run} broke: ${error?.message}`)
  return output as Output
}

export function headOf({ run, machine, key, startedSeq, startedAt, seq, at }: RunHead): RunHead {
  return { run, machine, key, startedSeq, startedAt, seq, at }
}

export function persistRun(run: Run, machine: PureMachine): PersistedState {
  return { snapshot: machine.persist(run.snapshot), effects: run.effects, timers: run.timers }
}

export function restoreRun(head: RunHead, state: PersistedState, machine: PureMachine): Run {
  return { ...head, snapshot: machine.restore(state.snapshot), effects: state.effects, timers: state.timers }
}

/** Errors that reach a snapshot by an event are plain data already; those that the machine throws are not. */
function asErrorRecord(error: unknown): ErrorRecord {
  if (!(error instanceof Error) && typeof error === 'object' && error !== null && 'message' in error)
    return error as ErrorRecord
  return errorRecord(error)
}
