import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { machines } from '../../machines/index.ts'
import type { AnyFlow } from '../../src/run/flow.ts'
import { foldJournal } from '../../src/run/fold.ts'
import { machineRef } from '../../src/run/record.ts'

// Journals that machines wrote when they were last recorded (see `test/support/golden.ts`).

const folder = new URL('golden/', import.meta.url)

test('there is a golden journal of every machine, and of no other', async () => {
  const wanted = Object.values(machines).map((machine) => `${machineRef(machine)}.ndjson`)
  expect((await readdir(folder)).sort(), 'record them with `npm run golden`').toEqual(wanted.sort())
})

test.each(Object.values(machines).map((machine) => [machineRef(machine), machine] as const))(
  '%s still leads where it led: a change that does not raise its version would strand the runs of others',
  async (ref, machine) => {
    const text = await readFile(new URL(`${ref}.ndjson`, folder), 'utf8')
    const records: unknown[] = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    const effects = Object.fromEntries(Object.keys(machine.implementations.actors).map((src) => [src, async () => {}]))
    const states = await foldJournal([{ machine, effects } as AnyFlow], records)
    expect(states.length).toBeGreaterThan(0)
  },
)
