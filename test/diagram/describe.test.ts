import { describe, expect, test } from 'vitest'
import {
  and,
  assign,
  cancel,
  createMachine,
  emit,
  getNextSnapshot,
  log,
  not,
  or,
  raise,
  sendTo,
  spawnChild,
  stopChild,
} from 'xstate'
import { machines } from '../../machines/index.ts'
import { describeMachine, type EdgeDescription } from '../../src/diagram/describe.ts'
import { everything } from './fixture.ts'

const described = describeMachine(everything)

const node = (path: string) => described.nodes.find(({ id }) => id === `everything.${path}`)!
const edgesFrom = (path: string) => described.edges.filter(({ source }) => source === `everything.${path}`)

const story = ({ trigger, guard, actions, targets }: EdgeDescription) =>
  [trigger, guard && `[${guard}]`, actions.length > 0 && `/ ${actions.join(', ')}`, '->', ...targets]
    .filter(Boolean)
    .join(' ')
    .replaceAll('everything.', '')

describe('a description', () => {
  test('has the transitions without an event, which XState leaves out of a definition', () => {
    expect(edgesFrom('runtime.rollingBack').map(story)).toEqual([
      'always [banned and quiet (100)] -> runtime.quarantined',
      'always [else] -> runtime.idle',
    ])
  })

  test('has `after` as transitions and not as the raise and cancel that carry them out', () => {
    expect(edgesFrom('runtime.failed')).toEqual([])
    expect(edgesFrom('runtime.staging.failed').map(story)).toEqual([
      'after 5 s / setPointer ->',
      'after backOff -> runtime.staging.downloading',
    ])
    expect(edgesFrom('runtime.probation').map(({ delay }) => delay)).toContainEqual({ ms: 90_000, name: 'probation' })
    expect(JSON.stringify(described.nodes)).not.toContain('xstate.after')
  })

  test('keeps the raise and cancel that the machine itself asks for', () => {
    expect(node('runtime.idle')).toMatchObject({
      entry: ['raise wake after 30 s', 'assign'],
      exit: ['cancel wake'],
      tags: ['calm'],
      description: 'Waits until somebody asks; nothing is fetched before that.',
    })
  })

  test('names an effect and its answers by what it does', () => {
    expect(node('runtime.staging.verifying').invoke).toEqual([
      { id: '0.everything.runtime.staging.verifying', effect: 'verify' },
    ])
    expect(edgesFrom('runtime.staging.verifying').map(story)).toEqual([
      'verify done [not banned] -> runtime.staging.staged',
      'verify done [else] -> runtime.staging.failed',
      'verify failed -> runtime.staging.failed',
    ])
  })

  test('tells two runs of one effect in one state apart by their ids', () => {
    const invoke = [
      { id: 'first', src: 'probe', onDone: 'b' },
      { id: 'second', src: 'probe', onDone: 'b' },
    ]
    const twice = describeMachine(createMachine({ initial: 'a', states: { a: { invoke }, b: {} } }))
    expect(twice.edges.map(({ trigger }) => trigger)).toEqual(['first done', 'second done'])
  })

  test('says where a history state leads before there is any', () => {
    expect(node('runtime.staging.hist')).toMatchObject({ type: 'history', history: 'deep' })
    expect(edgesFrom('runtime.staging.hist').map(story)).toEqual(['no history yet -> runtime.staging.verifying'])
  })

  test('finds where a history state leads as XState does: by an id, by a path, by a key that holds a dot', () => {
    const history = { type: 'history' } as const
    const machine = createMachine({
      id: 'm',
      initial: 'on',
      states: {
        on: {
          initial: 'v1.2',
          states: {
            'v1.2': {},
            deep: { initial: 'er', states: { er: {} } },
            one: { ...history, target: 'v1\\.2' },
            two: { ...history, target: 'deep.er' },
            three: { ...history, target: '#m.off' },
          },
        },
        off: { on: { one: 'on.one', two: 'on.two', three: 'on.three' } },
      },
    })
    const { edges } = describeMachine(machine)
    const told = edges.filter(({ kind }) => kind === 'default').flatMap(({ targets }) => targets)
    const off = machine.resolveState({ value: 'off' })
    const gone = ['one', 'two', 'three'].map(
      (type) => getNextSnapshot(machine, off, { type } as never)._nodes.at(-1)!.id,
    )
    expect(told).toEqual(['m.on.v1.2', 'm.on.deep.er', 'm.off'])
    expect(gone).toEqual(told)
  })

  test('says that a transition re-enters only where that makes a difference', () => {
    const machine = createMachine({
      initial: 'a',
      states: {
        a: { on: { out: { target: 'b', reenter: true }, self: { target: 'a', reenter: true }, stay: 'a' } },
        b: {},
      },
    })
    expect(describeMachine(machine).edges.map(({ event, reenter }) => [event, reenter])).toEqual([
      ['out', false],
      ['self', true],
      ['stay', false],
    ])
  })

  test('keeps a transition that is forbidden, and the order in which guards are tried', () => {
    expect(edgesFrom('runtime').map(story)).toEqual(['skip ->'])
    const gates = describeMachine(machines['runtime-update']).edges.filter(({ source }) => source.endsWith('.gating'))
    expect(gates.map(({ order, guard }) => [order, guard])).toEqual([
      [1, 'upToDate'],
      [2, 'banned'],
      [3, 'enginesUnmet'],
      [4, 'tooYoung'],
      [5, 'stagedAndWhole'],
      [undefined, 'else'],
    ])
    expect(edgesFrom('runtime.rollingBack').map(({ order }) => order)).toEqual([undefined, undefined])
  })

  test('reads every kind of action aloud, also those without a name', () => {
    const entry = [
      'named',
      { type: 'named', params: { with: 'this', and: 2, not: () => {} } },
      () => {},
      function forget() {},
      assign({ one: 1, two: () => 2 }),
      assign(() => ({})),
      raise({ type: 'again' }, { delay: 'later' as never }),
      raise(() => ({ type: 'again' })),
      sendTo('other', { type: 'hello' }),
      sendTo(({ self }) => self, { type: 'hello' }),
      emit({ type: 'noticed' }),
      cancel('again'),
      cancel(() => 'again'),
      spawnChild('worker'),
      stopChild('worker'),
      log('here'),
    ]
    const machine = createMachine({ entry } as never)
    expect(describeMachine(machine).nodes[0]!.entry).toEqual([
      'named',
      'named (this, 2)',
      'inline',
      'forget',
      'assign one, two',
      'assign',
      'raise again after later',
      'raise event',
      'send hello to other',
      'send hello',
      'emit noticed',
      'cancel again',
      'cancel',
      'spawn worker',
      'stop worker',
      'log',
    ])
  })

  test('reads every kind of guard aloud, also those without a name', () => {
    const guards = [
      () => true,
      not('ready'),
      and(['one', or(['two', not(and(['three', 'four']))])]),
      function late() {
        return true
      },
    ]
    const on = Object.fromEntries(guards.map((guard, index) => [`e${index}`, { guard, target: '.a' }]))
    const machine = createMachine({ initial: 'a', on, states: { a: {} } } as never)
    expect(describeMachine(machine).edges.map(({ guard }) => guard)).toEqual([
      'inline',
      'not ready',
      'one and (two or not (three and four))',
      'late',
    ])
  })

  test.each(Object.entries({ everything, ...machines }))(
    'of %s is plain JSON with unique ids that all lead somewhere',
    (_, machine) => {
      const description = describeMachine(machine)
      expect(JSON.parse(JSON.stringify(description))).toEqual(description)
      const ids = description.nodes.map(({ id }) => id)
      const edgeIds = description.edges.map(({ id }) => id)
      expect(new Set(ids).size).toBe(ids.length)
      expect(new Set(edgeIds).size).toBe(edgeIds.length)
      for (const { source, targets } of description.edges)
        expect(ids).toEqual(expect.arrayContaining([source, ...targets]))
    },
  )
})
