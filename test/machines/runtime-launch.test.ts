import { expect, test } from 'vitest'
import type { Candidate, Fault, LaunchContext } from '../../machines/index.ts'
import { runtimeLaunch } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import type { RunEvent } from '../../src/run/record.ts'
import { done, elapse, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const input = { runtime: 'kanban', args: [], probationMs: 60_000 }
const current: Candidate = { arm: 'current', version: '3.0.0', release: { version: '3.0.0', digest: 'd3' } }
const previous: Candidate = { arm: 'previous', version: '2.0.0', release: { version: '2.0.0', digest: 'd2' } }
const bundled: Candidate = { arm: 'bundled', version: '1.0.0', release: null }
const chosen = (arms: Candidate[]) => ({ arms, repaired: null })
const child = { key: '4:spawn', pid: 71, port: 4000, nonce: 'n', ipc: false, record: '/r', boot: 'b', start: 1 }
const because = (fault: Fault) => ({ name: 'Error', message: 'it broke', details: { fault } })
const exit = (code: number | null, lost = false) => ({
  exit: { code, signal: null, lost },
  failure: because(lost ? 'environment' : 'version'),
})
const story = (...events: Parameters<typeof transcript>[2]) => transcript(runtimeLaunch, input, events)
const last = (told: string) => told.split('\n').at(-1)

const spawned = [done('choose', chosen([current, previous, bundled])), done('spawn', child)]
const ready = [...spawned, done('probe', { url: 'http://127.0.0.1:4000/' })]
const healthy = [...ready, elapse(60_000), done('commend')]

test('follows every rule of the interpreter', () => {
  expect(lintMachine(runtimeLaunch)).toEqual([])
})

test('a good version is probed, survives probation, is commended and runs until it is stopped', () => {
  expect(story(...healthy, { type: 'stop' }, done('terminate'))).toMatchInlineSnapshot(`
    "start -> choosing, do choose
    choose done -> spawning, do spawn
    spawn done -> probing, do watch, do probe
    probe done -> probation, do watch, tell runtime.ready
    after probation -> commending, do commend
    commend done -> healthy.settled, do watch
    stop -> stopping, do terminate
    terminate done -> stopped"
  `)
})

test('a version that exits before it is ready is struck, and the same launch ends on the fallback', () => {
  const fails = [...spawned, done('watch', exit(1)), done('terminate'), done('strike', { banned: false })]
  expect(story(...fails, done('spawn', child), done('probe', { url: null }))).toMatchInlineSnapshot(`
    "start -> choosing, do choose
    choose done -> spawning, do spawn
    spawn done -> probing, do watch, do probe
    watch done -> clearing, do terminate, tell runtime.startFailed
    terminate done -> striking.writing, do strike
    strike done -> spawning, do spawn, tell runtime.rolledBack
    spawn done -> probing, do watch, do probe
    probe done -> probation, do watch, tell runtime.ready"
  `)
})

test('a version that is banned is no longer pointed at', () => {
  const fails = [...spawned, failed('probe', because('version')), done('terminate'), done('strike', { banned: true })]
  expect(story(...fails, done('restore'))).toMatchInlineSnapshot(`
    "start -> choosing, do choose
    choose done -> spawning, do spawn
    spawn done -> probing, do watch, do probe
    probe error -> clearing, do terminate, tell runtime.startFailed
    terminate done -> striking.writing, do strike
    strike done -> striking.restoring, do restore, tell runtime.banned
    restore done -> spawning, do spawn, tell runtime.rolledBack"
  `)
})

test('each arm is tried once, and the bundled one is never struck', () => {
  const fail = [done('spawn', child), done('watch', exit(1)), done('terminate')]
  const struck = [...fail, done('strike', { banned: false })]
  expect(
    story(done('choose', chosen([current, previous, bundled])), ...struck, ...struck, ...fail),
  ).toMatchInlineSnapshot(`
    "start -> choosing, do choose
    choose done -> spawning, do spawn
    spawn done -> probing, do watch, do probe
    watch done -> clearing, do terminate, tell runtime.startFailed
    terminate done -> striking.writing, do strike
    strike done -> spawning, do spawn, tell runtime.rolledBack
    spawn done -> probing, do watch, do probe
    watch done -> clearing, do terminate, tell runtime.startFailed
    terminate done -> striking.writing, do strike
    strike done -> spawning, do spawn, tell runtime.rolledBack
    spawn done -> probing, do watch, do probe
    watch done -> clearing, do terminate, tell runtime.startFailed
    terminate done -> failed, tell runtime.failed"
  `)
})

test('a start that the environment spoiled is tried again three times, then the next arm, and nobody is struck', () => {
  const spoiled = [failed('spawn', because('environment')), elapse(1_000)]
  const told = story(
    done('choose', chosen([current, bundled])),
    ...spoiled,
    ...spoiled,
    ...spoiled,
    failed('spawn', because('environment')),
  )
  expect(last(told)).toBe('spawn error -> spawning, do spawn, tell runtime.startFailed, tell runtime.rolledBack')
  expect(told).not.toContain('strike')
})

test('a crash in probation is a failed start; leaving in good order is not', () => {
  expect(last(story(...ready, done('watch', exit(137))))).toMatch(/^watch done -> clearing/)
  expect(story(...ready, done('watch', exit(137)), done('terminate'))).toMatch(/-> striking.writing, do strike$/)
  expect(last(story(...ready, done('watch', exit(0))))).toBe('watch done -> leaving, do terminate')
})

test('an end that nobody saw is blamed on nobody', () => {
  const told = story(...ready, done('watch', exit(null, true)), done('terminate'))
  expect(last(told)).toBe('terminate done -> waiting')
})

const unwritable = [...spawned, done('watch', exit(1)), done('terminate'), failed('strike')]
const recovers = [done('spawn', child), done('probe', { url: null }), elapse(60_000), done('commend')]

test('a strike that cannot be written does not keep the fallback from starting, and is written later with all that follows', () => {
  const later = [elapse(30_000), failed('strike'), elapse(30_000), done('strike', { banned: true }), done('restore')]
  expect(story(...unwritable, ...recovers, ...later)).toMatchInlineSnapshot(`
    "start -> choosing, do choose
    choose done -> spawning, do spawn
    spawn done -> probing, do watch, do probe
    watch done -> clearing, do terminate, tell runtime.startFailed
    terminate done -> striking.writing, do strike
    strike error -> spawning, do spawn, tell runtime.rolledBack
    spawn done -> probing, do watch, do probe
    probe done -> probation, do watch, tell runtime.ready
    after probation -> commending, do commend
    commend done -> healthy.owing, do watch
    after strikeRetryDelay -> healthy.writing, do strike
    strike error -> healthy.owing
    after strikeRetryDelay -> healthy.writing, do strike
    strike done -> healthy.restoring, do restore, tell runtime.banned
    restore done -> healthy.settled"
  `)
})

test('strikes that are owed when a launch is stopped are tried once more, and keep it from nothing', () => {
  const stops = [...unwritable, ...recovers, { type: 'stop' }, done('terminate')]
  expect(
    story(...stops, done('strike', { banned: true }), failed('restore'))
      .split('\n')
      .slice(-4),
  ).toEqual([
    'stop -> stopping, do terminate',
    'terminate done -> ending.writing, do strike',
    'strike done -> ending.restoring, do restore, tell runtime.banned',
    'restore error -> stopped',
  ])
  expect(last(story(...stops, failed('strike')))).toBe('strike error -> stopped')
})

test('every version that failed is struck, each for the process that failed, however often the strike is tried', () => {
  const other = { ...child, key: '9:spawn' }
  const second = [done('spawn', other), done('watch', exit(1)), done('terminate')]
  const owed = () =>
    (play(runtimeLaunch, input, [...unwritable, ...second, failed('strike')]).context as LaunchContext).owed
  expect(owed()).toMatchObject([
    { version: '3.0.0', release: { digest: 'd3' }, key: child.key },
    { version: '2.0.0', release: { digest: 'd2' }, key: other.key },
  ])
  // Oldest first, as soon as one can be written.
  const told = story(...unwritable, ...second, done('strike', { banned: false }), done('strike', { banned: true }))
  expect(told.split('\n').slice(-3)).toEqual([
    'terminate done -> striking.writing, do strike',
    'strike done -> striking.writing, do strike',
    'strike done -> striking.restoring, do restore, tell runtime.banned',
  ])
})

test('what runs instead of the first choice says so, until it crashes and there is a choice again', () => {
  const insteadOf = (...events: RunEvent[]) => (play(runtimeLaunch, input, events).context as LaunchContext).insteadOf
  expect(insteadOf(...ready)).toBeNull()
  const fallen = [...spawned, done('watch', exit(1)), done('terminate'), done('strike', { banned: false })]
  const second = [done('spawn', child), failed('probe', because('version')), done('terminate')]
  expect(insteadOf(...fallen, ...second, done('strike', { banned: false }))).toBe('3.0.0')
  const probation = { type: 'xstate.after.probation.runtime-launch.probation' }
  const pause = { type: 'xstate.after.retryDelay.runtime-launch.pausing' }
  const fallback = [done('spawn', child), done('probe', { url: null }), probation, done('commend')]
  const crashes = [done('watch', exit(9)), done('terminate'), pause]
  expect(insteadOf(...fallen, ...fallback, ...crashes)).toBe('3.0.0')
  expect(insteadOf(...fallen, ...fallback, ...crashes, done('choose', chosen([previous])))).toBeNull()
})

test('a crash after it was healthy starts the best version there is now', () => {
  expect(story(...healthy, done('watch', exit(9)), done('terminate'), elapse(1_000))).toMatch(
    /after retryDelay -> choosing, do choose$/,
  )
})

test('a store or a callback that fails leaves the bundled version', () => {
  expect(story(failed('choose'), done('chooseBundled', [bundled]))).toMatchInlineSnapshot(`
    "start -> choosing, do choose
    choose error -> choosingBundled, do chooseBundled, tell runtime.notChosen
    chooseBundled done -> spawning, do spawn"
  `)
  expect(last(story(failed('choose'), failed('chooseBundled')))).toBe(
    'chooseBundled error -> failed, tell runtime.failed',
  )
})

test('a stop while the process is being started waits until it is known what to stop', () => {
  const choice = done('choose', chosen([current]))
  expect(story(choice, { type: 'stop' }, done('spawn', child), done('terminate'))).toMatchInlineSnapshot(`
    "start -> choosing, do choose
    choose done -> spawning, do spawn
    stop -> spawning
    spawn done -> stopping, do terminate
    terminate done -> stopped"
  `)
  expect(last(story(choice, { type: 'stop' }, failed('spawn')))).toBe('spawn error -> stopped')
})

test('a stop while a failed start is cleared ends the launch instead of falling back', () => {
  expect(last(story(...spawned, done('watch', exit(1)), { type: 'stop' }, done('terminate')))).toBe(
    'terminate done -> stopped',
  )
})

test('a process that cannot be ended waits for a person, who may try again', () => {
  const told = story(...healthy, { type: 'stop' }, failed('terminate'), { type: 'stop' }, done('terminate'))
  expect(told.split('\n').slice(-3)).toEqual([
    'terminate error -> unstoppable',
    'stop -> stopping, do terminate',
    'terminate done -> stopped',
  ])
})

test('a release that is no longer whole is passed over at once, and nobody is struck', () => {
  const told = story(done('choose', chosen([current, bundled])), failed('spawn', because('refused')))
  expect(last(told)).toBe('spawn error -> spawning, do spawn, tell runtime.startFailed, tell runtime.rolledBack')
})

test('a pointer that had to be repaired is reported', () => {
  const repaired = done('choose', { arms: [bundled], repaired: 'the pointer is not JSON' })
  expect(last(story(repaired))).toBe('choose done -> spawning, do spawn, tell runtime.pointerRepaired')
})
