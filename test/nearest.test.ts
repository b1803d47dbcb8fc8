import { expect, test } from 'vitest'
import { nearest } from '../src/nearest.ts'

const verbs = ['status', 'check', 'launch', 'rollback', 'ban', 'unban']

test.each([
  ['chek', 'check'],
  ['cehck', 'check'],
  ['checkk', 'check'],
  ['CHECK', 'check'],
  ['lanch', 'launch'],
  ['rolback', 'rollback'],
  ['unbam', 'unban'],
])('"%s" was meant to be "%s"', (word, meant) => {
  expect(nearest(word, verbs)).toBe(meant)
})

test.each(['xyz', '', 'configuration', 'x'.repeat(10_000)])('nothing is near "%s"', (word) => {
  expect(nearest(word, verbs)).toBeUndefined()
})
