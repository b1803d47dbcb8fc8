import { expect, test } from 'vitest'
import { pluginRemove } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const input = { plugin: 'tint', target: 'local' }
const there = done('find', { isThere: true, version: '1.0.0' })
const story = (...events: Parameters<typeof transcript>[2]) => transcript(pluginRemove, input, events)

test('follows every rule of the interpreter', () => {
  expect(lintMachine(pluginRemove)).toEqual([])
})

test('the live link goes first, then the trees', () => {
  expect(story(there, done('unlink'), done('clear'))).toMatchInlineSnapshot(`
    "start -> finding, do find
    find done -> unlinking, do unlink
    unlink done -> clearing, do clear
    clear done -> removed, tell plugin.removed"
  `)
  expect(play(pluginRemove, input, [there, done('unlink'), done('clear')]).output).toMatchObject({
    outcome: 'removed',
    version: '1.0.0',
    failure: null,
  })
})

test('trees that cannot be removed now do not make it live again, and that they are left is said', () => {
  expect(story(there, done('unlink'), failed('clear')).split('\n').at(-1)).toContain('-> removed')
  expect(play(pluginRemove, input, [there, done('unlink'), failed('clear', 'read-only')]).output).toMatchObject({
    outcome: 'removed',
    failure: { message: 'read-only' },
  })
})

test('what is not there, and what cannot be taken away, are said', () => {
  expect(story(done('find', { isThere: false, version: null }))).toContain('-> absent')
  expect(story(failed('find'))).toContain('-> failed')
  expect(play(pluginRemove, input, [there, failed('unlink', 'read-only')]).output).toMatchObject({
    outcome: 'failed',
    failure: { message: 'read-only' },
  })
})
