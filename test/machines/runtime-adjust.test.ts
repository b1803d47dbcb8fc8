import { expect, test } from 'vitest'
import { runtimeAdjust } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'

const from = { version: '2.0.0', digest: 'd2' }
const input = { runtime: 'kanban', adjustment: { kind: 'rollback', from } } as const

test('follows every rule of the interpreter', () => {
  expect(lintMachine(runtimeAdjust)).toEqual([])
})

test('what a person asked is carried out once, and told to those who follow', () => {
  expect(transcript(runtimeAdjust, input, [done('carryOut', { from: '2.0.0', to: '1.0.0' })])).toMatchInlineSnapshot(`
    "start -> adjusting, do carryOut
    carryOut done -> adjusted, tell runtime.adjusted"
  `)
})

test('what cannot be carried out is refused, and ends there', () => {
  expect(transcript(runtimeAdjust, input, [failed('carryOut', 'the disk is full')])).toMatchInlineSnapshot(`
    "start -> adjusting, do carryOut
    carryOut error -> refused"
  `)
})
