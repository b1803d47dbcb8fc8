import { assert } from '../assert.ts'
import { errorRecord, InstarError } from '../errors.ts'
import { held } from '../held.ts'
import type { Notice } from './apply.ts'
import { Batch } from './batch.ts'
import { Definitions } from './definitions.ts'
import type { AnyFlow } from './flow.ts'
import type { RecordLog } from './log.ts'
import { migrateRuns } from './migrate.ts'
import { Model, slotOf } from './model.ts'
import { Reconciler } from './reconciler.ts'
import { type RunEvent, readRecord, type StoredRecord } from './record.ts'
import { type RunState, stateOf, type WantedEffect } from './run.ts'
import { type Clock, systemClock } from './timers.ts'

export interface InterpreterOptions {
  readonly log: RecordLog
  readonly flows: readonly AnyFlow[]
  readonly clock?: Clock
  /** Default 5000: replaying as many takes a fraction of a second. */
  readonly snapshotEveryRecords?: number
  /** Only look: nothing is resumed, nothing is written, and commands are refused with `HOME_OBSERVED`. Default false. */
  readonly observe?: boolean
  /** The log failed: nothing is accepted or shown any more, and the process should end. The next start decides. */
  readonly onDead?: (error: unknown) => void
}

export interface StartOptions {
  /** Runs of one machine and one key are serial. */
  readonly key: string
  readonly input: unknown
  /**
   * What happens when a run of this key is active. `join`: it is the answer. `wait`: the new one begins when the one
   * before has ended, first come first served; those who wait are forgotten when the interpreter closes. `refuse`:
   * `RUN_BUSY`.
   */
  readonly busy: 'join' | 'wait' | 'refuse'
  /** The client's own id of this command: sent again, it is not done again. */
  readonly id?: string
}

export type Change =
  | { readonly type: 'record'; readonly record: StoredRecord; readonly state: RunState }
  | { readonly type: 'notice'; readonly notice: Notice }
  | {
      readonly type: 'progress'
      readonly run: string
      readonly effect: string
      readonly key: string
      readonly data: unknown
    }

/** A record of the past. */
export interface Replayed {
  readonly record: StoredRecord
  /** Null where the definition leads elsewhere by now. */
  readonly state: RunState | null
}

/** Why effects are aborted at close: the controller closes and leaves what it started. */
export class Detached extends Error {
  constructor() {
    super('the controller closes and leaves what it started')
    this.name = 'Detached'
  }
}

interface Settle<Value> {
  resolve(value: Value): void
  reject(error: unknown): void
}

type Command =
  | ({ readonly type: 'start'; readonly machine: string; readonly options: StartOptions } & Settle<RunState>)
  | ({ readonly type: 'send'; readonly run: string; readonly event: RunEvent; readonly id?: string } & Settle<RunState>)
  | { readonly type: 'answer'; readonly run: string; readonly key: string; readonly event: RunEvent }

/** More than this in one frame would make the first of them wait for the last. */
const batchMax = 1_024

/**
 * Runs machines so that what they did survives the process. Every external cause is journaled before it shows; every
 * effect starts only after its cause is durable; opening is a replay.
 *
 * Effects are at-least-once with a stable key. The answer of an effect that is no longer wanted is dropped.
 */
export class Interpreter {
  private inbox: Command[] = []
  private readonly waiting = new Map<string, Extract<Command, { type: 'start' }>[]>()
  private readonly endings = new Map<string, Set<Settle<RunState>>>()
  private readonly listeners = new Set<(change: Change) => void>()
  private readonly reconciler: Reconciler
  private flushing: Promise<void> | null = null
  private lastBatchSize = 0
  private snapshotting: Promise<void> | null = null
  private snapshotSeq: number
  private dead: { readonly error: unknown } | null = null
  private closing: Promise<void> | null = null

  private constructor(
    private readonly log: RecordLog,
    private readonly definitions: Definitions,
    private readonly model: Model,
    private readonly clock: Clock,
    private readonly snapshotEveryRecords: number,
    private readonly observing: boolean,
    private readonly onDead: (error: unknown) => void,
  ) {
    this.snapshotSeq = log.snapshot?.seq ?? 0
    this.reconciler = new Reconciler(clock, {
      effect: (run, { src }) => definitions.effect(run.machine, src),
      succeeded: (run, effect, output) => this.succeeded(run, effect, output),
      failed: (run, effect, error) => this.failed(run, effect, error),
      fired: (run, { key, event }) => this.enqueue({ type: 'answer', run, key, event }),
      progress: (run, { id, key }, data) => this.publish({ type: 'progress', run, effect: id, key, data }),
    })
  }

  /**
   * Replays the log and takes up what was going on: effects whose answer is missing start again under the same key,
   * timers that came due meanwhile fire at once in due order.
   *
   * @throws {InstarError} `MACHINE_INVALID` for a definition that cannot be replayed; `MACHINE_UNKNOWN` when a run
   * still needs one that is not here; `MACHINE_CHANGED` when one leads elsewhere than it did; `RECORD_INVALID`.
   * Nothing has been written then, and the log is still the caller's to close.
   */
  static async open(options: InterpreterOptions): Promise<Interpreter> {
    const { log, flows, clock, snapshotEveryRecords, observe = false, onDead } = options
    const definitions = new Definitions(flows)
    const { snapshot } = log
    const model = snapshot === null ? new Model(definitions) : Model.restore(definitions, snapshot.seq, snapshot.state)
    for await (const record of log.read({ from: model.seq + 1 })) model.replay(readRecord(record))
    assert(model.seq === log.lastSeq, 'the journal did not give all its records')
    const time = clock ?? systemClock
    if (!observe) {
      const migrations = new Batch(model, time.now())
      migrateRuns(migrations, model, definitions)
      if (migrations.records.length > 0) await log.append(migrations.records)
      migrations.commit()
    }
    const interpreter = new Interpreter(
      log,
      definitions,
      model,
      time,
      snapshotEveryRecords ?? 5_000,
      observe,
      onDead ?? (() => {}),
    )
    if (!observe) for (const run of model.active.values()) interpreter.reconciler.reconcile(run)
    return interpreter
  }

  /**
   * Begins a run of the newest version of `machine`, or finds the one under way; resolves when that is durable.
   *
   * @throws {InstarError} `MACHINE_UNKNOWN`; `RUN_BUSY`; `EVENT_REFUSED` when the machine cannot begin with this input.
   */
  start(machine: string, options: StartOptions): Promise<RunState> {
    const begun = new Promise<RunState>((resolve, reject) => {
      this.assertTakesCommands()
      if (this.definitions.latest(machine) === undefined)
        throw new InstarError('MACHINE_UNKNOWN', `there is no machine '${machine}'`, { details: { machine } })
      const input = asJson(options.input, 'the input')
      this.enqueue({ type: 'start', machine, options: { ...options, input }, resolve, reject })
    })
    return options.busy === 'wait' ? held(begun) : begun
  }

  /**
   * Gives an event to a run; resolves with the state after it, when that is durable.
   *
   * @throws {InstarError} `RUN_UNKNOWN`; `RUN_ENDED`; `EVENT_REFUSED` for what is not an event, what only the
   * interpreter may say, and what the machine throws at. Nothing is journaled then.
   */
  send(run: string, event: { readonly type: string }, { id }: { id?: string } = {}): Promise<RunState> {
    return new Promise((resolve, reject) => {
      this.assertTakesCommands()
      const plain = externalEvent(event)
      this.enqueue({ type: 'send', run, event: plain, ...(id !== undefined && { id }), resolve, reject })
    })
  }

  /** The last durable state. */
  get(run: string): RunState | undefined {
    return this.model.state(run)
  }

  /** Every run that is known, in the order they began: all that go on, and the newest that ended. */
  list(): RunState[] {
    return this.model.states()
  }

  active(machine: string, key: string): RunState | undefined {
    const run = this.model.activeIn(slotOf(machine, key))
    return run === undefined ? undefined : this.model.state(run)
  }

  /** The run that a start or an event with this id went to, as long as that is remembered. */
  takenBy(id: string): string | undefined {
    return this.model.seenBy(id)
  }

  /** Resolves when the run has ended, well or not: look at `status`. */
  ended(run: string, { signal }: { signal?: AbortSignal } = {}): Promise<RunState> {
    return new Promise((resolve, reject) => {
      this.assertOpen()
      signal?.throwIfAborted()
      const state = this.model.state(run)
      if (state === undefined) throw runUnknown(run)
      if (state.status !== 'active') {
        resolve(state)
        return
      }
      const settles = this.endings.get(run) ?? new Set()
      const forget = () => {
        settles.delete(settle)
        signal?.removeEventListener('abort', abort)
      }
      const settle: Settle<RunState> = {
        resolve: (ended) => {
          forget()
          resolve(ended)
        },
        reject: (error) => {
          forget()
          reject(error)
        },
      }
      const abort = () => settle.reject(signal!.reason)
      signal?.addEventListener('abort', abort)
      this.endings.set(run, settles.add(settle))
    })
  }

  /** Tells of everything from now on, after it is durable. Returns what ends it. */
  subscribe(listener: (change: Change) => void): () => void {
    const own = (change: Change) => listener(change)
    this.listeners.add(own)
    return () => this.listeners.delete(own)
  }

  /** The last 500 that machines emitted, across restarts; for those who were not there. */
  notices({ from }: { from?: number } = {}): Notice[] {
    return this.model.notices(from)
  }

  /**
   * The state of a run right after record `seq`, by replay; nothing runs.
   *
   * @throws {InstarError} `SEQUENCE_UNKNOWN` when there is no such record, or the run had not begun; `RUN_UNKNOWN` when
   * there is none, or it was forgotten long after its end.
   */
  async stateAt(run: string, seq: number): Promise<RunState> {
    if (seq > this.model.seq)
      throw new InstarError('SEQUENCE_UNKNOWN', `there is no record ${seq}; the last is ${this.model.seq}`, {
        details: { lastSeq: this.model.seq },
      })
    const { startedSeq = 0 } = this.model.state(run) ?? {}
    if (seq < startedSeq)
      throw new InstarError('SEQUENCE_UNKNOWN', `${run} began with record ${startedSeq}, after record ${seq}`, {
        details: { startedSeq },
      })
    const snapshot = await this.log.snapshotBefore(seq)
    const model =
      snapshot === null
        ? new Model(this.definitions)
        : Model.restore(this.definitions, snapshot.seq, snapshot.state, run)
    for await (const value of this.log.read({ from: model.seq + 1, to: seq }))
      if ((value as Partial<StoredRecord>).run === run) model.replay(readRecord(value))
    const state = model.state(run)
    if (state === undefined) throw runUnknown(run)
    return state
  }

  /**
   * The records from `from` on to the last one now, each with the state of its run right after it, by replay; nothing runs.
   *
   * @throws {InstarError} `JOURNAL_COMPACTED` where `from` is no longer kept, or nothing from which its state follows.
   */
  async *history({ from }: { readonly from: number }): AsyncGenerator<Replayed, void, void> {
    const to = this.model.seq
    if (from > to) return
    const snapshot = await this.log.snapshotBefore(from - 1)
    const model =
      snapshot === null ? new Model(this.definitions) : Model.restore(this.definitions, snapshot.seq, snapshot.state)
    for await (const value of this.log.read({ from: model.seq + 1, to })) {
      const record = readRecord(value)
      const isKnown = isReplayed(model, record)
      if (record.seq >= from) yield { record, state: isKnown ? model.state(record.run)! : null }
      if (record.seq % this.snapshotEveryRecords === 0) model.forgetEnded()
    }
  }

  /**
   * Aborts the effects with `reason` (default {@link Detached}), waits for them, keeps the answers that still came,
   * writes a snapshot and closes the log. Safe to call twice.
   */
  close({ reason }: { reason?: unknown } = {}): Promise<void> {
    this.closing ??= this.shut(reason ?? new Detached())
    return this.closing
  }

  private async shut(reason: unknown): Promise<void> {
    const closed = closedError()
    for (const command of [...this.waiting.values()].flat()) command.reject(closed)
    this.waiting.clear()
    await this.reconciler.close(reason)
    await this.flushing
    await this.snapshotting
    for (const settle of [...this.endings.values()].flatMap((settles) => [...settles])) settle.reject(closed)
    this.endings.clear()
    this.listeners.clear()
    try {
      if (this.dead === null && !this.observing && this.model.seq > this.snapshotSeq) await this.saveSnapshot()
    } finally {
      await this.log.close()
    }
  }

  private assertOpen(): void {
    if (this.dead !== null) throw this.dead.error
    if (this.closing !== null) throw closedError()
  }

  private assertTakesCommands(): void {
    this.assertOpen()
    if (this.observing) throw new InstarError('HOME_OBSERVED', 'the home was opened only to look at it')
  }

  private enqueue(command: Command): void {
    if (this.dead !== null) return
    this.inbox.push(command)
    this.flushing ??= this.flush()
  }

  /** Group commit: all that arrived while the last frame was written is the next frame. */
  private async flush(): Promise<void> {
    do {
      // Where several were answered by the last frame, they get to speak before the next one is made; a lone sender does
      // not wait for others.
      await (this.lastBatchSize > 1 ? new Promise(setImmediate) : undefined)
      const commands = this.inbox.splice(0, batchMax)
      this.lastBatchSize = commands.length
      const batch = new Batch(this.model, this.clock.now())
      const settle: (() => void)[] = []
      for (const command of commands) {
        this.accept(batch, command, settle)
        this.acceptWaiting(batch, settle)
      }
      if (batch.records.length > 0) {
        try {
          await this.log.append(batch.records)
          assert(this.log.lastSeq === batch.seq, 'somebody else writes to this log')
          if (this.dead !== null) throw this.dead.error // a snapshot failed meanwhile
        } catch (error) {
          this.die(error, commands)
          break
        }
        this.commit(batch)
      }
      for (const done of settle) done()
    } while (this.inbox.length > 0 && this.dead === null)
    this.flushing = null
  }

  private accept(batch: Batch, command: Command, settle: (() => void)[]): void {
    if (command.type === 'answer') {
      this.acceptAnswer(batch, command)
      return
    }
    const { resolve, reject } = command
    // Whatever the answer is, it may rest on records of this batch: it is given when they are durable.
    try {
      const state = command.type === 'send' ? acceptEvent(batch, this.definitions, command) : this.begin(batch, command)
      if (state !== undefined) settle.push(() => resolve(state))
    } catch (error) {
      settle.push(() => reject(error))
    }
  }

  /** The run that answers this command, or nothing while it has to wait. */
  private begin(batch: Batch, command: Extract<Command, { type: 'start' }>): RunState | undefined {
    const { machine: name, options } = command
    const { key, input, busy, id } = options
    const again = id === undefined ? undefined : batch.seenBy(id)
    if (again !== undefined) return knownState(batch, again)
    const slot = slotOf(name, key)
    const active = batch.activeIn(slot)
    if (active === undefined) {
      const machine = this.definitions.latest(name)!
      const event = { type: 'xstate.init', machine: machine.ref, key, input }
      const cause = { run: `${name}-${batch.seq + 1}`, event, ...(id !== undefined && { id }) }
      return stateOf(refusing(`${machine.ref} cannot begin`, () => batch.add(machine, undefined, cause)))
    }
    if (busy === 'join') return knownState(batch, active)
    if (busy === 'refuse')
      throw new InstarError('RUN_BUSY', `${active} is under way for '${key}'`, { details: { run: active, key } })
    if (this.closing !== null) throw closedError()
    const waiting = this.waiting.get(slot)
    if (waiting === undefined) this.waiting.set(slot, [command])
    else waiting.push(command)
    return undefined
  }

  /** A slot that became free goes to whoever waited longest, within the same frame: nobody can slip in between. */
  private acceptWaiting(batch: Batch, settle: (() => void)[]): void {
    for (let slot = batch.freed.shift(); slot !== undefined; slot = batch.freed.shift())
      while (batch.activeIn(slot) === undefined) {
        const next = this.waiting.get(slot)?.shift()
        if (next === undefined) {
          this.waiting.delete(slot)
          break
        }
        this.accept(batch, next, settle)
      }
  }

  /** Answers to what nobody asks for any more are dropped: the machine moved on, or the run ended. */
  private acceptAnswer(batch: Batch, { run: id, key, event }: Extract<Command, { type: 'answer' }>): void {
    const run = batch.run(id)
    if (run === undefined) return
    const wanted = (wish: { readonly key: string }) => wish.key === key
    if (!run.effects.some(wanted) && !run.timers.some(wanted)) return
    const machine = this.definitions.get(run.machine)!
    try {
      batch.add(machine, run, { run: id, event, answers: key })
    } catch (error) {
      // Not journaled, the same answer would come again at every start.
      batch.add(machine, run, { run: id, event: { type: '$halt', error: plainError(error) }, answers: key })
    }
  }

  private commit(batch: Batch): void {
    batch.commit()
    for (const { seq, record, next, notices } of batch.accepted) {
      if (this.listeners.size > 0) {
        this.publish({ type: 'record', record: { seq, ...record }, state: stateOf(next) })
        for (const notice of notices) this.publish({ type: 'notice', notice })
      }
      if (record.ends !== undefined) {
        for (const settle of [...(this.endings.get(next.run) ?? [])]) settle.resolve(stateOf(next))
        this.endings.delete(next.run)
      }
    }
    for (const run of batch.runs.values()) this.reconciler.reconcile(run)
    if (this.snapshotting === null && this.model.seq - this.snapshotSeq >= this.snapshotEveryRecords)
      this.snapshotting = this.saveSnapshot()
        .catch((error) => this.die(error, []))
        .finally(() => {
          this.snapshotting = null
        })
  }

  private async saveSnapshot(): Promise<void> {
    const { seq } = this.model
    this.model.forgetEnded()
    await this.log.saveSnapshot(seq, this.model.persist())
    this.snapshotSeq = seq
  }

  private succeeded(run: string, effect: WantedEffect, output: unknown): void {
    const { id, key } = effect
    try {
      const event = asJson({ type: `xstate.done.actor.${id}`, output, actorId: id }, 'the answer')
      this.enqueue({ type: 'answer', run, key, event })
    } catch (error) {
      this.failed(run, effect, error)
    }
  }

  private failed(run: string, { id, key }: WantedEffect, error: unknown): void {
    const event = { type: `xstate.error.actor.${id}`, error: plainError(error), actorId: id }
    this.enqueue({ type: 'answer', run, key, event })
  }

  private publish(change: Change): void {
    if (this.dead !== null) return
    for (const listener of this.listeners)
      try {
        listener(change)
      } catch (error) {
        // A listener is the host's. Its defect must not stop the runs, and must not be silent.
        process.emitWarning(error instanceof Error ? error : String(error))
      }
  }

  /** The end of what is in the log is unknown now. Only the next start, which reads it, may go on. */
  private die(error: unknown, commands: readonly Command[]): void {
    const first = this.dead === null
    this.dead ??= { error }
    const left = [...commands, ...this.inbox.splice(0), ...[...this.waiting.values()].flat()]
    for (const command of left) if (command.type !== 'answer') command.reject(this.dead.error)
    for (const settles of [...this.endings.values()]) for (const settle of [...settles]) settle.reject(this.dead.error)
    this.waiting.clear()
    this.endings.clear()
    this.listeners.clear()
    void this.reconciler.close(error)
    if (first) this.onDead(error)
  }
}

/** Opening stops at a definition that has changed; looking back only shows less. */
function isReplayed(model: Model, record: StoredRecord): boolean {
  try {
    model.replay(record)
    return true
  } catch (error) {
    if (error instanceof InstarError) return false
    throw error
  }
}

function acceptEvent(
  batch: Batch,
  definitions: Definitions,
  { run: name, event, id }: Extract<Command, { type: 'send' }>,
): RunState {
  const again = id === undefined ? undefined : batch.seenBy(id)
  if (again !== undefined) return knownState(batch, again)
  const run = batch.run(name)
  if (run === undefined || run.snapshot.status !== 'active') {
    if (batch.state(name) === undefined) throw runUnknown(name)
    throw new InstarError('RUN_ENDED', `${name} has ended`, { details: { run: name } })
  }
  const machine = definitions.get(run.machine)!
  const cause = { run: name, event, ...(id !== undefined && { id }) }
  return stateOf(refusing(`${machine.ref} refused '${event.type}'`, () => batch.add(machine, run, cause)))
}

function knownState(batch: Batch, run: string): RunState {
  const state = batch.state(run)
  if (state === undefined) throw runUnknown(run)
  return state
}

function refusing<Result>(message: string, attempt: () => Result): Result {
  try {
    return attempt()
  } catch (cause) {
    throw new InstarError('EVENT_REFUSED', message, { cause })
  }
}

/** What a machine sees live is exactly what a replay will read. */
function asJson<Value>(value: Value, what: string): Value {
  if (value === undefined) return value
  return refusing(`${what} is not JSON`, () => JSON.parse(JSON.stringify(value)) as Value)
}

/** Events of the interpreter itself cannot come from outside: they would forge answers and endings. */
function externalEvent(event: unknown): RunEvent {
  const type = typeof event === 'object' && event !== null ? (event as { type?: unknown }).type : undefined
  if (typeof type !== 'string' || type === '')
    throw new InstarError('EVENT_REFUSED', 'an event is an object with a type')
  if (type.startsWith('xstate.') || type.startsWith('$'))
    throw new InstarError('EVENT_REFUSED', `'${type}' cannot be sent from outside`)
  return asJson(event as RunEvent, 'the event')
}

function plainError(error: unknown) {
  const record = errorRecord(error)
  try {
    return asJson(record, 'the error')
  } catch {
    // Its details do not survive JSON; its name, code and message do.
    const { details: _, ...rest } = record
    return rest
  }
}

const runUnknown = (run: string) => new InstarError('RUN_UNKNOWN', `there is no run '${run}'`, { details: { run } })

const closedError = () => new InstarError('CONTROLLER_CLOSED', 'the interpreter is closed')
