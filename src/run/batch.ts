import { apply, type Notice } from './apply.ts'
import { digest } from './digest.ts'
import { type Model, slotOf } from './model.ts'
import type { PureMachine } from './pure-machine.ts'
import { type Cause, machineName, type RunRecord } from './record.ts'
import { type Run, type RunState, stateOf } from './run.ts'

/** One accepted record and what it led to. */
export interface Accepted {
  readonly seq: number
  readonly record: RunRecord
  readonly next: Run
  readonly notices: readonly Notice[]
}

/**
 * The records of one frame while they are not durable yet: a view of the model as it will be, of which nobody else
 * knows. Dropped where the disk refuses, merged by {@link Batch.commit} where it does not.
 */
export class Batch {
  readonly records: RunRecord[] = []
  readonly accepted: Accepted[] = []
  /** Slots whose run ended in this batch. */
  readonly freed: string[] = []
  /** The newest state of every run that changed. */
  readonly runs = new Map<string, Run>()
  private readonly slots = new Map<string, string | undefined>()
  private readonly seen = new Map<string, string>()

  constructor(
    private readonly model: Model,
    private readonly at: number,
  ) {}

  /** The last record's. */
  get seq(): number {
    return this.model.seq + this.records.length
  }

  run(id: string): Run | undefined {
    return this.runs.get(id) ?? this.model.active.get(id)
  }

  state(id: string): RunState | undefined {
    const run = this.runs.get(id)
    return run === undefined ? this.model.state(id) : stateOf(run)
  }

  activeIn(slot: string): string | undefined {
    return this.slots.has(slot) ? this.slots.get(slot) : this.model.activeIn(slot)
  }

  seenBy(id: string): string | undefined {
    return this.seen.get(id) ?? this.model.seenBy(id)
  }

  /** Adds what `cause` leads to. Throws what `apply` throws; nothing is added then. */
  add(machine: PureMachine, before: Run | undefined, cause: Omit<Cause, 'seq' | 'at'>): Run {
    const seq = this.seq + 1
    const { at } = this
    const [next, notices] = apply(machine, before, { seq, at, ...cause })
    const { status } = next.snapshot
    const ends = status === 'active' ? {} : { ends: status === 'done' ? ('done' as const) : ('error' as const) }
    const record: RunRecord = { ...cause, at, digest: digest(next), ...ends }
    this.records.push(record)
    this.accepted.push({ seq, record, next, notices })
    this.runs.set(next.run, next)
    if (cause.id !== undefined) this.seen.set(cause.id, next.run)
    if (status !== 'active') this.free(next)
    else if (before === undefined) this.slots.set(slotOf(machineName(next.machine), next.key), next.run)
    return next
  }

  commit(): void {
    for (const { seq, record, next, notices } of this.accepted)
      this.model.commit({ seq, id: record.id, run: record.run }, next, notices)
  }

  private free({ machine, key }: Run): void {
    const slot = slotOf(machineName(machine), key)
    this.slots.set(slot, undefined)
    this.freed.push(slot)
  }
}
