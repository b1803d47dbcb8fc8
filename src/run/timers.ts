import type { WantedTimer } from './run.ts'

/** Time as the interpreter sees it. Tests bring their own. */
export interface Clock {
  /** Wall clock in ms. */
  now(): number
  setTimeout(ring: () => void, ms: number): unknown
  clearTimeout(handle: unknown): void
}

/** The system's time. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: Date.now,
  setTimeout: (ring, ms) => setTimeout(ring, ms).unref(),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
}

/** A longer delay overflows `setTimeout`, which then fires at once. */
const longestDelayMs = 2 ** 31 - 1

/**
 * All armed timers behind one alarm, so that those which are due fire in due order whatever delayed them: a busy event
 * loop, a suspended machine, or a controller that was not running.
 */
export class Timers {
  private readonly armed = new Map<string, { readonly run: string; readonly timer: WantedTimer }>()
  private alarm: { readonly at: number; readonly handle: unknown } | null = null

  constructor(
    private readonly clock: Clock,
    private readonly fire: (run: string, timer: WantedTimer) => void,
  ) {}

  arm(run: string, timer: WantedTimer): void {
    this.armed.set(timer.key, { run, timer })
    if (this.alarm === null || timer.due < this.alarm.at) this.set(timer.due)
  }

  /** The alarm stays as it is: to ring once for nothing is cheaper than to look for the next one each time. */
  disarm(key: string): void {
    this.armed.delete(key)
  }

  clear(): void {
    this.armed.clear()
    this.unset()
  }

  private ring(): void {
    this.alarm = null
    const now = this.clock.now()
    const due = [...this.armed.values()].filter(({ timer }) => timer.due <= now)
    due.sort((a, b) => a.timer.due - b.timer.due || Number.parseInt(a.timer.key, 10) - Number.parseInt(b.timer.key, 10))
    for (const { timer } of due) this.armed.delete(timer.key)
    for (const { run, timer } of due) this.fire(run, timer)
    let next = Number.POSITIVE_INFINITY
    for (const { timer } of this.armed.values()) if (timer.due < next) next = timer.due
    if (next < Number.POSITIVE_INFINITY) this.set(next)
  }

  private set(at: number): void {
    this.unset()
    const ms = Math.min(Math.max(at - this.clock.now(), 0), longestDelayMs)
    this.alarm = { at, handle: this.clock.setTimeout(() => this.ring(), ms) }
  }

  private unset(): void {
    if (this.alarm !== null) this.clock.clearTimeout(this.alarm.handle)
    this.alarm = null
  }
}
