import { describe, expect, test } from 'vitest'
import { type Daemon, daemonSupervision, type SupervisionContext } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import type { RunEvent } from '../../src/run/record.ts'
import { done, elapse, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const input = { name: 'main', wanted: '0.2.0', autoUpdate: true }
const daemon: Daemon = { pid: 71, version: '0.2.0', node: '20.20.2', generation: 1, keeper: null, standing: 'same' }
const old: Daemon = { ...daemon, version: '0.1.0', standing: 'older' }
const next: Daemon = { ...daemon, pid: 72, generation: 2 }
const handoff = {
  outcome: 'handed-over',
  predecessor: 71,
  successor: 72,
  sessions: 3,
  freezeMs: 2,
  reason: null,
} as const
const kept = { ...handoff, outcome: 'kept', successor: null, freezeMs: null, reason: { name: 'Error', message: 'nak' } }

const ask = (type: 'start' | 'update' | 'restart' | 'stop', id = `${type}-1`): RunEvent => ({ type, id })
const story = (...events: RunEvent[]) => transcript(daemonSupervision, input, events)
const contextAfter = (...events: RunEvent[]) => play(daemonSupervision, input, events).context as SupervisionContext
const answersAfter = (...events: RunEvent[]) => contextAfter(...events).answers
const last = (told: string) => told.split('\n').at(-1)

const running = [done('locate', daemon)]
const updating = [...running, ask('update')]

test('follows every rule of the interpreter', () => {
  expect(lintMachine(daemonSupervision)).toEqual([])
})

test('a daemon that runs is adopted', () => {
  expect(story(...running)).toMatchInlineSnapshot(`
    "start -> locating, do locate
    locate done -> running.upToDate, do watch"
  `)
})

test('where none runs one is started when somebody asks, after looking once more', () => {
  expect(story(done('locate', null), ask('start'), done('locate', null), done('start', daemon))).toMatchInlineSnapshot(`
    "start -> locating, do locate
    locate done -> absent
    start -> locating, do locate
    locate done -> starting, do start
    start done -> running.upToDate, do watch, tell daemon.started"
  `)
})

test('one that somebody else started meanwhile is adopted', () => {
  const events = [done('locate', null), ask('start'), done('locate', daemon)]
  expect(story(...events)).toMatchInlineSnapshot(`
    "start -> locating, do locate
    locate done -> absent
    start -> locating, do locate
    locate done -> running.upToDate, do watch"
  `)
  expect(answersAfter(...events)).toEqual([
    { wish: 'start', ids: ['start-1'], failure: null, daemon, handoff: null, ended: 0 },
  ])
})

test('one that does not start is told, and asked for again only by somebody', () => {
  const events = [done('locate', null), ask('start'), done('locate', null), failed('start', 'no such program')]
  expect(story(...events)).toMatchInlineSnapshot(`
    "start -> locating, do locate
    locate done -> absent
    start -> locating, do locate
    locate done -> starting, do start
    start error -> absent"
  `)
  expect(answersAfter(...events)).toMatchObject([{ ids: ['start-1'], failure: { message: 'no such program' } }])
})

test('not knowing whether one runs is neither, and starts nothing', () => {
  const events = [ask('start'), failed('locate', 'silence')]
  expect(
    story(...events, elapse(2_000), failed('locate'), elapse(4_000), done('locate', daemon)),
  ).toMatchInlineSnapshot(`
    "start -> locating, do locate
    start -> locating
    locate error -> unclear, tell daemon.unclear
    after retryDelay -> locating, do locate
    locate error -> unclear, tell daemon.unclear
    after retryDelay -> locating, do locate
    locate done -> running.upToDate, do watch"
  `)
  expect(answersAfter(...events)).toMatchObject([{ ids: ['start-1'], failure: { message: 'silence' } }])
})

describe('updates', () => {
  test('an older daemon is updated without being asked', () => {
    expect(story(done('locate', old), done('update', { handoff, daemon: next }))).toMatchInlineSnapshot(`
      "start -> locating, do locate
      locate done -> updating, do update
      update done -> running.upToDate, do watch, tell daemon.updated"
    `)
  })

  test('an older daemon waits for a person where the configuration says so', () => {
    expect(
      last(transcript(daemonSupervision, { ...input, autoUpdate: false }, [done('locate', old)])),
    ).toMatchInlineSnapshot(`"locate done -> running.outdated, do watch"`)
  })

  test('one that failed leaves the old daemon, and only a person tries it again', () => {
    const events = [done('locate', old), done('update', { handoff: kept, daemon: old })]
    expect(story(...events, ask('update'), done('update', { handoff, daemon: next }))).toMatchInlineSnapshot(`
      "start -> locating, do locate
      locate done -> updating, do update
      update done -> running.keptOld, do watch, tell daemon.updateFailed
      update -> updating, do update
      update done -> running.upToDate, do watch, tell daemon.updated"
    `)
    expect(contextAfter(...events).kept).toMatchObject({ wanted: '0.2.0', failure: { message: 'nak' } })
  })

  test('one that failed is tried again by itself when the host is another', () => {
    const events = [done('locate', old), done('update', { handoff: kept, daemon: old })]
    expect(
      last(story(...events, { type: 'expect', wanted: '0.3.0', autoUpdate: true }, done('locate', old))),
    ).toMatchInlineSnapshot(`"locate done -> updating, do update"`)
  })

  test('a successor that is too old as well is not replaced over and over', () => {
    const events = [done('locate', old), done('update', { handoff, daemon: { ...old, pid: 72 } })]
    expect(last(story(...events))).toMatchInlineSnapshot(
      `"update done -> running.keptOld, do watch, tell daemon.updated"`,
    )
    expect(contextAfter(...events).kept?.failure.message).toBe('the daemon that took over is 0.1.0, not 0.2.0')
  })

  test('a person may ask for one of the same version', () => {
    expect(story(...updating, done('update', { handoff, daemon: next }))).toMatchInlineSnapshot(`
      "start -> locating, do locate
      locate done -> running.upToDate, do watch
      update -> updating, do update
      update done -> running.upToDate, do watch, tell daemon.updated"
    `)
  })

  test('two at once are one, with equal answers', () => {
    const events = [...updating, ask('update', 'update-2'), done('update', { handoff, daemon: next })]
    expect(story(...events)).toMatchInlineSnapshot(`
      "start -> locating, do locate
      locate done -> running.upToDate, do watch
      update -> updating, do update
      update -> updating
      update done -> running.upToDate, do watch, tell daemon.updated"
    `)
    expect(answersAfter(...events)).toEqual([
      { wish: 'update', ids: ['update-1', 'update-2'], failure: null, daemon: next, handoff, ended: 0 },
    ])
  })

  test('where none runs there is nothing to update', () => {
    const events = [done('locate', null), ask('update'), done('locate', null)]
    expect(last(story(...events))).toMatchInlineSnapshot(`"locate done -> absent"`)
    expect(answersAfter(...events)).toMatchObject([{ failure: { code: 'DAEMON_NOT_RUNNING' } }])
  })

  test('when one ends without an answer, whoever serves is looked for', () => {
    const events = [...updating, failed('update', 'the connection was lost')]
    expect(story(...events, done('locate', next))).toMatchInlineSnapshot(`
      "start -> locating, do locate
      locate done -> running.upToDate, do watch
      update -> updating, do update
      update error -> locating, do locate, tell daemon.updateFailed
      locate done -> running.upToDate, do watch"
    `)
    expect(answersAfter(...events)).toMatchObject([{ failure: { message: 'the connection was lost' } }])
  })
})

describe('restart and stop', () => {
  test('a restart stops the daemon, starts one and says how many sessions ended', () => {
    const events = [...running, ask('restart'), done('stop', { ended: 3 }), done('start', next)]
    expect(story(...events)).toMatchInlineSnapshot(`
      "start -> locating, do locate
      locate done -> running.upToDate, do watch
      restart -> stopping, do stop
      stop done -> starting, do start, tell daemon.stopped
      start done -> running.upToDate, do watch, tell daemon.started"
    `)
    expect(answersAfter(...events)).toMatchObject([{ wish: 'restart', failure: null, daemon: next, ended: 3 }])
  })

  test('a restart that cannot start one again still says how many sessions ended', () => {
    const events = [...running, ask('restart'), done('stop', { ended: 3 }), failed('start', 'no space')]
    expect(last(story(...events))).toMatchInlineSnapshot(`"start error -> absent"`)
    expect(answersAfter(...events)).toMatchObject([{ failure: { message: 'no space' }, daemon: null, ended: 3 }])
  })

  test('a stop ends the daemon, and nothing is started by itself', () => {
    const events = [...running, ask('stop'), done('stop', { ended: 3 })]
    expect(story(...events)).toMatchInlineSnapshot(`
      "start -> locating, do locate
      locate done -> running.upToDate, do watch
      stop -> stopping, do stop
      stop done -> absent, tell daemon.stopped"
    `)
    expect(answersAfter(...events)).toMatchObject([{ wish: 'stop', failure: null, daemon: null, ended: 3 }])
  })

  test('a stop that fails looks for what there is', () => {
    expect(last(story(...running, ask('stop'), failed('stop')))).toMatchInlineSnapshot(
      `"stop error -> locating, do locate"`,
    )
  })

  test('where none runs a stop has nothing to do', () => {
    const events = [done('locate', null), ask('stop'), done('locate', null)]
    expect(answersAfter(...events)).toMatchObject([{ wish: 'stop', failure: null, ended: 0 }])
  })

  test('they wait until an update has ended', () => {
    const updated = done('update', { handoff, daemon: next })
    expect(
      story(...updating, ask('restart'), updated, done('stop', { ended: 3 }), done('start', next)),
    ).toMatchInlineSnapshot(`
      "start -> locating, do locate
      locate done -> running.upToDate, do watch
      update -> updating, do update
      restart -> updating
      update done -> stopping, do stop, tell daemon.updated
      stop done -> starting, do start, tell daemon.stopped
      start done -> running.upToDate, do watch, tell daemon.started"
    `)
    expect(last(story(...updating, ask('stop'), updated))).toMatchInlineSnapshot(
      `"update done -> stopping, do stop, tell daemon.updated"`,
    )
  })

  test('while a stop is wanted everything else is refused', () => {
    for (const busy of [
      [...running, ask('stop')],
      [...updating, ask('stop')],
    ])
      for (const wish of ['start', 'update', 'restart'] as const)
        expect(answersAfter(...busy, ask(wish, 'late'))).toMatchObject([
          { wish, ids: ['late'], failure: { code: 'DAEMON_STOPPING' } },
        ])
  })

  test('wishes are met in the order they were asked for', () => {
    const events = [ask('update'), ask('start'), ask('restart'), ask('stop'), done('locate', daemon)]
    expect(
      story(
        ...events,
        done('update', { handoff, daemon: next }),
        done('stop', { ended: 3 }),
        done('start', next),
        done('stop', { ended: 0 }),
      ),
    ).toMatchInlineSnapshot(`
      "start -> locating, do locate
      update -> locating
      start -> locating
      restart -> locating
      stop -> locating
      locate done -> updating, do update
      update done -> stopping, do stop, tell daemon.updated
      stop done -> starting, do start, tell daemon.stopped
      start done -> stopping, do stop, tell daemon.started
      stop done -> absent, tell daemon.stopped"
    `)
  })
})

describe('a daemon that goes by itself', () => {
  test('is noticed, and the one that its keeper starts is adopted', () => {
    expect(story(...running, done('watch', { end: 'lost' }), done('locate', next))).toMatchInlineSnapshot(`
      "start -> locating, do locate
      locate done -> running.upToDate, do watch
      watch done -> locating, do locate, tell daemon.lost
      locate done -> running.upToDate, do watch"
    `)
  })

  test('is noticed, and where none comes back none is there', () => {
    expect(last(story(...running, done('watch', { end: 'lost' }), done('locate', null)))).toMatchInlineSnapshot(
      `"locate done -> absent"`,
    )
  })

  test('by a handoff that somebody else asked for is not lost', () => {
    expect(last(story(...running, done('watch', { end: 'handed-over' })))).toMatchInlineSnapshot(
      `"watch done -> locating, do locate"`,
    )
  })

  test('cannot be watched: what is there is asked after a while', () => {
    expect(last(story(...running, failed('watch')))).toMatchInlineSnapshot(
      `"watch error -> unclear, tell daemon.unclear"`,
    )
  })
})

test('what the configuration no longer names is left as it is', () => {
  expect(last(story({ type: 'release' }, done('locate', old)))).toMatchInlineSnapshot(`"locate done -> released"`)
  expect(last(story({ type: 'release' }, failed('locate')))).toMatchInlineSnapshot(
    `"locate error -> released, tell daemon.unclear"`,
  )
  expect(contextAfter({ type: 'release' }, { type: 'expect', wanted: '0.2.0', autoUpdate: true }).releasing).toBe(false)
  expect(last(story(...running, { type: 'release' }))).toMatchInlineSnapshot(`"release -> released"`)
})

test('the newest answers are kept, and no more', () => {
  const asked = Array.from({ length: 40 }, (_, index) => ask('start', `start-${index}`))
  expect(answersAfter(...running, ...asked).map(({ ids }) => ids[0])).toEqual(asked.slice(8).map(({ id }) => id))
})
