import { describe, expect, test } from 'vitest'
import { appInstance, type InstanceContext } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, elapse, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const old = { version: '1.0.0', digest: 'd1', exclusive: false }
const next = { version: '2.0.0', digest: 'd2', exclusive: false }
const input = { app: 'notes', workspace: 'a', release: old }
const processOf = ({ version, digest }: typeof old, key = version) => ({ version, digest, pid: 7, key })

const wish = (release: typeof old | null, id = 'w') => ({ type: 'run', id, release })
const stop = { type: 'stop', id: 's' }
const up = done('start', processOf(old))
const died = done('watch', { end: 'died', failure: { name: 'Error', message: 'it died' } })

/** Time passes; for what is played and not told. */
const again = { type: 'xstate.after.backOff.app-instance.waiting' }

type Events = Parameters<typeof transcript>[2]
const story = (...events: Events) => transcript(appInstance, input, events)
const exclusiveStory = (...events: Events) =>
  transcript(appInstance, { ...input, release: { ...old, exclusive: true } }, events)
const context = (...events: Events) => play(appInstance, input, events).context as InstanceContext
const answers = (...events: Events) =>
  context(...events).answers.map(({ id, outcome, version }) => `${id} ${outcome} ${version}`)

test('follows every rule of the interpreter', () => {
  expect(lintMachine(appInstance)).toEqual([])
})

test('it is started, serves, and is replaced by one that has answered before the old one is ended', () => {
  expect(story(up, wish(next), done('launch', processOf(next)), done('change'))).toMatchInlineSnapshot(`
    "start -> starting, do start
    start done -> ready, do watch, tell app.ready
    run -> launching, do launch
    launch done -> changing, do change
    change done -> ready, do watch, tell app.upgraded"
  `)
})

test('a new one that does not come up leaves the old one serving', () => {
  expect(story(up, wish(next), failed('launch'))).toMatchInlineSnapshot(`
    "start -> starting, do start
    start done -> ready, do watch, tell app.ready
    run -> launching, do launch
    launch error -> ready, do watch, tell app.kept"
  `)
  expect(answers(up, wish(next), failed('launch', 'no'))).toEqual(['w kept 1.0.0'])
  expect(context(up, wish(next), failed('launch', 'no')).answers[0]!.failure?.message).toBe('no')
})

test('of an exclusive app the old one is ended first, and comes back when the new one does not', () => {
  const before = [up, wish(next), done('pause')]
  expect(exclusiveStory(...before, done('replace', processOf(next)))).toMatchInlineSnapshot(`
    "start -> starting, do start
    start done -> ready, do watch, tell app.ready
    run -> pausing, do pause
    pause done -> replacing, do replace
    replace done -> ready, do watch, tell app.upgraded"
  `)
  expect(exclusiveStory(...before, failed('replace'), done('return', processOf(old)))).toMatchInlineSnapshot(`
    "start -> starting, do start
    start done -> ready, do watch, tell app.ready
    run -> pausing, do pause
    pause done -> replacing, do replace
    replace error -> returning, do return
    return done -> ready, do watch, tell app.kept"
  `)
  expect(exclusiveStory(...before, failed('replace'), failed('return'))).toMatchInlineSnapshot(`
    "start -> starting, do start
    start done -> ready, do watch, tell app.ready
    run -> pausing, do pause
    pause done -> replacing, do replace
    replace error -> returning, do return
    return error -> dead, tell app.dead"
  `)
})

test('one that dies is started again, later each time, and is given up at last', () => {
  expect(
    story(up, died, elapse(1000), failed('start'), elapse(2000), failed('start'), elapse(4000), up),
  ).toMatchInlineSnapshot(`
    "start -> starting, do start
    start done -> ready, do watch, tell app.ready
    watch done -> waiting, tell app.died
    after backOff -> starting, do start
    start error -> waiting
    after backOff -> starting, do start
    start error -> waiting
    after backOff -> starting, do start
    start done -> ready, do watch, tell app.ready"
  `)
  const last = story(
    up,
    died,
    elapse(1000),
    failed('start'),
    elapse(2000),
    failed('start'),
    elapse(4000),
    failed('start'),
    elapse(8000),
    failed('start'),
  )
  expect(last.split('\n').at(-1)).toBe('start error -> dead, tell app.dead')
})

test('one that lived for a minute is forgiven what was before', () => {
  const tired = [up, died, again, up]
  expect(context(...tired).misses).toBe(1)
  expect(context(...tired, { type: 'xstate.after.steady.app-instance.ready' }).misses).toBe(0)
})

test('after a replay nothing runs: it is started again and not blamed', () => {
  const unattended = done('watch', { end: 'unattended', failure: null })
  expect(story(up, unattended, up)).toMatchInlineSnapshot(`
    "start -> starting, do start
    start done -> ready, do watch, tell app.ready
    watch done -> starting, do start
    start done -> ready, do watch, tell app.ready"
  `)
  expect(context(up, unattended, up).misses).toBe(0)
})

test('after a crash in the middle of a replacement the new version is the one that is started', () => {
  const changing = [up, wish(next), done('launch', processOf(next)), failed('change')]
  expect(answers(...changing)).toEqual(['w upgraded 2.0.0'])
  expect(context(...changing, done('watch', { end: 'unattended', failure: null })).release).toEqual(next)
})

describe('wishes', () => {
  test('what runs already is current; the same one anew is not', () => {
    expect(answers(up, wish(old))).toEqual(['w current 1.0.0'])
    expect(story(up, wish(null), done('launch', processOf(old, 'k')), done('change'))).toMatchInlineSnapshot(`
      "start -> starting, do start
      start done -> ready, do watch, tell app.ready
      run -> launching, do launch
      launch done -> changing, do change
      change done -> ready, do watch, tell app.upgraded"
    `)
  })

  test('are carried out one after the other', () => {
    const later = { version: '3.0.0', digest: 'd3', exclusive: false }
    expect(
      answers(
        up,
        wish(next, 'one'),
        wish(later, 'two'),
        done('launch', processOf(next)),
        done('change'),
        done('launch', processOf(later)),
        done('change'),
      ),
    ).toEqual(['one upgraded 2.0.0', 'two upgraded 3.0.0'])
  })

  test('bring a dead one back, in the version that is wanted', () => {
    const dead = [...[1, 2, 3, 4].flatMap(() => [failed('start'), again]), failed('start')]
    expect(answers(...dead, wish(next), done('replace', processOf(next)))).toEqual(['w upgraded 2.0.0'])
    expect(answers(...dead, wish(null), failed('replace'))).toEqual(['w dead 1.0.0'])
  })

  test('that come while it starts are carried out at once where it does not come up', () => {
    expect(story(wish(null), failed('start'), done('replace', processOf(old)))).toMatchInlineSnapshot(`
      "start -> starting, do start
      run -> starting
      start error -> replacing, do replace
      replace done -> ready, do watch, tell app.upgraded"
    `)
    expect(story(stop, failed('start'), done('stop'))).toMatchInlineSnapshot(`
      "start -> starting, do start
      stop -> starting
      start error -> stopping, do stop
      stop done -> stopped, tell app.stopped"
    `)
  })

  test('behind one that left it dead are carried out, too', () => {
    const waiting = [wish(null, 'one'), wish(null, 'two'), failed('start'), failed('replace')]
    expect(answers(...waiting, done('replace', processOf(old)))).toEqual(['one dead 1.0.0', 'two upgraded 1.0.0'])
  })

  test('to stop end it', () => {
    expect(story(up, stop, done('stop'))).toMatchInlineSnapshot(`
      "start -> starting, do start
      start done -> ready, do watch, tell app.ready
      stop -> stopping, do stop
      stop done -> stopped, tell app.stopped"
    `)
    expect(story(stop, up, done('stop'))).toMatchInlineSnapshot(`
      "start -> starting, do start
      stop -> starting
      start done -> stopping, do stop, tell app.ready
      stop done -> stopped, tell app.stopped"
    `)
  })
})
