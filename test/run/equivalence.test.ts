import assert from 'node:assert/strict'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AnyStateMachine, createActor, SimulatedClock } from 'xstate'
import { apply as applyRecord } from '../../src/run/apply.ts'
import { digest } from '../../src/run/digest.ts'
import { type Action, PureMachine } from '../../src/run/pure-machine.ts'
import type { Cause, RunEvent } from '../../src/run/record.ts'
import { headOf, persistRun, type Run, restoreRun } from '../../src/run/run.ts'
import { words, zoo } from './zoo.ts'

/**
 * The interpreter's own executor against XState's: the same random story, told to both. After every step all that can
 * be seen of both is compared, and the records so far are replayed through JSON, with and without a snapshot between.
 */

const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('send' as const), type: fc.constantFrom(...words) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('finish' as const), at: fc.nat(3) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), at: fc.nat(3) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), timers: fc.integer({ min: 1, max: 3 }) }) },
  ),
  { minLength: 1, maxLength: 24, size: 'max' },
)
const story = fc.record({ machine: fc.nat(zoo.length - 1), n: fc.nat(2), steps })
type Story = typeof story extends fc.Arbitrary<infer Value> ? Value : never

/** What a mutant may replace: the function under test, or what it is given. */
interface Subject {
  readonly apply: typeof applyRecord
  readonly machine: (machine: AnyStateMachine) => PureMachine
  /** What a run is after a restart from a snapshot. */
  readonly restart: (run: Run, machine: PureMachine) => Run
}

const json = <Value>(value: Value): Value => JSON.parse(JSON.stringify(value))

const sound: Subject = {
  apply: applyRecord,
  machine: (machine) => new PureMachine(machine),
  restart: (run, machine) => restoreRun(headOf(run), json(persistRun(run, machine)), machine),
}

const tally = { records: 0, timers: 0, answers: 0, notices: 0, ends: 0, machines: new Set<string>() }

/** Throws where the two sides differ. */
function follow({ machine: index, n, steps }: Story, subject: Subject): void {
  const definition = zoo[index]!
  const pure = subject.machine(definition)
  const heard: unknown[] = []
  const clock = new SimulatedClock()
  const live = createActor(definition, { clock, input: { n } })
  live.on('*', (event) => heard.push(event))
  live.subscribe({ error: () => {} })
  live.start()
  tally.machines.add(definition.id)

  let run: Run | undefined
  let replayed: Run | undefined
  let restarted: Run | undefined
  let seq = 0
  let now = 0
  const told: unknown[] = []

  const record = (event: RunEvent, answers?: string) => {
    seq += 1
    const cause: Cause = { seq, run: 'r-1', at: now, event: json(event), ...(answers && { answers }) }
    const [next, notices] = subject.apply(pure, run, cause)
    run = next
    told.push(...notices.map(({ seq: _, at: __, run: ___, machine: ____, ...rest }) => rest))
    replayed = subject.apply(pure, replayed, json(cause))[0]
    restarted = subject.apply(pure, restarted, json(cause))[0]
    assert.equal(digest(replayed), digest(next))
    assert.equal(digest(restarted), digest(next))
    if (restarted.snapshot.status === 'active') restarted = subject.restart(restarted, pure)
    tally.records += 1
  }
  const compare = () => {
    const real: any = live.getSnapshot()
    const mine = run!.snapshot
    same([mine.value, mine.context, mine.status, mine.output], [real.value, real.context, real.status, real.output])
    const timeouts = [...((clock as any).timeouts as Map<number, { start: number; timeout: number }>).values()]
    same(run!.timers.map(({ due }) => due).sort(byNumber), timeouts.map((at) => at.start + at.timeout).sort(byNumber))
    const children = real.status === 'active' ? Object.entries<any>(real.children) : []
    const working = children.filter(([, child]) => child.getSnapshot().status === 'active')
    same(
      run!.effects.map(({ id, src, input }) => ({ id, src, input })).sort(byId),
      working.map(([id, child]) => ({ id, src: child.src, input: child.getSnapshot().input })).sort(byId),
    )
    same(told, heard)
  }

  record({ type: 'xstate.init', machine: pure.ref, key: '', input: { n } })
  compare()
  for (const step of steps) {
    if (run!.snapshot.status !== 'active') {
      tally.ends += 1
      // Live XState drops what comes after the end. The interpreter does so before `apply`; `apply` must not move either.
      const end = run!
      record({ type: 'GO' })
      same(run!.snapshot.value, end.snapshot.value)
      compare()
      break
    }
    if (step.do === 'send') {
      record({ type: step.type })
      live.send({ type: step.type })
      compare()
    } else if (step.do === 'wait') {
      for (let fired = 0; fired < step.timers && run!.timers.length > 0; fired += 1) {
        const due = Math.min(...run!.timers.map((timer) => timer.due))
        now = due
        // Those that are due together fire one after the other; one can cancel the next.
        const together = () => run!.timers.find((timer) => timer.due === due)
        for (let timer = together(), most = 50; timer !== undefined; timer = together(), most -= 1) {
          assert.ok(most > 0, 'a timer that fired is still armed')
          tally.timers += 1
          record(timer.event, timer.key)
        }
        clock.set(due)
        compare()
      }
    } else {
      const effect = run!.effects[step.at % Math.max(run!.effects.length, 1)]
      if (effect === undefined) continue
      tally.answers += 1
      const answer = step.do === 'finish' ? { output: { by: effect.id } } : { error: { name: 'Error', message: 'no' } }
      const type = step.do === 'finish' ? 'done' : 'error'
      record({ type: `xstate.${type}.actor.${effect.id}`, ...answer, actorId: effect.id }, effect.key)
      ;(live.getSnapshot() as any).children[effect.id].send({ type: step.do, ...answer })
      compare()
    }
  }
  tally.notices += told.length
  live.stop()
}

const same = (mine: unknown, real: unknown) => assert.deepEqual(mine, real)
const byNumber = (a: number, b: number) => a - b
const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1)

/** A machine whose wishes are distorted on their way to `apply`. */
function distorted(distort: (actions: Action[]) => Action[]): Subject['machine'] {
  class Distorted extends PureMachine {
    override begin(input: unknown): ReturnType<PureMachine['begin']> {
      const [snapshot, actions] = super.begin(input)
      return [snapshot, distort(actions)]
    }
    override transition(...from: Parameters<PureMachine['transition']>): ReturnType<PureMachine['transition']> {
      const [snapshot, actions] = super.transition(...from)
      return [snapshot, distort(actions)]
    }
  }
  return (machine) => new Distorted(machine)
}

const without = (type: string) => distorted((actions) => actions.filter((action) => action.type !== type))
const changing = (type: string, change: (action: Action) => Action) =>
  distorted((actions) => actions.map((action) => (action.type === type ? change(action) : action)))
const restartWith = (change: (persisted: any) => object): Subject['restart'] => {
  return (run, machine) => {
    const state = json(persistRun(run, machine))
    return restoreRun(headOf(run), { ...state, snapshot: change(state.snapshot) as never }, machine)
  }
}

/** Defects that someone could really make. Each must be noticed, or the property above proves little. */
const mutants: Record<string, Partial<Subject>> = {
  'a raise without delay is taken for a message to come': {
    machine: changing('xstate.raise', (action) =>
      typeof action.params.delay === 'number'
        ? action
        : { ...action, type: 'xstate.sendTo', params: { ...action.params, to: action.info.self } },
    ),
  },
  'stopped effects stay wanted': { machine: without('xstate.stopChild') },
  'cancelled timers stay armed': { machine: without('xstate.cancel') },
  'effects begin without their input': {
    machine: changing('xstate.spawnChild', (action) => ({ ...action, params: { ...action.params, input: undefined } })),
  },
  'messages to itself are lost': { machine: without('xstate.sendTo') },
  'what was emitted is lost': { machine: without('xstate.emit') },
  'delays are off by one': {
    machine: changing('xstate.raise', (action) => {
      const { delay } = action.params
      return typeof delay === 'number' ? { ...action, params: { ...action.params, delay: delay + 1 } } : action
    }),
  },
  'entry is performed before exit': { machine: distorted((actions) => [...actions].reverse()) },
  'an answered effect is still wanted': {
    apply: (machine, run, { answers, ...cause }) =>
      applyRecord(machine, run, answers?.includes(':timer:') ? { ...cause, answers } : cause),
  },
  'an answer settles every effect': {
    apply: (machine, run, cause) =>
      applyRecord(machine, run && cause.answers !== undefined ? { ...run, effects: [] } : run, cause),
  },
  'a run that ended still moves': {
    apply: (machine, run, cause) =>
      applyRecord(machine, run && { ...run, snapshot: { ...run.snapshot, status: 'active' } as never }, cause),
  },
  'a run that ended keeps its timers': {
    apply: (machine, run, cause) => {
      const [next, notices] = applyRecord(machine, run, cause)
      return [next.snapshot.status === 'active' ? next : { ...next, timers: run?.timers ?? [] }, notices]
    },
  },
  'time stands still': { apply: (machine, run, cause) => applyRecord(machine, run, { ...cause, at: 0 }) },
  'history is lost in a snapshot': { restart: restartWith((persisted) => ({ ...persisted, historyValue: {} })) },
  'children are lost in a snapshot': { restart: restartWith((persisted) => ({ ...persisted, children: {} })) },
  'the order of parallel states is lost in a snapshot': {
    restart: restartWith(({ nodes: _, ...persisted }) => persisted),
  },
}

describe('what XState does live, the interpreter does by records', () => {
  test('in 3000 random stories: same state, timers, effects and notices after every step, and after every replay', () => {
    fc.assert(
      fc.property(story, (told) => follow(told, sound)),
      { numRuns: 3_000 },
    )
    expect(tally.machines.size).toBe(zoo.length)
    for (const [what, least] of Object.entries({
      records: 20_000,
      timers: 1_500,
      answers: 1_500,
      notices: 500,
      ends: 50,
    }))
      expect(tally[what as 'records'], what).toBeGreaterThan(least)
  })
  test.each(Object.entries(mutants))('that comparison notices when %s', (_, mutant) => {
    const result = fc.check(
      fc.property(story, (told) => follow(told, { ...sound, ...mutant })),
      { numRuns: 3_000, endOnFailure: true },
    )
    expect(result.failed).toBe(true)
  })
})
