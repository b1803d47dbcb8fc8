import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { type ScheduleClock, type ScheduleOptions, startSchedule } from '../../src/runtime/schedule.ts'
import { compile } from '../support/compiled.ts'

/** A clock that stands until `next` moves it to the one timer that is set. */
function fakeClock(random = 0.5) {
  let timer: { ms: number; due: () => void } | null = null
  let now = 5000
  const clock: ScheduleClock = {
    after(ms, due) {
      if (timer !== null) throw new Error('two timers at once')
      timer = { ms, due }
      return () => {
        timer = null
      }
    },
    now: () => now,
    random: () => random,
  }
  return {
    clock,
    waits: () => timer?.ms ?? null,
    /** Lets time pass in which nothing fires. */
    pass(ms: number) {
      now += ms
    },
    /** Fires it and lets the task come to its end. */
    async next() {
      const { ms, due } = timer!
      timer = null
      due()
      await new Promise(setImmediate)
      return ms
    },
  }
}

function scheduled(more: Partial<ScheduleOptions>, random?: number) {
  const fake = fakeClock(random)
  const schedule = startSchedule({ firstAfterMs: 30, everyMs: 1000, task: async () => {}, clock: fake.clock, ...more })
  return { ...fake, schedule }
}

test('the first check comes early, the others at their distance', async () => {
  let runs = 0
  const { next, schedule } = scheduled({
    task: async () => {
      runs += 1
    },
  })
  expect([await next(), await next(), await next()]).toEqual([30, 1000, 1000])
  expect(runs).toBe(3)
  expect(schedule.state()).toEqual({ nextInMs: 1000, running: false, failures: 0 })
})

test('what is told of the next check is the time that is left until it', () => {
  const { pass, schedule } = scheduled({ firstAfterMs: 1000 })
  expect(schedule.state().nextInMs).toBe(1000)
  pass(400)
  expect(schedule.state().nextInMs).toBe(600)
  pass(700) // a machine that was suspended fires late
  expect(schedule.state().nextInMs).toBe(0)
})

test('distances vary by a tenth either way', () => {
  expect(scheduled({ firstAfterMs: 1000 }, 0).waits()).toBe(900)
  expect(scheduled({ firstAfterMs: 1000 }, 0.999_999).waits()).toBe(1100)
})

test('after failures the distance doubles up to sixteen times, and one success ends that', async () => {
  const errors: unknown[] = []
  let outcome: () => unknown = () => {
    throw new Error('offline')
  }
  const { next, waits } = scheduled({ task: async () => outcome(), onError: (error) => errors.push(error) })
  const distances: (number | null)[] = []
  for (let run = 0; run < 6; run += 1) {
    await next()
    distances.push(waits())
  }
  expect(distances).toEqual([2000, 4000, 8000, 16_000, 16_000, 16_000])
  expect(errors).toHaveLength(6)
  outcome = () => false
  await next()
  expect(waits()).toBe(16_000)
  outcome = () => true
  await next()
  expect(waits()).toBe(1000)
})

test('a listener that throws ends nothing', async () => {
  const fail = () => {
    throw new Error('again')
  }
  const { next, waits } = scheduled({ task: async () => fail(), onError: fail })
  await next()
  expect(waits()).toBe(2000)
})

test('no timer is set while a check runs, however long it takes', async () => {
  let resolve = () => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  const { next, waits, schedule } = scheduled({ task: () => promise })
  await next()
  expect(waits()).toBe(null)
  expect(schedule.state()).toEqual({ nextInMs: null, running: true, failures: 0 })
  resolve()
  await new Promise(setImmediate)
  expect(waits()).toBe(1000)
})

test('stopping aborts what runs, waits for its end and sets no timer again', async () => {
  const events: unknown[] = []
  const { next, waits, schedule } = scheduled({
    onError: (error) => events.push(error),
    task: (signal) =>
      new Promise((_, reject) =>
        signal.addEventListener('abort', () => {
          events.push(signal.reason)
          setTimeout(() => {
            events.push('ended')
            reject(signal.reason)
          }, 20)
        }),
      ),
  })
  await next()
  await schedule.stop('closing')
  expect(events).toEqual(['closing', 'ended'])
  expect(waits()).toBe(null)
  await schedule.stop()
})

test('stopping before the first check lets none happen', async () => {
  const { waits, schedule } = scheduled({})
  await schedule.stop()
  expect(waits()).toBe(null)
  expect(schedule.state().nextInMs).toBe(null)
})

test('in development there are no timers', () => {
  expect(scheduled({ development: true }).waits()).toBe(null)
})

test('a delay that is too long for a timer is not taken for none', () => {
  expect(scheduled({ firstAfterMs: 1e12 }).waits()).toBe(2_147_483_647)
})

test('a schedule does not keep its process alive', async () => {
  const compiled = await compile('src/runtime/schedule.ts')
  try {
    const script = `
      import { startSchedule } from ${JSON.stringify(compiled.file('src/runtime/schedule.ts'))}
      startSchedule({ firstAfterMs: 60_000, everyMs: 60_000, task: async () => {} })`
    const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 20_000 })
    expect(status).toBe(0)
  } finally {
    await compiled.remove()
  }
})
