import { and, assign, cancel, emit, fromPromise, not, raise, setup, stateIn } from 'xstate'

const work = fromPromise<string, void>(async () => 'done')

/** One machine with everything that a statechart can say: what the drawings are tested on. */
export const everything = setup({
  types: {
    events: {} as {
      type: 'start' | 'stop' | 'tick' | 'retry' | 'skip' | 'attach' | 'detach' | 'resume' | 'wake' | 'poll.fast'
    },
    emitted: {} as { type: 'noticed' },
  },
  actors: { download: work, verify: work, handoff: work },
  guards: { signed: () => true, banned: () => false, quiet: (_, _params: { forMs: number }) => true },
  actions: { setPointer: () => {}, conclude: (_, _params: { outcome: string }) => {} },
  delays: { probation: 90_000, backOff: () => 10 },
}).createMachine({
  id: 'everything',
  type: 'parallel',
  states: {
    runtime: {
      initial: 'idle',
      on: { skip: {} },
      states: {
        idle: {
          tags: ['calm'],
          description: 'Waits until somebody asks; nothing is fetched before that.',
          entry: [raise({ type: 'wake' }, { delay: 30_000, id: 'wake' }), assign({})],
          exit: cancel('wake'),
          on: {
            start: { target: 'staging', guard: 'signed' },
            wake: 'staging',
            tick: { actions: emit({ type: 'noticed' }) },
          },
        },
        staging: {
          initial: 'downloading',
          on: { stop: 'idle', retry: { target: 'staging', reenter: true }, resume: '.hist' },
          onDone: 'activating',
          states: {
            downloading: {
              invoke: { src: 'download', onDone: 'verifying', onError: { target: 'failed', actions: () => {} } },
            },
            verifying: {
              invoke: {
                src: 'verify',
                onDone: [{ guard: not('banned'), target: 'staged' }, { target: 'failed' }],
                onError: 'failed',
              },
            },
            staged: { type: 'final', entry: { type: 'conclude', params: { outcome: 'staged' } } },
            failed: { after: { backOff: 'downloading', 5000: { actions: 'setPointer' } } },
            hist: { type: 'history', history: 'deep', target: 'verifying' },
          },
        },
        activating: {
          type: 'parallel',
          onDone: 'probation',
          on: {
            stop: {
              target: 'rollingBack',
              actions: ['setPointer', { type: 'conclude', params: { outcome: 'stopped' } }],
            },
          },
          states: {
            pointer: { initial: 'old', states: { old: { on: { tick: 'flipped' } }, flipped: { type: 'final' } } },
            health: {
              initial: 'probing',
              states: {
                probing: { after: { 500: 'ok' }, on: { tick: { target: 'sick', guard: () => false } } },
                ok: { type: 'final' },
                sick: { on: { '*': 'probing' } },
              },
            },
          },
        },
        probation: { after: { probation: 'idle' }, on: { tick: { target: 'probation', reenter: true } } },
        rollingBack: {
          always: [
            { guard: and(['banned', { type: 'quiet', params: { forMs: 100 } }]), target: 'quarantined' },
            { target: 'idle' },
          ],
        },
        quarantined: { on: { retry: '#everything.runtime.staging.verifying' } },
      },
    },
    pty: {
      initial: 'attached',
      states: {
        attached: {
          on: {
            detach: [{ guard: stateIn({ runtime: 'idle' }), target: 'handingOff' }, 'detached'],
            'poll.*': 'detached',
          },
        },
        handingOff: {
          initial: 'freezing',
          after: { 5000: 'attached' },
          states: {
            freezing: { on: { tick: 'passing' } },
            passing: { invoke: { src: 'handoff', onDone: 'resuming', onError: '#everything.pty.attached' } },
            resuming: { on: { resume: '#everything.pty.attached' } },
          },
        },
        detached: { on: { attach: 'attached' } },
      },
    },
  },
})
