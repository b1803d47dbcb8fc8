import { expect, test } from 'vitest'
import { appPin } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const input = { app: 'notes', pin: { version: '1.0.0', note: 'until the audit' } }

type Events = Parameters<typeof transcript>[2]
const story = (given: typeof input | { app: string; pin: null }, ...events: Events) => transcript(appPin, given, events)

test('follows every rule of the interpreter', () => {
  expect(lintMachine(appPin)).toEqual([])
})

test('an app is pinned, and let go', () => {
  expect(story(input, done('carryOut'))).toMatchInlineSnapshot(`
    "start -> pinning, do carryOut
    carryOut done -> settled, tell app.pinned"
  `)
  expect(story({ app: 'notes', pin: null }, done('carryOut'))).toMatchInlineSnapshot(`
    "start -> pinning, do carryOut
    carryOut done -> settled, tell app.unpinned"
  `)
})

test('what cannot be written down is refused', () => {
  expect(story(input, failed('carryOut', 'full'))).toMatchInlineSnapshot(`
    "start -> pinning, do carryOut
    carryOut error -> refused"
  `)
  expect(play(appPin, input, [failed('carryOut', 'full')]).output).toMatchObject({ failure: { message: 'full' } })
})
