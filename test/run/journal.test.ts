import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { assign, emit, setup } from 'xstate'
import { openJournal } from '../../src/journal/index.ts'
import { Interpreter } from '../../src/run/interpreter.ts'

const counter = setup({ types: {} as { context: { n: number }; input: { n: number } } }).createMachine({
  id: 'counter',
  version: '1',
  context: ({ input }) => ({ n: input?.n ?? 0 }),
  initial: 'counting',
  states: { counting: { on: { end: 'over' } }, over: { type: 'final' } },
  on: {
    add: { actions: [assign({ n: ({ context }) => context.n + 1 }), emit({ type: 'added' })] },
  },
})
const flows = [{ machine: counter, effects: {} }]

test('on the real journal: what was acknowledged is there after every opening, and can be read at any record', async () => {
  const home = await mkdtemp(join(tmpdir(), 'instar-run-'))
  try {
    const directory = join(home, 'journal')
    let run = ''
    for (let opening = 0; opening < 3; opening += 1) {
      const log = await openJournal({ directory })
      const interpreter = await Interpreter.open({ log, flows, snapshotEveryRecords: 40 })
      const state = await interpreter.start('counter', { key: 'k', input: { n: 0 }, busy: 'join' })
      run = state.run
      expect(state).toMatchObject({ run: 'counter-1', context: { n: opening * 100 } })
      await Promise.all(Array.from({ length: 50 }, () => interpreter.send(run, { type: 'add' })))
      for (let n = 0; n < 50; n += 1) await interpreter.send(run, { type: 'add' })
      expect(await interpreter.stateAt(run, interpreter.get(run)!.seq - 5)).toMatchObject({
        context: { n: opening * 100 + 95 },
      })
      await interpreter.close()
    }
    const log = await openJournal({ directory })
    const interpreter = await Interpreter.open({ log, flows })
    expect(interpreter.get(run)).toMatchObject({ context: { n: 300 }, seq: 301 })
    expect(interpreter.notices().length).toBe(300)
    await interpreter.close()
  } finally {
    await rm(home, { recursive: true, force: true })
  }
})
