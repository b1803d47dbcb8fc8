import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { setup } from 'xstate'
import { effect } from '../../machines/effect.ts'
import { Interpreter } from '../../src/run/interpreter.ts'
import { MemoryLog } from '../support/memory-log.ts'

const machine = setup({
  types: { events: {} as { type: 'cancel' } },
  actors: { fetch: effect<void, void>(), discard: effect<void, void>() },
}).createMachine({
  id: 'tidying',
  version: '1',
  initial: 'fetching',
  states: {
    fetching: {
      on: { cancel: 'discarding' },
      invoke: { id: 'fetch', src: 'fetch', onDone: 'ended', onError: 'ended' },
    },
    discarding: { invoke: { id: 'discard', src: 'discard', onDone: 'ended', onError: 'ended' } },
    ended: { type: 'final' },
  },
})

test('what a run wants next waits until what it no longer wants has put things back', async () => {
  const story: string[] = []
  const interpreter = await Interpreter.open({
    log: new MemoryLog(),
    flows: [
      {
        machine,
        effects: {
          fetch: async (_: unknown, { signal }: { signal: AbortSignal }) => {
            await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
            await sleep(30)
            story.push('fetch has put things back')
            signal.throwIfAborted()
          },
          discard: async () => {
            story.push('discard begins')
          },
        },
      },
    ],
  })
  const { run } = await interpreter.start('tidying', { key: 'a', input: undefined, busy: 'join' })
  await sleep(5) // for the effect to begin
  await interpreter.send(run, { type: 'cancel' })
  expect((await interpreter.ended(run)).value).toBe('ended')
  expect(story).toEqual(['fetch has put things back', 'discard begins'])
  await interpreter.close()
})
