import * as z from 'zod'
import { InstarError } from '../errors.ts'
import { apply, type Notice } from './apply.ts'
import type { Definitions } from './definitions.ts'
import { digest } from './digest.ts'
import type { PureMachine } from './pure-machine.ts'
import {
  BeginEvent,
  type Cause,
  MigrateEvent,
  machineName,
  PersistedState as persistedState,
  type StoredRecord,
} from './record.ts'
import {
  headOf,
  type PersistedState,
  persistRun,
  type Run,
  type RunHead,
  type RunState,
  restoreRun,
  stateOf,
} from './run.ts'

const noticesKept = 500
const seenKept = 4_096
const endedKeptPerMachine = 100

/** A run that goes on, whose definition is not here. `state` is what the last snapshot knew, until a record follows. */
interface OpaqueRun {
  readonly head: RunHead
  readonly state: PersistedState | null
}

/** All runs after a certain record: the fold of the journal. Live commits and replay both end in {@link Model.commit}. */
export class Model {
  seq = 0
  readonly active = new Map<string, Run>()
  readonly opaque = new Map<string, OpaqueRun>()
  private readonly ended = new Map<string, RunState>()
  /** The active run of each machine name and key. */
  private readonly slots = new Map<string, string>()
  /** Client event ids and the run they went to, oldest first. */
  private readonly seen = new Map<string, string>()
  private told: Notice[] = []

  constructor(private readonly definitions: Definitions) {}

  /** Takes a record into the model together with what `apply` made of it. */
  commit({ seq, id, run }: Pick<Cause, 'seq' | 'id' | 'run'>, next: Run, notices: readonly Notice[]): void {
    this.seq = seq
    if (id !== undefined) this.remember(id, run)
    for (const notice of notices) this.told.push(notice)
    if (this.told.length > 2 * noticesKept) this.told = this.told.slice(-noticesKept)
    if (next.snapshot.status === 'active') {
      const before = this.active.get(run) ?? this.opaque.get(run)?.head
      if (before?.machine !== next.machine) {
        if (before !== undefined) this.vacate(before)
        this.opaque.delete(run)
        this.occupy(next)
      }
      this.active.set(run, next)
    } else this.end(stateOf(next))
  }

  /**
   * Takes one record of the past.
   *
   * @throws {InstarError} `MACHINE_CHANGED` when the definition no longer leads where it led, `RECORD_INVALID` when the
   * record belongs to no run.
   */
  replay(record: StoredRecord): void {
    const { run, event } = record
    const before = this.active.get(run)
    const opaque = this.opaque.get(run)
    const bringsState = event.type === 'xstate.init' || event.type === '$migrate'
    const ref = bringsState ? machineOf(record) : (before?.machine ?? opaque?.head.machine)
    if (ref === undefined)
      throw new InstarError('RECORD_INVALID', `record ${record.seq} is of ${run}, which is not going on`, {
        details: { seq: record.seq, run },
      })
    const definition = this.definitions.get(ref)
    if (definition === undefined || (opaque !== undefined && !bringsState)) {
      this.pass(record, before, ref)
      return
    }
    const [next, notices] = replayed(definition, before, record)
    this.commit(record, next, notices)
  }

  state(run: string): RunState | undefined {
    const active = this.active.get(run)
    if (active !== undefined) return stateOf(active)
    const opaque = this.opaque.get(run)
    return opaque === undefined ? this.ended.get(run) : opaqueState(opaque.head, 'active')
  }

  /** Every run that is known, in the order they began. */
  states(): RunState[] {
    const ids = [...this.active.keys(), ...this.opaque.keys(), ...this.ended.keys()]
    return ids.map((id) => this.state(id)!).sort((a, b) => a.startedSeq - b.startedSeq)
  }

  activeIn(slot: string): string | undefined {
    return this.slots.get(slot)
  }

  seenBy(id: string): string | undefined {
    return this.seen.get(id)
  }

  notices(from = 0): Notice[] {
    return this.told.slice(-noticesKept).filter((notice) => notice.seq >= from)
  }

  /** Lets go of the oldest ended runs. Only their history in the journal remains. */
  forgetEnded(): void {
    const kept = new Map<string, number>()
    for (const { run, machine } of [...this.ended.values()].sort((a, b) => b.seq - a.seq)) {
      const name = machineName(machine)
      const count = (kept.get(name) ?? 0) + 1
      kept.set(name, count)
      if (count > endedKeptPerMachine) this.ended.delete(run)
    }
  }

  /** Everything, as plain data for {@link Model.restore}. Shares parts with the model, none of which ever change. */
  persist(): ModelSnapshot {
    const active = [...this.active.values()].map((run) => ({
      head: headOf(run),
      state: persistRun(run, this.definitions.get(run.machine)!),
    }))
    return { active, ended: [...this.ended.values()], seen: [...this.seen], notices: this.notices() }
  }

  /** @param only Restores this run alone. */
  static restore(definitions: Definitions, seq: number, value: unknown, only?: string): Model {
    const { data, error } = snapshotShape.safeParse(value)
    if (data === undefined)
      throw new InstarError('RECORD_INVALID', `the snapshot at record ${seq} is not one of runs`, { cause: error })
    const { active, ended, seen, notices } = data as unknown as ModelSnapshot
    const model = new Model(definitions)
    model.seq = seq
    for (const { head, state } of active) {
      if (only !== undefined && head.run !== only) continue
      model.occupy(head)
      const definition = definitions.get(head.machine)
      if (definition === undefined) model.opaque.set(head.run, { head, state })
      else model.active.set(head.run, restored(definition, head, state))
    }
    for (const state of ended) if (only === undefined || state.run === only) model.ended.set(state.run, state)
    for (const [id, run] of seen) model.seen.set(id, run)
    model.told = [...notices]
    return model
  }

  /** Keeps the journal's account of a run that cannot be followed: who it is, and whether it ended. */
  private pass({ seq, at, run, id, event, ends }: StoredRecord, before: Run | undefined, machine: string): void {
    this.seq = seq
    if (id !== undefined) this.remember(id, run)
    const known = before ??
      this.opaque.get(run)?.head ?? { run, key: String(event.key), startedSeq: seq, startedAt: at }
    const head = headOf({ ...known, machine, seq, at })
    this.active.delete(run)
    if (ends !== undefined) {
      this.opaque.delete(run)
      this.end(opaqueState(head, ends))
      return
    }
    this.occupy(head)
    this.opaque.set(run, { head, state: null })
  }

  private occupy({ machine, key, run }: RunHead): void {
    this.slots.set(slotOf(machineName(machine), key), run)
  }

  private end(state: RunState): void {
    this.active.delete(state.run)
    this.ended.set(state.run, state)
    this.vacate(state)
  }

  private vacate({ machine, key, run }: RunHead): void {
    const slot = slotOf(machineName(machine), key)
    if (this.slots.get(slot) === run) this.slots.delete(slot)
  }

  private remember(id: string, run: string): void {
    this.seen.set(id, run)
    if (this.seen.size > seenKept) this.seen.delete(this.seen.keys().next().value!)
  }
}

/** Runs of one machine name and key share a slot: one of them is active at a time. */
export const slotOf = (name: string, key: string) => `${name}\n${key}`

export interface ModelSnapshot {
  readonly active: readonly { readonly head: RunHead; readonly state: PersistedState }[]
  readonly ended: readonly RunState[]
  readonly seen: readonly (readonly [id: string, run: string])[]
  readonly notices: readonly Notice[]
}

const head = z.strictObject({
  run: z.string(),
  machine: z.string(),
  key: z.string(),
  startedSeq: z.int(),
  startedAt: z.number(),
  seq: z.int(),
  at: z.number(),
})

const snapshotShape = z.strictObject({
  active: z.array(z.strictObject({ head, state: persistedState })),
  ended: z.array(head.extend({ status: z.enum(['done', 'error']) }).loose()),
  seen: z.array(z.tuple([z.string(), z.string()])),
  notices: z.array(
    z.looseObject({ seq: z.int(), at: z.number(), run: z.string(), machine: z.string(), type: z.string() }),
  ),
})

function machineOf({ seq, event }: StoredRecord): string {
  const { data, error } = (event.type === '$migrate' ? MigrateEvent : BeginEvent).safeParse(event)
  if (data !== undefined) return data.machine
  throw new InstarError('RECORD_INVALID', `record ${seq} does not say what it begins`, {
    cause: error,
    details: { seq },
  })
}

function replayed(definition: PureMachine, before: Run | undefined, record: StoredRecord): [Run, Notice[]] {
  const changed = (what: string, state: unknown, cause?: unknown) =>
    new InstarError(
      'MACHINE_CHANGED',
      `${definition.ref} ${what} at record ${record.seq} of ${record.run}, on '${record.event.type}'`,
      { cause, details: { machine: definition.ref, run: record.run, seq: record.seq, state } },
    )
  const state = before?.snapshot.value ?? null
  let result: [Run, Notice[]]
  let found: string
  try {
    result = apply(definition, before, record)
    found = digest(result[0])
  } catch (cause) {
    throw changed(`fails in state ${JSON.stringify(state)}`, state, cause)
  }
  if (found === record.digest) return result
  const { value } = result[0].snapshot
  throw changed(`leads to another state than it did (now ${JSON.stringify(value)})`, value)
}

function restored(definition: PureMachine, head: RunHead, state: PersistedState): Run {
  try {
    return restoreRun(head, state, definition)
  } catch (cause) {
    const { value } = state.snapshot
    const details = { machine: definition.ref, run: head.run, seq: head.seq, state: value }
    throw new InstarError('MACHINE_CHANGED', `${definition.ref} no longer has the state that ${head.run} is in`, {
      cause,
      details,
    })
  }
}

function opaqueState(head: RunHead, status: RunState['status']): RunState {
  return { ...head, status, value: null, context: null, effects: [], timers: [], opaque: true }
}
