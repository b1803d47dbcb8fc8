import { expect, test } from 'vitest'
import { type AppInstallResult, appInstall } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const install = { args: [], env: {}, credentials: {}, config: {} }
const input = { app: 'notes', workspace: 'a', wanted: 'latest', install }
const release = { version: '1.0.0', digest: 'd1', exclusive: false }
const adopted = done('adopt', { release, isFirst: false, before: null })

type Events = Parameters<typeof transcript>[2]
const story = (...events: Events) => transcript(appInstall, input, events)
const output = (...events: Events) => play(appInstall, input, events).output as AppInstallResult

test('follows every rule of the interpreter', () => {
  expect(lintMachine(appInstall)).toEqual([])
})

test("the organisation's version is adopted, what the install was given is kept, and it is started", () => {
  expect(story(adopted, done('note'), done('start'))).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt done -> noting, do note
    note done -> starting, do start
    start done -> installed, tell app.installed"
  `)
  expect(output(adopted, done('note'), done('start'))).toMatchObject({ outcome: 'installed', version: '1.0.0' })
})

test('what does not start is taken back', () => {
  expect(story(adopted, done('note'), failed('start'), done('undo'))).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt done -> noting, do note
    note done -> starting, do start
    start error -> undoing, do undo
    undo done -> refused"
  `)
  expect(output(adopted, done('note'), failed('start', 'no'), failed('undo'))).toMatchObject({
    outcome: 'refused',
    failure: { message: 'no' },
  })
})

test('what the organisation cannot have is not begun', () => {
  expect(story(failed('adopt'))).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt error -> refused"
  `)
})
