import { expect, test } from 'vitest'
import { duration } from '../../src/diagram/duration.ts'

test.each([
  [0, '0 ms'],
  [999, '999 ms'],
  [1000, '1 s'],
  [1500, '1.5 s'],
  [60_000, '1 min'],
  [90_000, '1 min 30 s'],
  [90_500, '1 min 30.5 s'],
  [1_800_000, '30 min'],
  [3_600_000, '1 h'],
  [90_061_000, '1 d 1 h 1 min 1 s'],
])('%d ms read as %s', (ms, text) => {
  expect(duration(ms)).toBe(text)
})
