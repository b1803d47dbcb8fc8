import { afterEach, describe, expect, expectTypeOf, test } from 'vitest'
import { assign, createMachine, fromPromise, sendTo, setup, spawnChild } from 'xstate'
import { effect } from '../../machines/effect.ts'
import type { AnyFlow, EffectsOf, Flow } from '../../src/run/flow.ts'
import { foldJournal } from '../../src/run/fold.ts'
import { Interpreter } from '../../src/run/interpreter.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { MemoryLog } from '../support/memory-log.ts'
import { TestClock } from '../support/test-clock.ts'

/** A job whose rule differs by version. */
function job(version: string, { step = 1 } = {}) {
  return setup({
    types: {} as { context: { n: number }; input: { n: number } },
    actors: { work: effect<{ n: number }, number>() },
  }).createMachine({
    id: 'job',
    version,
    context: ({ input }) => ({ n: input?.n ?? 0 }),
    initial: 'working',
    states: {
      working: {
        on: { add: { actions: assign({ n: ({ context }) => context.n + step }) }, end: 'over' },
        after: { 5000: 'over' },
        invoke: { id: 'work', src: 'work', input: ({ context: { n } }) => ({ n }), onDone: 'over', onError: 'over' },
      },
      over: { type: 'final' },
    },
  })
}

const opened: Interpreter[] = []
afterEach(async () => {
  for (const interpreter of opened.splice(0)) await interpreter.close()
})

async function open(log: MemoryLog, flow: Partial<AnyFlow> & { machine: AnyFlow['machine'] }) {
  const keys: string[] = []
  const work = (_: unknown, { key, signal }: { key: string; signal: AbortSignal }) => {
    keys.push(key)
    return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  }
  const interpreter = await Interpreter.open({ log, clock: new TestClock(), flows: [{ effects: { work }, ...flow }] })
  opened.push(interpreter)
  return { interpreter, keys }
}

/** The journal of one run that goes on and one that ended, both of `job@1`. */
async function journal({ snapshot = false } = {}) {
  const log = new MemoryLog()
  const { interpreter } = await open(log, { machine: job('1') })
  const a = await interpreter.start('job', { key: 'a', input: { n: 0 }, busy: 'refuse' })
  await interpreter.send(a.run, { type: 'add' })
  const b = await interpreter.start('job', { key: 'b', input: { n: 0 }, busy: 'refuse' })
  await interpreter.send(b.run, { type: 'end' })
  const crashed = log.copy()
  await interpreter.close()
  return { log: snapshot ? log.copy() : crashed, active: a.run, ended: b.run }
}

const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => null,
    ({ code, message, details }) => ({ code, message, details }),
  )

describe('Journal 5: a definition that changed under a run', () => {
  test('is refused by name: another rule at the record where it leads elsewhere', async () => {
    const { log, active } = await journal()
    expect(await refusal(open(log, { machine: job('1', { step: 2 }) }))).toMatchObject({
      code: 'MACHINE_CHANGED',
      message: expect.stringContaining(`record 2 of ${active}`),
      details: { machine: 'job@1', run: active, seq: 2, state: 'working' },
    })
  })

  test('is refused when the state of a run is gone, also from a snapshot', async () => {
    const { log, active } = await journal({ snapshot: true })
    const gone = setup({ actors: { work: effect<unknown, void>() } }).createMachine({
      id: 'job',
      version: '1',
      initial: 'elsewhere',
      states: { elsewhere: {} },
    })
    expect(await refusal(open(log, { machine: gone }))).toMatchObject({
      code: 'MACHINE_CHANGED',
      details: { run: active },
    })
  })

  test('is refused as unknown when only another version is here, and nothing is written', async () => {
    for (const snapshot of [false, true]) {
      const { log, active } = await journal({ snapshot })
      const before = JSON.stringify([log.frames, log.snapshots])
      expect(await refusal(open(log, { machine: job('2') }))).toMatchObject({
        code: 'MACHINE_UNKNOWN',
        details: { runs: [{ run: active, machine: 'job@1' }] },
      })
      expect(JSON.stringify([log.frames, log.snapshots])).toBe(before)
    }
  })

  test('does not matter to runs that ended: they stay listed', async () => {
    const { log, active, ended } = await journal()
    const first = await open(log, { machine: job('1') })
    await first.interpreter.send(active, { type: 'end' })
    const { interpreter } = await open(log.copy(), { machine: job('2') })
    expect(interpreter.get(ended)).toMatchObject({ status: 'done', machine: 'job@1', key: 'b', opaque: true })
    expect((await interpreter.start('job', { key: 'a', input: { n: 0 }, busy: 'refuse' })).machine).toBe('job@2')
  })

  test('leaves a run with its own version where that is retired', async () => {
    for (const snapshot of [false, true]) {
      const { log, active } = await journal({ snapshot })
      const { interpreter } = await open(log, { machine: job('2', { step: 10 }), retired: [job('1')] })
      expect(await interpreter.send(active, { type: 'add' })).toMatchObject({ machine: 'job@1', context: { n: 2 } })
      const next = await interpreter.start('job', { key: 'c', input: { n: 0 }, busy: 'refuse' })
      expect(await interpreter.send(next.run, { type: 'add' })).toMatchObject({ machine: 'job@2', context: { n: 10 } })
    }
  })

  test('takes a run along by a journaled migration, with its effect’s key, and needs the old version no more', async () => {
    const migrations = [
      {
        from: 'job@1',
        to: 'job@2',
        migrate: ({ snapshot, ...rest }: any) => ({ ...rest, snapshot: { ...snapshot, context: { n: 100 } } }),
      },
      { from: 'job@2', to: 'job@3', migrate: (state: any) => state },
    ]
    const machine = job('3', { step: 5 })
    for (const snapshot of [false, true]) {
      const { log, active } = await journal({ snapshot })
      const retired = snapshot ? [] : [job('1')]
      const { interpreter, keys } = await open(log, { machine, retired, migrations })
      expect(await interpreter.send(active, { type: 'add' })).toMatchObject({
        machine: 'job@3',
        context: { n: 105 },
        effects: [{ id: 'work', key: '1:work' }],
        startedSeq: 1,
      })
      expect(keys).toEqual(['1:work'])
      expect(interpreter.active('job', 'a')?.run).toBe(active)
      const records = log.records().filter(({ run }) => run === active)
      expect(records.map(({ event }) => event.type)).toEqual(['xstate.init', 'add', '$migrate', 'add'])
      const later = await open(log.copy({ bare: true }), { machine })
      expect(later.interpreter.get(active)).toEqual(interpreter.get(active))
      expect(await interpreter.stateAt(active, 5)).toMatchObject({ machine: 'job@3', context: { n: 100 } })
    }
  })

  test('is refused when its migration fails, or when what it left behind can only be read by what is gone', async () => {
    const migration = { from: 'job@1', to: 'job@2', migrate: (state: any) => state }
    const { log } = await journal()
    expect(await refusal(open(log, { machine: job('2'), migrations: [migration] }))).toMatchObject({
      code: 'MACHINE_UNKNOWN',
    })
    const broken = { ...migration, migrate: () => ({}) as never }
    const flow = { machine: job('2'), retired: [job('1')], migrations: [broken] }
    expect(await refusal(open(log, flow))).toMatchObject({ code: 'MACHINE_INVALID' })
  })

  test('is named in tools that only read', async () => {
    const { log, active, ended } = await journal()
    const states = await foldJournal([{ machine: job('2'), effects: { work: async () => 1 } }], log.records())
    expect(states).toMatchObject([
      { run: active, status: 'active', opaque: true },
      { run: ended, status: 'done', opaque: true },
    ])
  })
})

test('a record that is none is refused with its number', async () => {
  const { log } = await journal()
  log.frames.push([JSON.stringify({ run: 'job-1', at: 0, event: {}, digest: '00000000' })])
  expect(await refusal(open(log, { machine: job('1') }))).toMatchObject({ code: 'RECORD_INVALID', details: { seq: 5 } })
})

describe('lint', () => {
  const sound = { actors: { work: effect<unknown, void>() } }

  test('finds nothing in a sound machine, where siblings may share an invoke id', () => {
    const invoke = { id: 'work', src: 'work' as const, onDone: 'b', onError: 'b' }
    const machine = setup(sound).createMachine({
      id: 'm',
      version: '1',
      initial: 'a',
      states: { a: { invoke }, b: { invoke } },
    })
    expect(lintMachine(machine)).toEqual([])
  })

  test('names what cannot be replayed', () => {
    const noErrors = { onError: 'a' }
    const machine = createMachine(
      {
        id: 'm',
        context: ({ spawn }: any) => ({ child: spawn('work') }),
        type: 'parallel',
        states: {
          a: {
            invoke: [
              { src: 'work', ...noErrors },
              { id: 'x', src: fromPromise(async () => {}), ...noErrors },
              { id: 'y', src: 'work' },
              { id: 'z', src: 'work', systemId: 's', ...noErrors },
            ],
            entry: [spawnChild('work', { id: 'c' }), sendTo('other', { type: 'hi' }), () => {}, 'missing'],
          },
          b: {
            invoke: { id: 'y', src: 'work', ...noErrors },
            on: { go: { actions: assign({ c: ({ spawn }: any) => spawn('work') }) } },
          },
          c: {
            initial: 'one',
            states: { one: {}, before: { type: 'history', target: 'two' }, again: { type: 'history', target: '#m.d' } },
          },
        },
      } as never,
      { actors: { work: effect() } } as never,
    )
    expect(lintMachine(machine)).toMatchInlineSnapshot(`
      [
        "the machine has no version",
        "m.a: an invoke has no explicit id",
        "m.a: invoke 'x' has a src that is not a name",
        "m.a: invoke 'y' has no onError, so its failure ends the whole machine",
        "m.a: invoke 'z' has a systemId",
        "m.a entry: spawnChild; invoke it",
        "m.a entry: sendTo somebody else; a machine may send to itself only",
        "m.a entry: an action with a body; what acts on the world is an effect, what tells about it is an emit",
        "m.a entry: action 'missing' is not implemented",
        "m.b: invoke 'y' has the id of another invoke that can run beside it",
        "m.c.before: there is no state 'two' to lead to",
        "m.c.again: there is no state '#m.d' to lead to",
        "context: spawn is invisible to a journal; invoke it",
        "m.states.b.on.go.actions.c: spawn is invisible to a journal; invoke it",
      ]
    `)
  })

  test('is heeded when the interpreter opens, as are missing and double definitions', async () => {
    const unversioned = setup(sound).createMachine({ id: 'm' })
    const versioned = setup(sound).createMachine({ id: 'm', version: '1' })
    const flows: AnyFlow[] = [
      { machine: unversioned, effects: { work: async () => {} } },
      {
        machine: versioned,
        effects: {},
        retired: [versioned],
        migrations: [{ from: 'm@0', to: 'm@9', migrate: (state) => state }],
      },
    ]
    expect((await refusal(Interpreter.open({ log: new MemoryLog(), flows })))?.details.faults).toMatchInlineSnapshot(`
      [
        "m@undefined: the machine has no version",
        "m@1: no function serves the effect 'work'",
        "m@1 is there twice",
        "m@1: no function serves the effect 'work'",
        "two flows are called 'm'",
        "the migrations from m@0 do not end at a machine that is here",
      ]
    `)
  })
})

test('the compiler names an effect that is missing, extra, or of the wrong type', () => {
  const machine = setup({
    actors: { stage: effect<{ plugin: string }, { release: string }>(), drop: effect<string, void>() },
  }).createMachine({ id: 'm', version: '1' })
  type Effects = EffectsOf<typeof machine>
  expectTypeOf<keyof Effects>().toEqualTypeOf<'stage' | 'drop'>()
  expectTypeOf<Parameters<Effects['stage']>[0]>().toEqualTypeOf<{ plugin: string }>()
  expectTypeOf<ReturnType<Effects['stage']>>().toEqualTypeOf<Promise<{ release: string }>>()
  const drop = async (_: string) => {}
  const stage = async ({ plugin }: { plugin: string }) => ({ release: plugin })
  const flow: Flow<typeof machine> = { machine, effects: { stage, drop } }
  expectTypeOf(flow).toExtend<AnyFlow>()
  // @ts-expect-error missing
  void ({ stage } satisfies Effects)
  // @ts-expect-error extra
  void ({ stage, drop, more: drop } satisfies Effects)
  // @ts-expect-error of the wrong type
  void ({ stage: drop, drop } satisfies Effects)
})
