import { expect, test } from 'vitest'
import { daemonTakeover } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const handoff = { name: 'main', how: 'handoff', predecessor: 71 } as const
const crash = { name: 'main', how: 'crash', predecessor: 71 } as const
const adopted = { sessions: [{ handle: 1, id: 'a', pid: 80 }] }
const sessions = [{ handle: 1, id: 'a', offset: 10, crc32: 7 }]
const gaps = [{ handle: 1, id: 'a', from: 4, known: 6, to: 10 }]

test('follows every rule of the interpreter', () => {
  expect(lintMachine(daemonTakeover)).toEqual([])
})

test('a successor adopts, acknowledges, serves, and takes the scrollback afterwards', () => {
  const events = [done('adopt', adopted), done('takeDelta', { sessions }), done('receiveHistory', { bytes: 10 })]
  expect(transcript(daemonTakeover, handoff, events)).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt done -> awaitingCommit, do takeDelta
    takeDelta done -> serving, do receiveHistory, tell daemon.tookOver
    receiveHistory done -> settled"
  `)
  expect(play(daemonTakeover, handoff, events).output).toEqual({
    outcome: 'settled',
    how: 'handoff',
    predecessor: 71,
    sessions,
    gaps: [],
    historyBytes: 10,
    failure: null,
  })
})

test('a plan that is not believed is refused, and the predecessor is told', () => {
  const events = [failed('adopt', 'a descriptor is wrong'), done('refuse')]
  expect(transcript(daemonTakeover, handoff, events)).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt error -> refusing, do refuse
    refuse done -> refused, tell daemon.refused"
  `)
  expect(play(daemonTakeover, handoff, events).output).toMatchObject({
    outcome: 'refused',
    sessions: [],
    failure: { message: 'a descriptor is wrong' },
  })
})

test('a predecessor that goes before it commits leaves nothing to serve', () => {
  expect(
    transcript(daemonTakeover, handoff, [done('adopt', adopted), failed('takeDelta'), failed('refuse')]),
  ).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt done -> awaitingCommit, do takeDelta
    takeDelta error -> refusing, do refuse
    refuse error -> refused, tell daemon.refused"
  `)
})

test('scrollback that does not come ends no session', () => {
  const events = [done('adopt', adopted), done('takeDelta', { sessions }), failed('receiveHistory', 'cut off')]
  expect(transcript(daemonTakeover, handoff, events)).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt done -> awaitingCommit, do takeDelta
    takeDelta done -> serving, do receiveHistory, tell daemon.tookOver
    receiveHistory error -> settled"
  `)
  expect(play(daemonTakeover, handoff, events).output).toMatchObject({
    outcome: 'settled',
    sessions,
    historyBytes: null,
    failure: { message: 'cut off' },
  })
})

test('after a crash sessions go on at their watermarks, and what may be missing is told', () => {
  const events = [done('adopt', adopted), done('recover', { sessions, gaps })]
  expect(transcript(daemonTakeover, crash, events)).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt done -> recovering, do recover
    recover done -> settled, tell daemon.tookOver"
  `)
  expect(play(daemonTakeover, crash, events).output).toMatchObject({ outcome: 'settled', sessions, gaps })
})

test('a first daemon goes the way of a crash, with nothing to recover', () => {
  const first = { name: 'main', how: 'start', predecessor: null } as const
  const events = [done('adopt', { sessions: [] }), done('recover', { sessions: [], gaps: [] })]
  expect(transcript(daemonTakeover, first, events)).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt done -> recovering, do recover
    recover done -> settled, tell daemon.tookOver"
  `)
})

test('what cannot be recovered is refused', () => {
  expect(
    transcript(daemonTakeover, crash, [done('adopt', adopted), failed('recover'), done('refuse')]),
  ).toMatchInlineSnapshot(`
    "start -> adopting, do adopt
    adopt done -> recovering, do recover
    recover error -> refusing, do refuse
    refuse done -> refused, tell daemon.refused"
  `)
})
