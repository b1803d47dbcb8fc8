/** Time as a schedule sees it; a test brings its own. */
export interface ScheduleClock {
  /** Calls `due` after a while, unless cancelled by the function it gives back. Never keeps the process alive. */
  after(ms: number, due: () => void): () => void
  /** In ms since some moment, at the pace of `after`. */
  now(): number
  /** From 0 to below 1. */
  random(): number
}

export interface ScheduleOptions {
  readonly firstAfterMs: number
  readonly everyMs: number
  /** Throws, or gives false, where it failed; then the next one comes later. */
  readonly task: (signal: AbortSignal) => Promise<unknown>
  /** Hears what a task threw. Nobody else would. */
  readonly onError?: (error: unknown) => void
  /** In development nothing is looked for: no timer is ever set. */
  readonly development?: boolean
  readonly clock?: ScheduleClock
}

export interface Schedule {
  /** How long until the next check, and how many have failed in a row. */
  state(): { readonly nextInMs: number | null; readonly running: boolean; readonly failures: number }
  /** Ends it: no more timers, the task that runs is aborted and waited for. */
  stop(reason?: unknown): Promise<void>
}

// A tenth either way: a fleet that was started at once does not ask the registry at once for ever.
const jitterShare = 0.1
const backOffFactorMax = 16
// setTimeout takes 32 bits, and a longer delay for no delay at all.
const timerMsMax = 2_147_483_647

const systemClock: ScheduleClock = {
  after(ms, due) {
    const timer = setTimeout(due, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
  now: () => performance.now(),
  random: Math.random,
}

/**
 * Runs `task` after `firstAfterMs` and then again `everyMs` after it ended, both give or take a tenth. After failures the
 * distance doubles each time, up to sixteen times. Never two at once, and never what keeps the process alive.
 */
export function startSchedule(options: ScheduleOptions): Schedule {
  const { firstAfterMs, everyMs, task, onError = () => {}, development = false, clock = systemClock } = options
  const stopped = new AbortController()
  let failures = 0
  let running: Promise<void> | undefined
  let dueAt: number | null = null
  let cancelTimer = () => {}

  const plan = (ms: number) => {
    const delayMs = Math.min(timerMsMax, Math.round(ms * (1 + jitterShare * (2 * clock.random() - 1))))
    dueAt = clock.now() + delayMs
    cancelTimer = clock.after(delayMs, () => {
      dueAt = null
      running = run()
    })
  }
  const tell = (error: unknown) => {
    try {
      onError(error)
    } catch {
      // A listener that throws must not end the schedule, and there is nobody else to tell.
    }
  }
  const run = async () => {
    try {
      failures = (await task(stopped.signal)) === false ? failures + 1 : 0
    } catch (error) {
      failures += 1
      if (!stopped.signal.aborted) tell(error)
    }
    running = undefined
    if (!stopped.signal.aborted) plan(everyMs * Math.min(2 ** failures, backOffFactorMax))
  }

  if (!development) plan(firstAfterMs)
  return {
    state: () => ({
      nextInMs: dueAt === null ? null : Math.max(0, Math.round(dueAt - clock.now())),
      running: running !== undefined,
      failures,
    }),
    async stop(reason) {
      cancelTimer()
      dueAt = null
      stopped.abort(reason)
      await running
    },
  }
}
