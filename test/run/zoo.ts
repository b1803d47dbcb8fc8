import {
  type AnyActorLogic,
  type AnyStateMachine,
  assign,
  cancel,
  emit,
  enqueueActions,
  raise,
  sendTo,
  setup,
} from 'xstate'

/**
 * A child that ends when it is told to, so that live XState can be driven step by step without promises. The durable
 * side only looks at its name.
 */
const puppet: AnyActorLogic = {
  getInitialSnapshot: (_: unknown, input: unknown) => ({
    status: 'active',
    input,
    output: undefined,
    error: undefined,
  }),
  transition: (snapshot: any, event: any) => {
    if (event.type === 'finish') return { ...snapshot, status: 'done', output: event.output }
    if (event.type === 'fail') return { ...snapshot, status: 'error', error: event.error }
    return snapshot
  },
  getPersistedSnapshot: (snapshot: any) => snapshot,
} as never

const note = (word: string) => assign({ log: ({ context }: any) => [...context.log, word].slice(-12) })
const count = assign({ n: ({ context }: any) => context.n + 1 })
const base = setup({
  types: {} as { context: { log: string[]; n: number; got: unknown }; events: any; input: any; emitted: any },
  actors: { work: puppet, more: puppet } as any,
  actions: {
    note: assign({ log: ({ context }, params: { word: string }) => [...context.log, params.word].slice(-12) }) as any,
  },
  guards: { few: ({ context }: any) => context.n < 3 },
  delays: { growing: ({ context }: any) => 10 * (context.n + 1) },
})
const context = ({ input }: any) => ({ log: [], n: input?.n ?? 0, got: null })
const invoke = (id: string, src: string, onDone: any, onError: any) => ({
  id,
  src,
  input: ({ context: { n } }: any) => ({ n }),
  onDone,
  onError,
})
const keep = assign({ got: ({ event }: any) => event.output ?? null })

/** Machines that between them use everything the interpreter says it supports. */
export const zoo: readonly AnyStateMachine[] = [
  base.createMachine({
    id: 'retry',
    version: '1',
    context,
    initial: 'idle',
    states: {
      idle: { on: { GO: 'working' }, after: { 50: { target: 'working', actions: note('slept') as any } } },
      working: {
        entry: [count, { type: 'note', params: { word: 'in' } } as any],
        exit: note('out') as any,
        invoke: invoke('job', 'work', { target: 'resting', actions: keep }, [
          { guard: 'few', target: 'working', reenter: true },
          { target: 'failed' },
        ]),
        after: { growing: { target: 'resting', actions: note('late') as any } },
        on: { GO: { target: 'working', reenter: true }, STOP: 'idle' },
      },
      resting: {
        entry: emit(({ context: { n } }: any) => ({ type: 'rested', n })),
        after: { 20: 'idle', 35: 'failed' },
        always: { guard: ({ context: { n } }: any) => n > 4, target: 'over' },
      },
      failed: { on: { GO: { target: 'idle', actions: assign({ n: 0 }) } } },
      over: { type: 'final' },
    },
    output: ({ context: { n, got } }: any) => ({ n, got }),
  } as any),

  base.createMachine({
    id: 'regions',
    version: '1',
    context,
    type: 'parallel',
    on: { GO: { actions: note('root') }, STOP: '.left.off', SELF: { actions: count } },
    states: {
      left: {
        initial: 'off',
        states: {
          off: {
            // A move in this region alone puts its state behind those of the other.
            on: { GO: 'on', LATER: 'on', KICK: { target: 'off', reenter: true } },
            entry: note('l0'),
          },
          on: {
            on: { GO: 'off', END: 'end' },
            after: { 15: 'off' },
            always: { guard: ({ context: { n } }: any) => n === 2, actions: [count, note('left')] },
          },
          end: { type: 'final' },
        },
      },
      right: {
        initial: 'a',
        invoke: invoke('beside', 'more', { actions: [keep, count] }, { actions: note('beside failed') }),
        states: {
          a: {
            on: { GO: 'b', KICK: { actions: count } },
            always: { guard: ({ context: { n } }: any) => n === 2, actions: [count, note('right')] },
          },
          b: { on: { GO: 'a', END: 'end' }, invoke: invoke('inner', 'work', 'a', 'a') },
          end: { type: 'final' },
        },
      },
    },
    onDone: { actions: note('never') },
  } as any),

  base.createMachine({
    id: 'history',
    version: '1',
    context,
    initial: 'on',
    states: {
      on: {
        initial: 'one',
        on: { STOP: 'off' },
        states: {
          one: {
            initial: 'x',
            on: { GO: 'two' },
            states: {
              x: { on: { KICK: 'y' } },
              y: { on: { KICK: 'z' }, invoke: invoke('y', 'work', 'z', 'x') },
              z: {},
            },
          },
          two: { on: { GO: 'one', END: 'over' }, after: { 30: 'one' } },
          over: { type: 'final', output: ({ context: { n } }: any) => ({ n }) },
          shallow: { type: 'history' },
          deep: { type: 'history', history: 'deep' },
        },
        onDone: { target: 'done', actions: assign({ got: ({ event }: any) => event.output }) },
      },
      off: {
        entry: count,
        on: { GO: 'on.shallow', KICK: 'on.deep', END: 'on' },
        after: { 25: 'on.deep' },
      },
      done: { after: { 5: 'on' }, on: { END: 'ended' } },
      ended: { type: 'final' },
    },
  } as any),

  base.createMachine({
    id: 'raises',
    version: '1',
    context,
    initial: 'a',
    on: {
      KICK: { actions: [cancel('slow'), raise({ type: 'SLOW' }, { id: 'slow', delay: 40 })] },
      SLOW: { actions: [note('slow'), raise({ type: 'INNER' }), emit({ type: 'slow' })] },
      INNER: { actions: [count, note('inner')] },
      STOP: { actions: cancel('slow') },
      SELF: { actions: [sendTo(({ self }: any) => self, { type: 'INNER' }), note('self')] },
      // Without the cancel live XState would keep both timers of one id; the interpreter keeps the latest.
      LATER: {
        actions: [cancel('later'), sendTo(({ self }: any) => self, { type: 'INNER' }, { id: 'later', delay: 12 })],
      },
      END: '.z',
    },
    states: {
      a: { on: { GO: { target: 'b', actions: raise({ type: 'HOP' }) } } },
      b: {
        entry: enqueueActions(({ enqueue, context: { n } }: any) => {
          enqueue.assign({ n: n + 1 })
          if (n % 2 === 0) enqueue.raise({ type: 'SLOW' }, { delay: 8 })
          enqueue.emit({ type: 'b', n })
        }),
        on: { HOP: 'c', GO: 'a' },
      },
      c: {
        on: { GO: 'a', LATER: undefined as never },
        always: { guard: ({ context: { n } }: any) => n > 6, target: 'z' },
        invoke: invoke('c', 'work', { target: 'a', actions: raise({ type: 'INNER' }) }, 'b'),
      },
      z: { type: 'final' },
    },
  } as any),

  base.createMachine({
    id: 'nested',
    version: '1',
    context,
    initial: 'both',
    states: {
      both: {
        type: 'parallel',
        onDone: { target: 'after', actions: note('both') },
        states: {
          p: {
            initial: '1',
            states: {
              1: { on: { GO: '2' }, invoke: invoke('p', 'work', '2', '1') },
              2: { type: 'final' },
            },
            onDone: { actions: note('p') },
          },
          q: {
            initial: '1',
            states: {
              1: { on: { KICK: '2', GO: { target: '#nested.both', reenter: true } }, after: { 10: '2' } },
              2: { initial: 'x', states: { x: { on: { KICK: 'y' } }, y: { type: 'final' } }, onDone: '3' },
              3: { type: 'final' },
            },
          },
        },
        on: { STOP: 'after' },
      },
      after: {
        on: { GO: 'both' },
        entry: raise({ type: 'HOP' }),
        always: { guard: 'few', actions: count, target: 'rest' },
      },
      rest: { on: { HOP: { actions: note('hop') }, GO: 'both', END: { target: 'end' } } },
      end: { type: 'final', entry: [note('end'), emit({ type: 'end' })] },
    },
    output: ({ context: { log } }: any) => ({ log }),
  } as any),
]

export const words = ['GO', 'GO', 'GO', 'KICK', 'KICK', 'STOP', 'STOP', 'END', 'SELF', 'LATER', 'UNKNOWN'] as const
