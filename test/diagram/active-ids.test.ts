import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type AnyMachineSnapshot, createMachine, initialTransition, transition } from 'xstate'
import { activeIds } from '../../src/diagram/active-ids.ts'
import { describeMachine } from '../../src/diagram/describe.ts'
import { everything } from './fixture.ts'

const description = describeMachine(everything)
const nodesOf = (snapshot: AnyMachineSnapshot) => snapshot._nodes.map(({ id }) => id).sort()

test('the states lit from a value are the very nodes that XState holds active, along any walk', () => {
  const visited = new Set<string>()
  fc.assert(
    fc.property(fc.array(fc.nat(99), { maxLength: 40 }), (walk) => {
      let [snapshot] = initialTransition(everything)
      for (const step of walk) {
        const lit = activeIds(description, JSON.parse(JSON.stringify(snapshot.value)))
        expect([...lit].sort()).toEqual(nodesOf(snapshot))
        for (const id of lit) visited.add(id)
        const possible = description.edges.filter(({ source, event }) => lit.has(source) && event !== '')
        const { event } = possible[step % possible.length]!
        ;[snapshot] = transition(everything, snapshot, { type: event } as never)
      }
    }),
    { numRuns: 300, seed: 7 },
  )
  // The seed is fixed for this: all but what guards keep out, what is passed through, and the history state, in which no machine ever is.
  const never = ['quarantined', 'rollingBack', 'activating.health.sick', 'staging.hist', 'staging.staged']
  const rest = description.nodes.map(({ id }) => id).filter((id) => !visited.has(id))
  expect(rest.sort()).toEqual(never.map((path) => `everything.runtime.${path}`).sort())
})

test('a value of another version of the machine lights what is still there', () => {
  const lit = activeIds(description, { runtime: 'renamed', gone: { deep: 'inside' }, pty: 'detached' })
  expect([...lit]).toEqual(['everything', 'everything.runtime', 'everything.pty', 'everything.pty.detached'])
  expect([...activeIds(description, null)]).toEqual(['everything'])
})

test('a key that several states have lights the one inside the active parent', () => {
  const inner = { initial: 'same', states: { same: {} } }
  const machine = createMachine({ id: 'm', initial: 'two', states: { one: inner, two: inner } })
  expect([...activeIds(describeMachine(machine), { two: 'same' })]).toEqual(['m', 'm.two', 'm.two.same'])
})
