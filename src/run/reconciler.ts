import { InstarError } from '../errors.ts'
import type { Effect } from './flow.ts'
import type { Run, WantedEffect, WantedTimer } from './run.ts'
import { type Clock, Timers } from './timers.ts'

/** What the reconciler tells: how a wish was answered, and what an effect reports on the way. */
export interface Reports {
  effect(run: Run, effect: WantedEffect): Effect<any, any>
  succeeded(run: string, effect: WantedEffect, output: unknown): void
  failed(run: string, effect: WantedEffect, error: unknown): void
  fired(run: string, timer: WantedTimer): void
  progress(run: string, effect: WantedEffect, data: unknown): void
}

interface Running {
  readonly abort: AbortController
  readonly settled: Promise<void>
}

type Tables = Pick<Run, 'effects' | 'timers'>

const noTables: Tables = { effects: [], timers: [] }

/**
 * Makes the world in this process what the tables of the runs say: starts the effects and arms the timers that are
 * missing, aborts and disarms those that are superfluous. It is told of a run only when its state is durable.
 */
export class Reconciler {
  private readonly tables = new Map<string, Tables>()
  private readonly running = new Map<string, Running>()
  /** The aborted effects of each run that have not ended yet. */
  private readonly ending = new Map<string, Set<Promise<void>>>()
  private readonly timers: Timers
  private closed = false

  constructor(
    clock: Clock,
    private readonly reports: Reports,
  ) {
    this.timers = new Timers(clock, (run, timer) => reports.fired(run, timer))
  }

  reconcile(run: Run): void {
    if (this.closed) return
    const before = this.tables.get(run.run) ?? noTables
    const { effects, timers } = run
    if (before.effects === effects && before.timers === timers) return
    if (effects.length + timers.length > 0) this.tables.set(run.run, { effects, timers })
    else this.tables.delete(run.run)
    if (before.timers !== timers) {
      for (const { key } of missingFrom(timers, before.timers)) this.timers.disarm(key)
      for (const timer of missingFrom(before.timers, timers)) this.timers.arm(run.run, timer)
    }
    if (before.effects !== effects) {
      for (const { key } of missingFrom(effects, before.effects)) this.abort(run.run, key)
      for (const effect of missingFrom(before.effects, effects)) this.start(run, effect)
    }
  }

  /** Disarms every timer, aborts every effect with `reason`, and waits until they have ended. Nothing starts again. */
  async close(reason: unknown): Promise<void> {
    this.closed = true
    this.timers.clear()
    const running = [...this.running.values()]
    for (const { abort } of running) abort.abort(reason)
    await Promise.all(running.map(({ settled }) => settled))
    await Promise.all([...this.ending.values()].flatMap((settled) => [...settled]))
  }

  private start(run: Run, effect: WantedEffect): void {
    const abort = new AbortController()
    const before = [...(this.ending.get(run.run) ?? [])]
    const settled = this.perform(run, effect, abort.signal, before).finally(() => this.running.delete(effect.key))
    this.running.set(effect.key, { abort, settled })
  }

  private async perform(
    run: Run,
    effect: WantedEffect,
    signal: AbortSignal,
    before: readonly Promise<void>[],
  ): Promise<void> {
    // What was aborted may still be putting things back. Whatever the machine wants next must not meet it there.
    await Promise.all(before)
    if (signal.aborted) return
    const progress = (data: unknown) => {
      if (!signal.aborted) this.reports.progress(run.run, effect, data)
    }
    try {
      const output = await this.reports.effect(run, effect)(effect.input, { key: effect.key, signal, progress })
      this.reports.succeeded(run.run, effect, output)
    } catch (error) {
      // Whoever aborted it does not ask for its answer, or asks again at the next start.
      if (!signal.aborted) this.reports.failed(run.run, effect, error)
    }
  }

  private abort(run: string, key: string): void {
    const running = this.running.get(key)
    if (running === undefined) return
    const ending = this.ending.get(run) ?? new Set()
    this.ending.set(run, ending.add(running.settled))
    running.settled.finally(() => {
      ending.delete(running.settled)
      if (ending.size === 0 && this.ending.get(run) === ending) this.ending.delete(run)
    })
    running.abort.abort(new InstarError('ABORTED', 'the machine no longer asks for this'))
  }
}

/** Those of `wanted` that `present` lacks. */
function missingFrom<Item extends { readonly key: string }>(
  present: readonly Item[],
  wanted: readonly Item[],
): readonly Item[] {
  return wanted.filter((item) => !present.some((other) => other.key === item.key))
}
