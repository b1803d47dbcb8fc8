import type { Clock } from '../../src/run/timers.ts'

/** Time that moves when a test says so. */
export class TestClock implements Clock {
  private readonly alarms = new Map<number, { readonly at: number; readonly ring: () => void }>()
  private last = 0
  /** Every delay that was asked for. */
  readonly delays: number[] = []

  constructor(private time = 1_000_000) {}

  now(): number {
    return this.time
  }

  setTimeout(ring: () => void, ms: number): unknown {
    this.last += 1
    this.delays.push(ms)
    this.alarms.set(this.last, { at: this.time + ms, ring })
    return this.last
  }

  clearTimeout(handle: unknown): void {
    this.alarms.delete(handle as number)
  }

  get armed(): number {
    return this.alarms.size
  }

  /** Lets time pass at once: alarms ring late, as after a suspend. */
  advance(ms: number): void {
    this.time += ms
    for (let next = this.due(); next !== undefined; next = this.due()) {
      this.alarms.delete(next[0])
      next[1].ring()
    }
  }

  private due() {
    return [...this.alarms].filter(([, { at }]) => at <= this.time).sort(([, a], [, b]) => a.at - b.at)[0]
  }
}
