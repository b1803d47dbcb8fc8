// Two machines of ten states: one with a guard and an assign alone, one with invoke, after and entry as well.
import { assign, setup } from 'xstate'
import { effect } from '../dist/machines/effect.js'

const names = Array.from({ length: 10 }, (_, index) => `s${index}`)
const nextOf = (index) => names[(index + 1) % names.length]

export const plain = setup({
  guards: { isOpen: ({ context }) => context.count >= 0 },
  actions: { count: assign({ count: ({ context }) => context.count + 1 }) },
}).createMachine({
  id: 'bench-plain',
  version: '1',
  context: { count: 0 },
  initial: 's0',
  states: Object.fromEntries(
    names.map((name, index) => [name, { on: { NEXT: { target: nextOf(index), guard: 'isOpen', actions: 'count' } } }]),
  ),
})

export const rich = setup({
  actors: { work: effect() },
  actions: { count: assign({ count: ({ context }) => context.count + 1 }) },
}).createMachine({
  id: 'bench-rich',
  version: '1',
  context: { count: 0 },
  initial: 's0',
  states: Object.fromEntries(
    names.map((name, index) => [
      name,
      {
        entry: 'count',
        after: { 3600000: nextOf(index) },
        invoke: {
          id: 'work',
          src: 'work',
          input: ({ context }) => ({ count: context.count }),
          onDone: nextOf(index),
          onError: nextOf(index),
        },
        on: { NEXT: nextOf(index) },
      },
    ]),
  ),
})

const untilAborted = (_, { signal }) =>
  new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))

export const flows = [
  { machine: plain, effects: {} },
  { machine: rich, effects: { work: untilAborted } },
]

/** A record of about 250 bytes. */
export const event = { type: 'NEXT', note: 'x'.repeat(110) }
