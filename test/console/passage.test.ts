import fc from 'fast-check'
import { expect, test } from 'vitest'
import { initialTransition, transition } from 'xstate'
import type { RecordTold } from '../../console/model/contract.ts'
import { passagesOf } from '../../console/model/passage.ts'
import { machines } from '../../machines/index.ts'
import { describeMachine } from '../../src/diagram/describe.ts'
import { everything } from '../diagram/fixture.ts'

const record = (seq: number, type: string, state: unknown): RecordTold => ({
  seq,
  at: seq,
  run: 'one-1',
  machine: 'one@1',
  key: '',
  event: { type },
  state,
  effects: [],
})

test('a record leads through the states that are left at once, to the one that waits', () => {
  const description = describeMachine(machines['app-upgrade'])
  const edge = (id: string) => description.edges.find((one) => one.id === `app-upgrade.${id}`)!
  const passages = passagesOf(description, [
    record(1, 'xstate.init', 'resolving'),
    record(2, 'xstate.done.actor.resolve', 'looking'),
    record(3, 'xstate.error.actor.look', 'discarding'),
    record(4, 'cancel', 'discarding'),
  ])
  const ways = passages.map(({ edges }) => [...edges].map((id) => edge(id.slice('app-upgrade.'.length))))
  expect(ways.map((way) => way.map(({ source }) => source))).toEqual([
    ['app-upgrade.choosing'],
    ['app-upgrade.resolving'],
    ['app-upgrade.looking', 'app-upgrade.sorting'],
    [],
  ])
  expect(passages.map(({ entered }) => [...entered])).toEqual([
    ['app-upgrade', 'app-upgrade.resolving'],
    ['app-upgrade.looking'],
    ['app-upgrade.discarding'],
    [],
  ])
})

test('whatever a machine does, a way is found that it may have taken', () => {
  const description = describeMachine(everything)
  fc.assert(
    fc.property(fc.array(fc.nat(99), { maxLength: 30 }), (walk) => {
      let [snapshot] = initialTransition(everything)
      const records = [record(1, 'xstate.init', snapshot.value)]
      for (const step of walk) {
        const possible = description.edges.filter(({ event }) => event !== '')
        const { event } = possible[step % possible.length]!
        const type = event === '*' ? 'whatever' : event.replace('*', 'slow')
        ;[snapshot] = transition(everything, snapshot, { type } as never)
        records.push(record(records.length + 1, type, snapshot.value))
      }
      for (const { entered, edges, record: one } of passagesOf(description, records).slice(1))
        if (entered.size > 0) expect([...edges], `${one.event.type} to ${JSON.stringify(one.state)}`).not.toEqual([])
    }),
    { numRuns: 200, seed: 7 },
  )
})
