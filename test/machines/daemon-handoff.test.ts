import { expect, test } from 'vitest'
import { daemonHandoff } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, elapse, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const input = { name: 'main', command: ['node', 'daemon-main.js'] }
const successor = { pid: 72, version: '0.2.0' }
const committed = { freezeMs: 2, sessions: [{ handle: 1, id: 'a', offset: 10, crc32: 7 }] }
const story = (...events: Parameters<typeof transcript>[2]) => transcript(daemonHandoff, input, events)

const output = (...events: Parameters<typeof transcript>[2]) => play(daemonHandoff, input, events).output

const prepared = [done('snapshot', { sessions: 1 }), done('spawnSuccessor', successor)]

test('follows every rule of the interpreter', () => {
  expect(lintMachine(daemonHandoff)).toEqual([])
})

test('what the successor acknowledged is its own', () => {
  expect(story(...prepared, done('commit', committed), done('finalize'))).toMatchInlineSnapshot(`
    "start -> snapshotting, do snapshot
    snapshot done -> spawning, do spawnSuccessor
    spawnSuccessor done -> committing, do commit
    commit done -> finalizing, do finalize
    finalize done -> handedOver, tell daemon.handedOver"
  `)
})

test('a platform that cannot hand over refuses before anything is started', () => {
  expect(story(failed('snapshot', 'not here'))).toMatchInlineSnapshot(`
    "start -> snapshotting, do snapshot
    snapshot error -> kept, tell daemon.kept"
  `)
})

test('a successor that says no or exits is ended, and the daemon serves on', () => {
  expect(story(done('snapshot', { sessions: 1 }), failed('spawnSuccessor'), done('rollBack'))).toMatchInlineSnapshot(`
    "start -> snapshotting, do snapshot
    snapshot done -> spawning, do spawnSuccessor
    spawnSuccessor error -> rollingBack, do rollBack
    rollBack done -> kept, tell daemon.kept"
  `)
})

test('a successor that is not prepared in time is ended, and the daemon serves on', () => {
  expect(story(done('snapshot', { sessions: 1 }), elapse(15_000), done('rollBack'))).toMatchInlineSnapshot(`
    "start -> snapshotting, do snapshot
    snapshot done -> spawning, do spawnSuccessor
    after prepareTimeout -> rollingBack, do rollBack
    rollBack done -> kept, tell daemon.kept"
  `)
})

test('a successor that does not acknowledge is ended, and the daemon serves on', () => {
  expect(story(...prepared, failed('commit', 'silence'), done('rollBack'))).toMatchInlineSnapshot(`
    "start -> snapshotting, do snapshot
    snapshot done -> spawning, do spawnSuccessor
    spawnSuccessor done -> committing, do commit
    commit error -> rollingBack, do rollBack
    rollBack done -> kept, tell daemon.kept"
  `)
})

test('no time that passes takes back what may have been acknowledged', () => {
  expect(() => story(...prepared, elapse(3_600_000))).toThrow('nothing comes due')
})

test('after the acknowledgement nothing takes it back, also when the scrollback does not cross', () => {
  expect(story(...prepared, done('commit', committed), failed('finalize'))).toMatchInlineSnapshot(`
    "start -> snapshotting, do snapshot
    snapshot done -> spawning, do spawnSuccessor
    spawnSuccessor done -> committing, do commit
    commit done -> finalizing, do finalize
    finalize error -> handedOver, tell daemon.handedOver"
  `)
})

test('a rollback that fails ends with the old daemon as well', () => {
  expect(story(...prepared, failed('commit'), failed('rollBack'))).toMatchInlineSnapshot(`
    "start -> snapshotting, do snapshot
    snapshot done -> spawning, do spawnSuccessor
    spawnSuccessor done -> committing, do commit
    commit error -> rollingBack, do rollBack
    rollBack error -> kept, tell daemon.kept"
  `)
})

test('it answers what crossed, or why nothing did', () => {
  expect(output(...prepared, done('commit', committed), done('finalize'))).toEqual({
    outcome: 'handed-over',
    successor,
    ...committed,
    failure: null,
    rollBackFailure: null,
  })
  expect(output(...prepared, failed('commit', 'silence'), failed('rollBack', 'it hangs'))).toMatchObject({
    outcome: 'kept',
    successor: null,
    freezeMs: null,
    sessions: [],
    failure: { message: 'silence' },
    rollBackFailure: { message: 'it hangs' },
  })
  expect(output(...prepared, done('commit', committed), failed('finalize', 'cut off'))).toMatchObject({
    outcome: 'handed-over',
    failure: { message: 'cut off' },
  })
})
