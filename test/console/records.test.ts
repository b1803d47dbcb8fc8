import { expect, test } from 'vitest'
import type { RecordTold } from '../../console/model/contract.ts'
import { merged } from '../../console/model/merged.ts'
import { knownRuns, verdictOf } from '../../console/model/runs.ts'

const record = (seq: number, more: Partial<RecordTold> = {}): RecordTold => ({
  seq,
  at: seq,
  run: 'app-upgrade-1',
  machine: 'app-upgrade@1',
  key: 'notes',
  event: { type: 'go' },
  state: 'planning',
  effects: [],
  ...more,
})

test('records that come twice or late are in the journal once, in its order', () => {
  const numbers = (known: number[], added: number[]) =>
    merged(
      known.map((seq) => record(seq)),
      added.map((seq) => record(seq)),
    ).map(({ seq }) => seq)
  expect(numbers([1, 2], [3, 4])).toEqual([1, 2, 3, 4])
  expect(numbers([5, 6], [1, 2, 3, 4])).toEqual([1, 2, 3, 4, 5, 6])
  expect(numbers([1, 2, 3], [2, 3, 4])).toEqual([1, 2, 3, 4])
  expect(numbers([], [2, 1, 1])).toEqual([1, 2])
})

test('a run is known by its last record, whatever its definition has become', () => {
  const runs = knownRuns([
    record(1, { state: 'choosing' }),
    record(2, { run: 'old-thing-2', machine: null, key: null, state: null }),
    record(3, { state: 'settled', ends: 'done', outcome: 'partly' }),
  ])
  expect([...runs.values()]).toEqual([
    expect.objectContaining({ run: 'old-thing-2', machine: 'old-thing', key: '', ends: null }),
    expect.objectContaining({ run: 'app-upgrade-1', machine: 'app-upgrade', first: 1, last: 3, outcome: 'partly' }),
  ])
  expect([...runs.values()].map(verdictOf)).toEqual(['going', 'bad'])
})
