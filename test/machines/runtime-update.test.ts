import { describe, expect, test } from 'vitest'
import type { Evidence, Fault } from '../../machines/index.ts'
import { runtimeUpdate } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'

const input = {
  runtime: 'kanban',
  policy: { engines: 'enforce', minimumReleaseAgeMs: 60_000, allowOlder: false },
} as const
const offer = {
  name: 'kanban',
  version: '2.0.0',
  integrity: 'sha512-x',
  tarball: 'https://registry.test/kanban-2.0.0.tgz',
  registry: 'https://registry.test/',
  engines: {},
  signatures: [],
}
const release = { version: '2.0.0', digest: 'd2' }
const passes: Evidence = {
  notAboveBundled: false,
  belowCommitted: false,
  banned: null,
  engines: { met: true, wanted: '>=20', node: '20.20.0' },
  ageMs: 60_000,
  stagedAndWhole: false,
  inUse: '1.0.0',
}
const offered = (evidence: Partial<Evidence> = {}) => [
  done('resolve', offer),
  done('examine', { ...passes, ...evidence }),
]
const fetched = [...offered(), done('fetch', { draft: 'k' })]
const sealed = [...fetched, done('verify'), done('seal', release)]
const because = (fault: Fault | undefined) => ({ name: 'Error', message: 'it broke', details: { fault } })
const story = (...events: Parameters<typeof transcript>[2]) => transcript(runtimeUpdate, input, events)

test('follows every rule of the interpreter', () => {
  expect(lintMachine(runtimeUpdate)).toEqual([])
})

test('a newer version is fetched, verified, sealed, tried and pointed at', () => {
  expect(story(...sealed, done('qualify', { readyMs: 9 }), done('activate'), done('prune'))).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve done -> examining, do examine
    examine done -> fetching, do fetch
    fetch done -> verifying, do verify
    verify done -> sealing, do seal
    seal done -> qualifying, do qualify
    qualify done -> activating, do activate
    activate done -> pruning, do prune
    prune done -> staged, tell runtime.staged"
  `)
})

describe('the first gate that holds decides', () => {
  const everyGate = {
    notAboveBundled: true,
    banned: 'it fell over',
    engines: { met: false, wanted: '>=99', node: '20.20.0' },
    ageMs: 59_999,
    stagedAndWhole: true,
  }
  test.each([
    ['upToDate', {}],
    ['badVersion', { notAboveBundled: false }],
    ['enginesIncompatible', { notAboveBundled: false, banned: null }],
    ['tooYoung', { notAboveBundled: false, banned: null, engines: passes.engines }],
    ['alreadyStaged', { notAboveBundled: false, banned: null, engines: passes.engines, ageMs: 60_000 }],
  ])('%s', (end, evidence) => {
    expect(
      story(...offered({ ...everyGate, ...evidence }))
        .split('\n')
        .at(-1),
    ).toBe(`examine done -> ${end}`)
  })

  test('an offer below what was committed is not an update, unless a person asks for it', () => {
    const below = offered({ belowCommitted: true })
    expect(story(...below)).toContain('-> upToDate')
    const asked = { ...input, policy: { ...input.policy, allowOlder: true } }
    expect(transcript(runtimeUpdate, asked, below)).toContain('-> fetching')
  })

  test('engines that are not met only warn where the policy says so', () => {
    const lenient = { runtime: 'kanban', policy: { ...input.policy, engines: 'warn', minimumReleaseAgeMs: 0 } } as const
    expect(transcript(runtimeUpdate, lenient, offered({ engines: everyGate.engines }))).toContain('-> fetching')
  })
})

test('a version that fails its trial is struck, banned and discarded', () => {
  const events = [...sealed, failed('qualify', because('version')), done('strike', { banned: true }), done('discard')]
  expect(story(...events)).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve done -> examining, do examine
    examine done -> fetching, do fetch
    fetch done -> verifying, do verify
    verify done -> sealing, do seal
    seal done -> qualifying, do qualify
    qualify error -> striking, do strike
    strike done -> discarding, do discard, tell runtime.banned
    discard done -> rejected, tell runtime.rejected"
  `)
})

test('an offer that is refused is discarded and not struck', () => {
  expect(story(...fetched, failed('verify', because('refused')), done('discard'))).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve done -> examining, do examine
    examine done -> fetching, do fetch
    fetch done -> verifying, do verify
    verify error -> discarding, do discard
    discard done -> rejected, tell runtime.rejected"
  `)
})

test('a registry that gives no integrity is rejected before there is a version', () => {
  expect(story(failed('resolve', because('refused')), done('discard'))).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve error -> discarding, do discard
    discard done -> rejected, tell runtime.rejected"
  `)
})

test('a failure of the world strikes nobody, wherever it happens', () => {
  for (const [events, effect] of [
    [[], 'resolve'],
    [[done('resolve', offer)], 'examine'],
    [offered(), 'fetch'],
    [fetched, 'verify'],
    [[...fetched, done('verify')], 'seal'],
    [sealed, 'qualify'],
  ] as const) {
    const told = story(...events, failed(effect, because('environment')), done('discard'))
    expect(told.split('\n').at(-1)).toBe('discard done -> checkFailed')
    expect(told).not.toContain('strike')
  }
})

test('an activation that failed is believed only as far as the pointer says', () => {
  const tried = [...sealed, done('qualify', { readyMs: 9 }), failed('activate')]
  expect(story(...tried, done('readPointer', { current: release }), done('prune'))).toContain('-> staged')
  expect(story(...tried, done('readPointer', { current: null }), done('discard'))).toContain('-> checkFailed')
  expect(story(...tried, failed('readPointer'))).toMatch(/-> checkFailed$/)
})

test('what cannot be struck or thrown away is still rejected', () => {
  const events = [...sealed, failed('qualify', because('version')), failed('strike'), failed('discard')]
  expect(
    story(...events)
      .split('\n')
      .at(-1),
  ).toBe('discard error -> rejected, tell runtime.rejected')
})

test('a cancelled update leaves nothing, and can no longer be cancelled once it activates', () => {
  expect(story(...fetched, { type: 'cancel' }, done('discard'))).toMatchInlineSnapshot(`
    "start -> resolving, do resolve
    resolve done -> examining, do examine
    examine done -> fetching, do fetch
    fetch done -> verifying, do verify
    cancel -> discarding, do discard
    discard done -> cancelled"
  `)
  const activating = [...sealed, done('qualify', { readyMs: 9 }), { type: 'cancel' }]
  expect(story(...activating)).toMatch(/cancel -> activating$/)
})
