import { afterEach, describe, expect, test } from 'vitest'
import { assign, emit, raise, setup } from 'xstate'
import { effect, failureOf } from '../../machines/effect.ts'
import { InstarError } from '../../src/errors.ts'
import type { AnyFlow, EffectContext } from '../../src/run/flow.ts'
import { foldJournal } from '../../src/run/fold.ts'
import { type Change, Detached, Interpreter, type InterpreterOptions } from '../../src/run/interpreter.ts'
import { MemoryLog } from '../support/memory-log.ts'
import { TestClock } from '../support/test-clock.ts'

type Answer = { of: number }
const order = setup({
  types: {} as {
    context: { n: number; paid: Answer | null; failure: string | null }
    input: { n: number }
    events:
      | { type: 'more' }
      | { type: 'cancel' }
      | { type: 'tell' }
      | { type: 'break' }
      | { type: 'date' }
      | { type: 'go' }
    emitted: { type: 'told'; n: number }
    output: { n: number }
  },
  actors: { charge: effect<{ n: number }, Answer>() },
}).createMachine({
  id: 'order',
  version: '1',
  context: ({ input }) => {
    if (input?.n === -1) throw new Error('no order is negative')
    return { n: input?.n ?? 0, paid: null, failure: null }
  },
  initial: 'charging',
  output: ({ context: { n } }) => ({ n }),
  on: {
    more: { actions: assign({ n: ({ context }) => context.n + 1 }) },
    tell: { actions: emit(({ context: { n } }) => ({ type: 'told', n })) },
    break: {
      actions: assign(() => {
        throw new Error('it broke')
      }),
    },
    date: { actions: assign({ n: () => new Date() as never }) },
    cancel: '.done',
  },
  states: {
    charging: {
      on: { go: { target: 'charging', reenter: true } },
      invoke: {
        id: 'charge',
        src: 'charge',
        input: ({ context: { n } }) => ({ n }),
        onDone: {
          target: 'resting',
          actions: assign({
            paid: ({ event }) => {
              if (event.output.of === 666) throw new Error('that is no sum')
              return event.output
            },
          }),
        },
        onError: { target: 'failed', actions: assign({ failure: ({ event }) => failureOf(event).code ?? null }) },
      },
    },
    failed: { on: { go: 'charging' } },
    resting: { on: { go: 'charging' }, after: { 1000: 'done' } },
    done: { type: 'final' },
  },
})

/** An effect that a test answers by hand. */
class Hand {
  readonly calls: {
    input: any
    context: EffectContext
    resolve: (value: any) => void
    reject: (error: unknown) => void
  }[] = []
  readonly serve = (input: any, context: EffectContext) =>
    new Promise<any>((resolve, reject) => {
      this.calls.push({ input, context, resolve, reject })
      context.signal.addEventListener('abort', () => reject(context.signal.reason))
    })
}

const opened: Interpreter[] = []
afterEach(async () => {
  for (const interpreter of opened.splice(0)) await interpreter.close().catch(() => {})
})

async function open(options: Partial<InterpreterOptions> & { log: MemoryLog }, hand = new Hand()) {
  const clock = new TestClock()
  const flows: AnyFlow[] = [{ machine: order, effects: { charge: hand.serve } }]
  const interpreter = await Interpreter.open({ clock, flows, ...options })
  opened.push(interpreter)
  return { interpreter, hand, clock, log: options.log }
}
const fresh = (options: Partial<Omit<InterpreterOptions, 'log'>> = {}) => open({ log: new MemoryLog(), ...options })
const begin = (interpreter: Interpreter, key = 'k', busy: 'join' | 'wait' | 'refuse' = 'refuse', n = 1) =>
  interpreter.start('order', { key, input: { n }, busy })
const settled = async () => {
  for (let turn = 0; turn < 6; turn += 1) await new Promise(setImmediate)
}
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    (error) => error.code ?? error.message,
  )

describe('a run', () => {
  test('shows nothing and starts no effect before its record is durable', async () => {
    const { interpreter, hand, log } = await fresh()
    let release = () => {}
    log.gate = () => new Promise((resolve) => (release = resolve))
    const seen: Change[] = []
    interpreter.subscribe((change) => seen.push(change))
    const started = begin(interpreter)
    await settled()
    expect([interpreter.list(), seen, hand.calls]).toEqual([[], [], []])
    release()
    const state = await started
    expect(state).toMatchObject({ run: 'order-1', machine: 'order@1', key: 'k', status: 'active', value: 'charging' })
    await settled()
    expect(hand.calls.map(({ input, context }) => [input, context.key])).toEqual([[{ n: 1 }, '1:charge']])
    expect(seen).toMatchObject([{ type: 'record', record: { seq: 1, run: 'order-1' }, state: { seq: 1 } }])
    log.gate = async () => {}
  })

  test('goes on with its effect’s answer, and ends with an output', async () => {
    const { interpreter, hand, clock } = await fresh()
    const { run } = await begin(interpreter)
    const ended = interpreter.ended(run)
    await settled()
    hand.calls[0]!.resolve({ of: 1 })
    await settled()
    expect(interpreter.get(run)).toMatchObject({ value: 'resting', context: { paid: { of: 1 } }, effects: [] })
    expect(interpreter.get(run)!.timers).toEqual([{ id: 'xstate.after.1000.order.resting', due: clock.now() + 1000 }])
    clock.advance(1000)
    expect(await ended).toMatchObject({ status: 'done', output: { n: 1 }, timers: [] })
    expect(await code(interpreter.send(run, { type: 'more' }))).toBe('RUN_ENDED')
    expect(clock.armed).toBe(0)
  })

  test('sees an effect’s error with its code', async () => {
    const { interpreter, hand } = await fresh()
    const { run } = await begin(interpreter)
    await settled()
    hand.calls[0]!.reject(new InstarError('DISK_FULL', 'full', { details: { path: 'p' } }))
    await settled()
    expect(interpreter.get(run)).toMatchObject({ value: 'failed', context: { failure: 'DISK_FULL' } })
  })

  test('drops the answer of an effect that it no longer wants, and starts the next only when that one is over', async () => {
    const late: ((value: unknown) => void)[] = []
    const keys: string[] = []
    const charge = (_: unknown, { key }: EffectContext) => {
      keys.push(key)
      return new Promise((resolve) => late.push(resolve))
    }
    const { interpreter, log } = await fresh({ flows: [{ machine: order, effects: { charge } }] })
    const { run } = await begin(interpreter)
    await settled()
    await interpreter.send(run, { type: 'go' })
    await settled()
    expect(keys).toEqual(['1:charge'])
    late[0]!({ of: 1 })
    await settled()
    expect(keys).toEqual(['1:charge', '2:charge'])
    expect(interpreter.get(run)).toMatchObject({ value: 'charging', seq: 2 })
    expect(log.lastSeq).toBe(2)
    late[1]!({ of: 2 })
    await settled()
    expect(interpreter.get(run)).toMatchObject({ context: { paid: { of: 2 } } })
  })

  test('ends with an error when an answer makes the machine throw, and stays so after a restart', async () => {
    const { interpreter, hand, log } = await fresh()
    const { run } = await begin(interpreter)
    await settled()
    hand.calls[0]!.resolve({ of: 666 })
    const end = await interpreter.ended(run)
    expect(end).toMatchObject({ status: 'error', error: { message: 'that is no sum' }, effects: [] })
    const again = await open({ log: log.copy() })
    expect(again.interpreter.get(run)).toEqual(end)
    expect(again.hand.calls).toEqual([])
  })

  test('takes no event that forges an answer, is not one, breaks the machine, or leaves what JSON does not keep', async () => {
    const { interpreter, log } = await fresh()
    const { run } = await begin(interpreter)
    const before = interpreter.get(run)
    const cycle: any = { type: 'more' }
    cycle.self = cycle
    const events = [
      { type: 'xstate.done.actor.charge', output: { of: 1 }, actorId: 'charge' },
      { type: 'xstate.after.1000.order.resting' },
      { type: '$halt' },
      { type: '' },
      { kind: 'more' },
      'more',
      null,
      { type: 'break' },
      { type: 'date' },
      cycle,
    ]
    for (const event of events) expect(await code(interpreter.send(run, event as never))).toBe('EVENT_REFUSED')
    expect(await code(begin(interpreter, 'other', 'refuse', -1))).toBe('EVENT_REFUSED')
    expect(await code(interpreter.send('order-99', { type: 'more' }))).toBe('RUN_UNKNOWN')
    expect(await code(interpreter.start('nothing', { key: '', input: {}, busy: 'join' }))).toBe('MACHINE_UNKNOWN')
    expect(log.lastSeq).toBe(1)
    expect(interpreter.get(run)).toBe(before)
  })

  test('takes an event with the same id once, also after a restart and from a snapshot', async () => {
    const { interpreter, log } = await fresh()
    const { run } = await begin(interpreter)
    const twice = [1, 2].map(() => interpreter.send(run, { type: 'more' }, { id: 'a' }))
    for (const state of await Promise.all(twice)) expect(state.context).toMatchObject({ n: 2 })
    const first = await interpreter.start('order', { key: 'x', input: { n: 1 }, busy: 'refuse', id: 'b' })
    const bare = log.copy()
    await interpreter.close()
    for (const copy of [bare, log.copy()]) {
      const again = (await open({ log: copy })).interpreter
      expect((await again.send(run, { type: 'more' }, { id: 'a' })).context).toMatchObject({ n: 2 })
      expect((await again.start('order', { key: 'x', input: { n: 1 }, busy: 'refuse', id: 'b' })).run).toBe(first.run)
      expect(copy.lastSeq).toBe(log.lastSeq)
    }
  })
})

describe('runs of one key', () => {
  test('are joined, refused, or begin one after the other in the order they came', async () => {
    const { interpreter, log } = await fresh()
    const first = await begin(interpreter)
    expect((await begin(interpreter, 'k', 'join')).run).toBe(first.run)
    expect(await code(begin(interpreter, 'k', 'refuse'))).toBe('RUN_BUSY')
    expect((await begin(interpreter, 'other')).run).not.toBe(first.run)
    const begun: number[] = []
    const waiters = [10, 11, 12].map((n) =>
      begin(interpreter, 'k', 'wait', n).then((state) => {
        begun.push(n)
        return state.run
      }),
    )
    await settled()
    expect([begun, log.lastSeq]).toEqual([[], 2])
    await interpreter.send(first.run, { type: 'cancel' })
    const second = await waiters[0]!
    expect(interpreter.active('order', 'k')?.run).toBe(second)
    expect(log.frames.at(-1)!.length).toBe(2)
    expect(begun).toEqual([10])
    await interpreter.send(second, { type: 'cancel' })
    await interpreter.send(await waiters[1]!, { type: 'cancel' })
    expect(interpreter.get(await waiters[2]!)).toMatchObject({ context: { n: 12 }, status: 'active' })
  })

  test('who waits is rejected at close, and nothing of it was journaled', async () => {
    const { interpreter, log } = await fresh()
    await begin(interpreter)
    const waiting = code(begin(interpreter, 'k', 'wait'))
    await settled()
    await interpreter.close()
    expect(await waiting).toBe('CONTROLLER_CLOSED')
    expect(log.lastSeq).toBe(1)
  })
})

describe('many at once', () => {
  test('256 senders share frames', async () => {
    const { interpreter, log } = await fresh()
    log.gate = () => new Promise(setImmediate)
    const { run } = await begin(interpreter)
    const states = await Promise.all(Array.from({ length: 256 }, () => interpreter.send(run, { type: 'more' })))
    expect(states.map(({ context }) => (context as { n: number }).n)).toEqual(states.map((_, at) => at + 2))
    expect(log.frames.length).toBeLessThan(6)
    expect(log.lastSeq).toBe(257)
  })
})

describe('when the log fails', () => {
  test('nobody is told of success, effects are aborted, and nothing is accepted or shown any more', async () => {
    const deaths: unknown[] = []
    const { interpreter, hand, log, clock } = await fresh({ onDead: (error) => deaths.push(error) })
    const { run } = await begin(interpreter)
    const waiting = code(begin(interpreter, 'k', 'wait'))
    const ended = code(interpreter.ended(run))
    await settled()
    const seen: Change[] = []
    interpreter.subscribe((change) => seen.push(change))
    const before = interpreter.get(run)
    log.failure = new Error('input/output error')
    const sends = [1, 2].map(() => code(interpreter.send(run, { type: 'more' })))
    for (const told of [...sends, waiting, ended]) expect(await told).toBe('input/output error')
    log.failure = null
    expect(await code(interpreter.send(run, { type: 'more' }))).toBe('input/output error')
    expect(await code(begin(interpreter, 'new'))).toBe('input/output error')
    hand.calls[0]!.resolve({ of: 1 })
    await settled()
    expect(hand.calls[0]!.context.signal.reason).toBe(deaths[0])
    expect([deaths.length, seen, interpreter.get(run), clock.armed, log.lastSeq]).toEqual([1, [], before, 0, 1])
    await interpreter.close()
    expect([log.closed, log.snapshots]).toEqual([1, []])
  })

  test('a snapshot that cannot be written is such a failure', async () => {
    const deaths: any[] = []
    const { interpreter, log } = await fresh({ snapshotEveryRecords: 2, onDead: (error) => deaths.push(error) })
    log.snapshotFailure = new Error('disk full')
    const { run } = await begin(interpreter)
    await interpreter.send(run, { type: 'more' })
    await settled()
    expect(await code(interpreter.send(run, { type: 'more' }))).toBe('disk full')
    expect(deaths.map(({ message }) => message)).toEqual(['disk full'])
  })
})

describe('after a restart', () => {
  test('an effect without an answer starts again under its key; one with an answer does not', async () => {
    const { interpreter, log } = await fresh()
    await begin(interpreter)
    const again = await open({ log: log.copy() })
    await settled()
    expect(again.hand.calls.map(({ context }) => context.key)).toEqual(['1:charge'])
    again.hand.calls[0]!.resolve({ of: 1 })
    await settled()
    const third = await open({ log: again.log.copy() })
    await settled()
    expect(third.hand.calls).toEqual([])
    expect(third.interpreter.get('order-1')).toMatchObject({ value: 'resting' })
  })

  test('Journal 7: timers that came due while nobody ran fire at once in due order, the others when they are due', async () => {
    const alarm = setup({ types: {} as { input: { ms: number }; context: { ms: number } } }).createMachine({
      id: 'alarm',
      version: '1',
      context: ({ input }) => ({ ms: input?.ms ?? 0 }),
      initial: 'armed',
      entry: raise({ type: 'ring' }, { id: 'ring', delay: ({ context }) => context.ms }),
      states: { armed: { on: { ring: 'rung' } }, rung: { type: 'final' } },
    })
    const flows = [{ machine: alarm, effects: {} }]
    const { interpreter, log, clock } = await fresh({ flows })
    for (const ms of [300, 100, 2 ** 31 + 5_000, 200, 5_000])
      await interpreter.start('alarm', { key: String(ms), input: { ms }, busy: 'refuse' })
    const copy = log.copy()
    const later = new TestClock(clock.now() + 1_000)
    const again = await open({ log: copy, flows, clock: later })
    const order: unknown[] = []
    again.interpreter.subscribe((change) => {
      if (change.type === 'record') order.push((change.state.context as { ms: number }).ms)
    })
    later.advance(0)
    await settled()
    expect(order).toEqual([100, 200, 300])
    later.advance(3_999)
    await settled()
    expect(order).toEqual([100, 200, 300])
    later.advance(1)
    await settled()
    expect(order).toEqual([100, 200, 300, 5_000])
    expect(Math.max(...later.delays)).toBe(2 ** 31 - 1)
    for (let days = 0; days < 3; days += 1) later.advance(2 ** 30)
    await settled()
    expect(again.interpreter.list().map(({ status }) => status)).toEqual(Array(5).fill('done'))
  })

  test('a timer armed again under its id replaces the one before it', async () => {
    const snooze = setup({}).createMachine({
      id: 'snooze',
      version: '1',
      initial: 'quiet',
      on: { snooze: { actions: raise({ type: 'ring' }, { id: 'ring', delay: 100 }) } },
      states: { quiet: { on: { ring: 'rung' } }, rung: { type: 'final' } },
    })
    const { interpreter, clock } = await fresh({ flows: [{ machine: snooze, effects: {} }] })
    const { run } = await interpreter.start('snooze', { key: '', input: {}, busy: 'refuse' })
    await interpreter.send(run, { type: 'snooze' })
    clock.advance(60)
    const { timers } = await interpreter.send(run, { type: 'snooze' })
    expect(timers).toEqual([{ id: 'ring', due: clock.now() + 100 }])
    clock.advance(60)
    await settled()
    expect(interpreter.get(run)).toMatchObject({ value: 'quiet' })
    clock.advance(40)
    await settled()
    expect(interpreter.get(run)).toMatchObject({ value: 'rung' })
  })

  test('from a snapshot everything is as it was without one, and what ended is kept up to a bound', async () => {
    const { interpreter, hand, log } = await fresh({ snapshotEveryRecords: 50 })
    const kept = await begin(interpreter, 'kept')
    await settled()
    for (let n = 0; n < 130; n += 1) {
      const { run } = await begin(interpreter, 'k', 'refuse', n)
      await interpreter.send(run, { type: 'tell' })
      await interpreter.send(run, { type: 'cancel' })
    }
    hand.calls[0]!.resolve({ of: 1 })
    await settled()
    expect(log.snapshots.length).toBeGreaterThan(3)
    const bare = (await open({ log: log.copy({ bare: true }) })).interpreter
    const quick = (await open({ log: log.copy() })).interpreter
    expect(quick.get(kept.run)).toEqual(bare.get(kept.run))
    expect(quick.list().length).toBeLessThan(131)
    expect(bare.list().slice(-100)).toEqual(quick.list().slice(-100))
    expect(quick.notices()).toEqual(bare.notices())
    await interpreter.close()
    expect(JSON.parse(log.snapshots.at(-1)!.text).ended.length).toBe(100)
  })

  test('what machines emitted can be asked for by one who was not there', async () => {
    const { interpreter, log } = await fresh()
    const { run } = await begin(interpreter)
    const heard: Change[] = []
    const unsubscribe = interpreter.subscribe((change) => change.type === 'notice' && heard.push(change))
    for (let n = 0; n < 3; n += 1) await interpreter.send(run, { type: 'tell' })
    unsubscribe()
    await Promise.all(Array.from({ length: 1200 }, () => interpreter.send(run, { type: 'tell' })))
    expect(heard.length).toBe(3)
    const all = interpreter.notices()
    expect(all.length).toBe(500)
    expect(all.at(-1)).toEqual({ type: 'told', n: 1, seq: 1204, at: 1_000_000, run, machine: 'order@1' })
    expect(interpreter.notices({ from: 1203 }).length).toBe(2)
    const bare = log.copy()
    await interpreter.close()
    for (const copy of [bare, log.copy()]) expect((await open({ log: copy })).interpreter.notices()).toEqual(all)
  })
})

describe('reading', () => {
  test('the state at every record is what was shown then, with and without snapshots', async () => {
    const { interpreter, hand, log, clock } = await fresh({ snapshotEveryRecords: 3 })
    const shown: any[] = []
    interpreter.subscribe((change) => change.type === 'record' && shown.push(change.state))
    const a = await begin(interpreter, 'a')
    const b = await begin(interpreter, 'b')
    await settled()
    await interpreter.send(a.run, { type: 'more' })
    hand.calls[0]!.resolve({ of: 1 })
    await settled()
    await interpreter.send(b.run, { type: 'go' })
    clock.advance(1_000)
    await settled()
    await interpreter.send(b.run, { type: 'cancel' })
    expect(log.snapshots.length).toBeGreaterThan(0)
    for (const { run, seq } of [a, b]) {
      let expected: any
      for (let at = seq; at <= log.lastSeq; at += 1) {
        expected = shown.find((state) => state.run === run && state.seq === at) ?? expected
        expect(await interpreter.stateAt(run, at)).toEqual(JSON.parse(JSON.stringify(expected)))
      }
    }
    // The same, of all runs, from any record on.
    for (let from = 0; from <= log.lastSeq + 1; from += 1) {
      const seen: any[] = []
      for await (const { record, state } of interpreter.history({ from })) seen.push({ ...state, of: record.seq })
      const expected = shown.filter(({ seq }) => seq >= from).map((state) => ({ ...state, of: state.seq }))
      expect(seen).toEqual(JSON.parse(JSON.stringify(expected)))
    }
    expect(await code(interpreter.stateAt(b.run, 1))).toBe('SEQUENCE_UNKNOWN')
    expect(await code(interpreter.stateAt(b.run, log.lastSeq + 1))).toBe('SEQUENCE_UNKNOWN')
    expect(await code(interpreter.stateAt('order-99', 1))).toBe('RUN_UNKNOWN')
    const flows = [{ machine: order, effects: { charge: hand.serve } }]
    expect(await foldJournal(flows, log.records())).toEqual(interpreter.list())
    expect(hand.calls.length).toBe(3)
  })
})

describe('closing', () => {
  test('detaches from effects, keeps the answers that still come, and leaves the rest for the next start', async () => {
    const { interpreter, hand, log, clock } = await fresh()
    const a = await begin(interpreter, 'a')
    const b = await begin(interpreter, 'b')
    await begin(interpreter, 'c')
    await settled()
    hand.calls[2]!.resolve({ of: 3 })
    await settled()
    expect(clock.armed).toBe(1)
    const ended = code(interpreter.ended(b.run))
    const listen = hand.calls[0]!.context.signal
    listen.addEventListener('abort', () => hand.calls[0]!.resolve({ of: 7 }))
    hand.calls[0]!.resolve({ of: 7 })
    await Promise.all([interpreter.close(), interpreter.close()])
    expect(hand.calls[1]!.context.signal.reason).toBeInstanceOf(Detached)
    expect([log.closed, log.snapshots.length, clock.armed]).toEqual([1, 1, 0])
    expect(await ended).toBe('CONTROLLER_CLOSED')
    expect(await code(interpreter.send(a.run, { type: 'more' }))).toBe('CONTROLLER_CLOSED')
    const again = await open({ log: log.copy() })
    await settled()
    expect(again.interpreter.get(a.run)).toMatchObject({ value: 'resting' })
    expect(again.hand.calls.map(({ context }) => context.key)).toEqual(['2:charge'])
  })

  test('a progress report reaches listeners while its effect is wanted, and no longer', async () => {
    const { interpreter, hand } = await fresh()
    const { run } = await begin(interpreter)
    await settled()
    const heard: Change[] = []
    interpreter.subscribe((change) => change.type === 'progress' && heard.push(change))
    hand.calls[0]!.context.progress({ percent: 5 })
    await interpreter.send(run, { type: 'cancel' })
    hand.calls[0]!.context.progress({ percent: 6 })
    expect(heard).toEqual([{ type: 'progress', run, effect: 'charge', key: '1:charge', data: { percent: 5 } }])
  })

  test('a listener that throws stops nothing', async () => {
    const { interpreter } = await fresh()
    const warned = new Promise((resolve) => process.once('warning', resolve))
    interpreter.subscribe(() => {
      throw new Error('a listener of the host')
    })
    await begin(interpreter)
    expect(await warned).toMatchObject({ message: 'a listener of the host' })
  })
})
