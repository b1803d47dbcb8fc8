import { expect, test } from 'vitest'
import { appUpgrade, type UpgradeResult } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const from = { version: '1.0.0', digest: 'd1', exclusive: false }
const release = { version: '2.0.0', digest: 'd2', exclusive: false }
const before = { version: '1.0.0', digest: 'd1' }
const offer = {
  name: 'notes',
  version: '2.0.0',
  integrity: 'sha512-x',
  source: {
    kind: 'registry',
    tarball: 'https://registry.test/t.tgz',
    registry: 'https://registry.test/',
    signatures: [],
  },
}
const input = { app: 'notes', wanted: 'latest', policy: { parallel: 2, rollbackWhenFailed: 0.5 } }
const behind = (...workspaces: string[]) => workspaces.map((workspace) => ({ workspace, from }))
const became = (outcome: string, ...workspaces: string[]) =>
  workspaces.map((workspace) => ({ workspace, from, outcome, failure: null }))
const because = (fault: string) => ({ name: 'Error', message: 'it broke', details: { fault } })

const sealed = [
  done('resolve', offer),
  done('look', { before, release: null }),
  done('fetch', { draft: 'k', integrity: 'sha512-x' }),
  done('gate'),
  done('seal', release),
]
const proven = [done('resolve', offer), done('look', { before, release })]
const settled = [done('raise'), done('plan', []), done('prune')]

type Events = Parameters<typeof transcript>[2]
const story = (...events: Events) => transcript(appUpgrade, input, events)
const output = (...events: Events) => play(appUpgrade, input, events).output as UpgradeResult
const last = (...events: Events) =>
  story(...events)
    .split('\n')
    .at(-1)

test('follows every rule of the interpreter', () => {
  expect(lintMachine(appUpgrade)).toEqual([])
})

test('fetched and judged once, carried in a few at a time, raised, and looked at again', () => {
  const rolled = [
    done('plan', behind('a', 'b', 'c')),
    done('roll', became('upgraded', 'a', 'b')),
    done('roll', became('upgraded', 'c')),
  ]
  expect(story(...sealed, ...rolled, ...settled)).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve done -> looking, do look
    look done -> fetching, do fetch
    fetch done -> gating, do gate
    gate done -> sealing, do seal
    seal done -> planning, do plan
    plan done -> rolling, do roll
    roll done -> rolling, do roll
    roll done -> raising, do raise
    raise done -> planning, do plan, tell app.raised
    plan done -> pruning, do prune
    prune done -> settled"
  `)
  expect(output(...sealed, ...rolled, ...settled)).toMatchObject({ outcome: 'upgraded', from: '1.0.0', to: '2.0.0' })
})

test('what was proven before is not fetched again; who was added on the way is carried along', () => {
  const late = [
    done('plan', behind('a')),
    done('roll', became('upgraded', 'a')),
    done('raise'),
    done('plan', behind('late')),
    done('roll', became('upgraded', 'late')),
  ]
  expect(story(...proven, ...late, done('prune'))).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve done -> looking, do look
    look done -> planning, do plan
    plan done -> rolling, do roll
    roll done -> raising, do raise
    raise done -> planning, do plan, tell app.raised
    plan done -> rolling, do roll
    roll done -> pruning, do prune
    prune done -> settled"
  `)
})

test('nothing to do is `current`', () => {
  const same = { version: '2.0.0', digest: 'd2' }
  expect(output(done('resolve', offer), done('look', { before: same, release }), done('plan', [])).outcome).toBe(
    'current',
  )
})

test('one that keeps its version makes it `partly`', () => {
  const rolled = [done('plan', behind('a', 'b')), done('roll', [...became('upgraded', 'a'), ...became('kept', 'b')])]
  expect(output(...proven, ...rolled, ...settled).outcome).toBe('partly')
})

test('too many that fail take all back, before the rest is tried', () => {
  const rolled = [done('plan', behind('a', 'b', 'c')), done('roll', became('kept', 'a', 'b'))]
  expect(story(...proven, ...rolled, done('goBack', became('kept', 'a', 'b')))).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve done -> looking, do look
    look done -> planning, do plan
    plan done -> rolling, do roll
    roll done -> goingBack, do goBack
    goBack done -> returned, tell app.returned"
  `)
})

test('a cancellation while rolling waits for those under way, and takes them back', () => {
  const rolled = [done('plan', behind('a', 'b', 'c')), { type: 'cancel' }, done('roll', became('upgraded', 'a', 'b'))]
  expect(story(...proven, ...rolled, done('goBack', became('kept', 'a', 'b')))).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve done -> looking, do look
    look done -> planning, do plan
    plan done -> rolling, do roll
    cancel -> rolling
    roll done -> goingBack, do goBack
    goBack done -> returned, tell app.returned"
  `)
  expect(last(done('resolve', offer), { type: 'cancel' })).toBe('cancel -> cancelled')
})

test('a way back that fails names both', () => {
  const rolled = [done('plan', behind('a')), done('roll', became('upgraded', 'a')), failed('raise', 'no room')]
  expect(output(...proven, ...rolled, failed('goBack', 'no way'))).toMatchObject({
    outcome: 'blocked',
    failure: { message: 'no room' },
    returnFailure: { message: 'no way' },
  })
})

test('a bad offer is rejected, a bad day is not its fault', () => {
  const gating = sealed.slice(0, 3)
  expect(last(...gating, failed('gate', because('refused')), done('discard'))).toBe('discard done -> rejected')
  expect(last(...gating, failed('gate', because('environment')), done('discard'))).toBe('discard done -> failed')
})

test('a rollback looks back instead of asking anybody', () => {
  const back = transcript(appUpgrade, { ...input, wanted: null }, [
    done('lookBack', { before: { version: '2.0.0', digest: 'd2' }, release: from }),
    done('plan', [{ workspace: 'a', from: release }]),
    done('roll', [{ workspace: 'a', from: release, outcome: 'upgraded', failure: null }]),
    ...settled,
  ])
  expect(back).toMatchInlineSnapshot(`
    "start -> lookingBack, do lookBack
    lookBack done -> planning, do plan
    plan done -> rolling, do roll
    roll done -> raising, do raise
    raise done -> planning, do plan, tell app.raised
    plan done -> pruning, do prune
    prune done -> settled"
  `)
})
