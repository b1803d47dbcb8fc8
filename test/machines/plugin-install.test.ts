import { describe, expect, test } from 'vitest'
import { pluginInstall } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'
import { play } from '../support/play.ts'

const input = { plugin: 'tint', target: 'web', wanted: '^2' }
const offer = {
  name: 'tint',
  version: '2.0.0',
  integrity: 'sha512-x',
  source: {
    kind: 'registry',
    tarball: 'https://registry.test/t.tgz',
    registry: 'https://registry.test/',
    signatures: [],
  },
}
const release = { version: '2.0.0', digest: 'd2' }
const older = { folder: '1.0.0-d1', version: '1.0.0', digest: 'd1' }
const staged = { folder: '2.0.0-d2', version: '2.0.0', digest: 'd2' }
const found = { live: older, isWhole: false, previous: '0.9.0-d0' }

const sealed = [
  done('resolve', offer),
  done('look', { before: found, release: null }),
  done('fetch', { draft: 'k', integrity: 'sha512-x' }),
  done('verify'),
  done('seal', release),
]
const swapped = [...sealed, done('stage', staged), done('snapshot'), done('swap')]
const because = (fault: string) => ({ name: 'Error', message: 'it broke', details: { fault } })
const story = (...events: Parameters<typeof transcript>[2]) => transcript(pluginInstall, input, events)
const output = (...events: Parameters<typeof transcript>[2]) => play(pluginInstall, input, events).output
const last = (told: string) => told.split('\n').at(-1)

test('follows every rule of the interpreter', () => {
  expect(lintMachine(pluginInstall)).toEqual([])
})

test('a version is resolved, fetched, sealed, staged, swapped in, read back', () => {
  expect(story(...swapped, done('readBack', { change: 'reload', spare: [] }), done('prune'))).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve done -> looking, do look
    look done -> fetching, do fetch
    fetch done -> verifying, do verify
    verify done -> sealing, do seal
    seal done -> staging, do stage
    stage done -> snapshotting, do snapshot
    snapshot done -> swapping, do swap
    swap done -> marking, do readBack
    readBack done -> pruning, do prune
    prune done -> installed, tell plugin.installed"
  `)
  expect(output(...swapped, done('readBack', { change: 'reload', spare: [] }), done('prune'))).toEqual({
    plugin: 'tint',
    target: 'web',
    outcome: 'installed',
    version: '2.0.0',
    from: '1.0.0',
    change: 'reload',
    failure: null,
    rollBackFailure: null,
  })
})

test('what is live already, byte for byte, is not put there again', () => {
  const same = { live: { folder: '2.0.0-d2', version: '2.0.0', digest: 'd2' }, isWhole: true, previous: null }
  const events = sealed.with(1, done('look', { before: same, release: null }))
  expect(last(story(...events))).toBe('seal done -> current')
  const damaged = { ...same, isWhole: false }
  expect(last(story(...sealed.with(1, done('look', { before: damaged, release: null }))))).toBe(
    'seal done -> staging, do stage',
  )
})

test('what was proven before is not fetched again', () => {
  const proven = [done('resolve', offer), done('look', { before: found, release })]
  expect(last(story(...proven))).toBe('look done -> staging, do stage')
  const stale = failed('stage', { name: 'InstarError', message: 'altered', code: 'RELEASE_DAMAGED' })
  expect(last(story(...proven, stale))).toBe('stage error -> fetching, do fetch')
  expect(last(story(...sealed, stale))).toBe('stage error -> discarding, do discard')
  const current = { ...found, live: staged, isWhole: true }
  expect(last(story(proven[0]!, done('look', { before: current, release })))).toBe('look done -> current')
})

describe('a failure', () => {
  test.each([
    ['resolve', []],
    ['look', sealed.slice(0, 1)],
    ['fetch', sealed.slice(0, 2)],
    ['verify', sealed.slice(0, 3)],
    ['seal', sealed.slice(0, 4)],
    ['stage', sealed],
  ])('of %s is the world’s or the source’s, and nothing has been touched', (effect, before) => {
    expect(last(story(...before, failed(effect), done('discard')))).toBe('discard done -> failed')
    expect(output(...before, failed(effect, because('version')), done('discard'))).toMatchObject({
      outcome: 'rejected',
    })
  })

  test.each([
    ['snapshot', swapped.slice(0, 6)],
    ['swap', swapped.slice(0, 7)],
    ['readBack', swapped],
  ])('of %s puts back what was live', (effect, before) => {
    const told = story(...before, failed(effect, 'it broke'), done('goBack'), done('discard'))
    expect(told.split('\n').slice(-3).join('; ')).toContain(
      'goBack done -> discarding, do discard; discard done -> rolledBack, tell plugin.rolledBack',
    )
    expect(output(...before, failed(effect, 'it broke'), done('goBack'), done('discard'))).toMatchObject({
      outcome: 'rolled-back',
      failure: { message: 'it broke' },
    })
  })

  test('to find its own tree, when somebody else was faster, leaves theirs alone', () => {
    const overtaken = failed('readBack', { name: 'InstarError', message: 'theirs', code: 'PLUGIN_OVERTAKEN' })
    expect(last(story(...swapped, overtaken, done('discard')))).toBe('discard done -> failed')
  })

  test('of going back names both', () => {
    expect(output(...swapped, failed('readBack', 'lost'), failed('goBack', 'read-only'))).toMatchObject({
      outcome: 'blocked',
      failure: { message: 'lost' },
      rollBackFailure: { message: 'read-only' },
    })
  })

  test('of pruning is none', () => {
    expect(last(story(...swapped, done('readBack', { change: 'reload', spare: [] }), failed('prune')))).toContain(
      '-> installed',
    )
  })
})

test.each([
  ['resolving', []],
  ['looking', sealed.slice(0, 1)],
])('cancelled while %s it ends there', (_, before) => {
  expect(last(story(...before, { type: 'cancel' }))).toBe('cancel -> cancelled')
})

test.each([
  ['fetching', sealed.slice(0, 2)],
  ['verifying', sealed.slice(0, 3)],
  ['sealing', sealed.slice(0, 4)],
  ['staging', sealed],
])('cancelled while %s it removes what it has begun', (_, before) => {
  expect(last(story(...before, { type: 'cancel' }, done('discard')))).toBe('discard done -> cancelled')
})

test('once it is being swapped it takes no cancel', () => {
  expect(last(story(...sealed, done('stage', staged), { type: 'cancel' }))).not.toContain('cancelled')
})

describe('going back', () => {
  const back = { ...input, wanted: null }
  const events = [done('lookBack', { before: { live: staged, previous: older.folder }, staged: older })]

  test('swaps in the tree that was live before', () => {
    const all = [...events, done('snapshot'), done('swap'), done('readBack', { change: 'reload', spare: [] })]
    expect(transcript(pluginInstall, back, all)).toMatchInlineSnapshot(`
      "start -> lookingBack, do lookBack
      lookBack done -> snapshotting, do snapshot
      snapshot done -> swapping, do swap
      swap done -> marking, do readBack
      readBack done -> installed, tell plugin.installed"
    `)
    expect(play(pluginInstall, back, all).output).toMatchObject({
      outcome: 'installed',
      version: '1.0.0',
      from: '2.0.0',
    })
  })

  test('ends where there is none', () => {
    expect(transcript(pluginInstall, back, [failed('lookBack')])).toContain('-> failed')
  })
})
