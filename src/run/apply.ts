import type { AnyMachineSnapshot } from 'xstate'
import type { Action, PureMachine } from './pure-machine.ts'
import type { Cause, RunEvent } from './record.ts'
import { type Run, restoreRun, type WantedEffect, type WantedTimer } from './run.ts'

/** What a machine tells the world by `emit`, with where and when. */
export interface Notice {
  readonly seq: number
  readonly at: number
  readonly run: string
  readonly machine: string
  readonly type: string
  readonly [field: string]: unknown
}

/**
 * One record, applied: the next run and what the machine emitted on the way. Pure; live and replay use this function.
 *
 * Throws what the machine throws, and where the machine asks for something that a journal cannot bring back (a child
 * without a fixed id, an action with a body, a message to anybody but itself).
 */
export function apply(machine: PureMachine, run: Run | undefined, cause: Cause): [Run, Notice[]] {
  if (cause.event.type === '$migrate') return [migrated(machine, cause), []]
  const step = new Step(machine, run, cause)
  if (cause.event.type === '$halt') step.halt(cause.event.error)
  else step.take(cause.event)
  return [step.result(), step.notices]
}

/** One record being applied. Lives only inside `apply`; the tables are copied when they first change. */
class Step {
  readonly notices: Notice[] = []
  private snapshot: AnyMachineSnapshot | undefined
  private effects: readonly WantedEffect[]
  private timers: readonly WantedTimer[]
  /** Messages of the machine to itself belong to this record: apart, a crash between would lose them. */
  private readonly inbox: RunEvent[] = []
  private unnamed = 0

  constructor(
    private readonly machine: PureMachine,
    private readonly before: Run | undefined,
    private readonly cause: Cause,
  ) {
    this.snapshot = before?.snapshot
    this.effects = before?.effects ?? []
    this.timers = before?.timers ?? []
    const { answers } = cause
    if (answers !== undefined) {
      this.effects = without(this.effects, (effect) => effect.key === answers)
      this.timers = without(this.timers, (timer) => timer.key === answers)
    }
  }

  take(event: RunEvent): void {
    this.inbox.push(event)
    for (let next = this.inbox.shift(); next !== undefined; next = this.inbox.shift()) {
      if (this.snapshot !== undefined && this.snapshot.status !== 'active') return
      const [snapshot, actions] =
        this.snapshot === undefined ? this.machine.begin(next.input) : this.machine.transition(this.snapshot, next)
      this.snapshot = snapshot
      for (const action of actions) this.perform(action)
    }
  }

  halt(error: unknown): void {
    this.snapshot = { ...this.snapshot!, status: 'error', error } as AnyMachineSnapshot
  }

  result(): Run {
    const { before, cause, snapshot } = this
    const goesOn = snapshot!.status === 'active'
    return {
      run: cause.run,
      machine: before?.machine ?? this.machine.ref,
      key: before?.key ?? cause.event.key,
      startedSeq: before?.startedSeq ?? cause.seq,
      startedAt: before?.startedAt ?? cause.at,
      seq: cause.seq,
      at: cause.at,
      snapshot: snapshot!,
      effects: goesOn ? this.effects : [],
      timers: goesOn ? this.timers : [],
    }
  }

  private perform({ type, params, info, exec }: Action): void {
    switch (type) {
      case 'xstate.spawnChild':
        this.want(params)
        return
      case 'xstate.stopChild':
        // The parameter is the child itself, and is missing where there is none.
        this.effects = without(this.effects, (effect) => effect.id === params?.id)
        return
      case 'xstate.raise':
        // Without a delay it was consumed inside this macrostep already.
        if (typeof params.delay === 'number') this.arm(params)
        return
      case 'xstate.sendTo':
        if (params.to !== info.self) throw new Error('a machine may send to itself only')
        if (typeof params.delay === 'number') this.arm(params)
        else this.inbox.push(params.event)
        return
      case 'xstate.cancel':
        this.timers = without(this.timers, (timer) => timer.id === params.sendId)
        return
      case 'xstate.emit':
        this.notices.push(this.notice(params.event))
        return
      case 'xstate.log':
        return
      default:
        throw new Error(
          exec === undefined
            ? `action '${type}' is not implemented`
            : `action '${type}' has a body; what acts on the world is an effect, what tells about it is an emit`,
        )
    }
  }

  private want({ id, src, input, systemId }: { id: unknown; src: unknown; input: unknown; systemId: unknown }): void {
    if (typeof id !== 'string' || typeof src !== 'string' || systemId !== undefined)
      throw new Error('a child needs a fixed id, a source by name, and no systemId')
    const key = `${this.cause.seq}:${id}`
    this.effects = [...without(this.effects, (effect) => effect.id === id), { id, key, src, input }]
  }

  /** The same id armed again replaces the timer before it. */
  private arm({ id, delay, event }: { id: string | undefined; delay: number; event: RunEvent }): void {
    const { seq, at } = this.cause
    if (id === undefined) this.unnamed += 1
    const name = id ?? `${seq}.${this.unnamed}`
    const timer = { id: name, key: `${seq}:timer:${name}`, due: at + delay, event }
    this.timers = [...without(this.timers, (other) => other.id === name), timer]
  }

  private notice(event: RunEvent): Notice {
    const { seq, at, run } = this.cause
    return { ...JSON.parse(JSON.stringify(event)), seq, at, run, machine: this.machine.ref }
  }
}

/** A migration journals the state it came to: old events never go through the new definition. */
function migrated(machine: PureMachine, { run, seq, at, event }: Cause): Run {
  const { key, startedSeq, startedAt, snapshot, effects, timers } = event
  return restoreRun(
    { run, machine: machine.ref, key, startedSeq, startedAt, seq, at },
    { snapshot, effects, timers },
    machine,
  )
}

/** The same array where nothing is taken out, so that what did not change can be told by identity. */
function without<Item>(items: readonly Item[], gone: (item: Item) => boolean): readonly Item[] {
  return items.some(gone) ? items.filter((item) => !gone(item)) : items
}
