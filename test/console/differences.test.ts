import { expect, test } from 'vitest'
import { differences } from '../../src/console/differences.ts'

test('the innermost places are told, with what was and what is', () => {
  const before = { value: 'rolling', context: { results: [{ outcome: 'kept' }], gone: 1, same: { a: [1] } } }
  const after = { value: { a: 'b' }, context: { results: [{ outcome: 'upgraded' }, 2], same: { a: [1] }, 'a b': null } }
  expect(differences(before, after)).toEqual([
    { path: 'value', before: 'rolling', after: { a: 'b' } },
    { path: 'context.results[0].outcome', before: 'kept', after: 'upgraded' },
    { path: 'context.results[1]', after: 2 },
    { path: 'context.gone', before: 1 },
    { path: 'context["a b"]', after: null },
  ])
})

test('what is alike differs nowhere, a list is no object, and there is an end to it', () => {
  expect(differences({ a: [1, { b: null }] }, { a: [1, { b: null }] })).toEqual([])
  expect(differences({ a: [] }, { a: {} })).toEqual([{ path: 'a', before: [], after: {} }])
  const many = (by: number) => Array.from({ length: 2000 }, (_, at) => at + by)
  expect(differences(many(0), many(1))).toHaveLength(500)
})
