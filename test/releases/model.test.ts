import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { gt } from 'semver'
import { expect, test } from 'vitest'
import type { Release } from '../../src/releases/seal.ts'
import { ReleaseStore } from '../../src/releases/store.ts'
import { newHome, publish } from './home.ts'

const versions = ['1.0.0', '1.1.0', '2.0.0-rc.1', '2.0.0'] as const
type Version = (typeof versions)[number]

/** The store as somebody would explain it at a whiteboard: versions only, no disk. */
interface Model {
  onDisk: Set<Version>
  current: Version | null
  previous: Version | null
  good: Version | null
  committed: Version | null
  banned: Set<Version>
  strikes: Map<Version, number>
}

const version = fc.constantFrom(...versions)
const operation = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('publish' as const), version }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('activate' as const), version, allowOlder: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('restore' as const), version }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('markGood' as const), version }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('strike' as const), version }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unban' as const), version }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('prune' as const), keep: fc.integer({ min: 0, max: 2 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), version }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('lose' as const), version }) },
  { weight: 1, arbitrary: fc.constant({ do: 'clear' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'sweep' as const }) },
)
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never

function fallBack(model: Model, failed: Version | null): void {
  if (model.good === failed) model.good = null
  const usable = (candidate: Version | null) =>
    candidate !== null && candidate !== failed && model.onDisk.has(candidate) && !model.banned.has(candidate)
  model.current = [model.good, model.previous].find(usable) ?? null
  model.previous = null
}

/** What a pointer that names lost releases is repaired to. */
function settle(model: Model): void {
  const there = (named: Version | null) => (named !== null && model.onDisk.has(named) ? named : null)
  const lost = model.current !== null && there(model.current) === null
  model.good = there(model.good)
  model.previous = there(model.previous)
  if (lost) fallBack(model, null)
}

const named = ({ current, previous, good }: Model) => new Set([current, previous, good].filter((each) => each !== null))

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error) => error.code,
  )

async function carryOut(
  store: ReleaseStore,
  model: Model,
  releases: Map<Version, Release>,
  operation: Operation,
  step: number,
): Promise<void> {
  if (operation.do === 'sweep') {
    await store.sweep()
    return
  }
  if (operation.do === 'clear') {
    await store.clear('kanban')
    Object.assign(model, { current: null, previous: null, good: null })
    return
  }
  if (operation.do === 'prune') {
    settle(model)
    const old = [...model.onDisk].filter((each) => each !== model.current)
    const spare = old.filter((each) => !named(model).has(each)).sort((a, b) => (gt(a, b) ? -1 : 1))
    const removed = spare.slice(Math.max(0, operation.keep - (old.length - spare.length)))
    expect((await store.prune('kanban', { keep: operation.keep })).map((ref) => ref.version)).toEqual(removed)
    for (const each of removed) model.onDisk.delete(each)
    return
  }
  const { version } = operation
  if (operation.do === 'publish') {
    releases.set(version, await publish(store, 'kanban', version))
    // Sealing settles the state first only where it has something to write, which does not show from outside.
    model.onDisk.add(version)
    return
  }
  const release = releases.get(version)
  if (operation.do === 'strike') {
    settle(model)
    const count = (model.strikes.get(version) ?? 0) + 1
    model.strikes.set(version, count)
    if (count >= 2) model.banned.add(version)
    const answer = await store.strike('kanban', version, { reason: 'x', limit: 2, key: `${step}` })
    expect(answer).toEqual({ strikes: count, banned: model.banned.has(version) })
    return
  }
  if (operation.do === 'unban') {
    settle(model)
    await store.unban('kanban', version)
    model.banned.delete(version)
    model.strikes.delete(version)
    return
  }
  if (release === undefined) return
  if (operation.do === 'lose') {
    await rm(join(release.path, 'release.json'), { force: true })
    model.onDisk.delete(version)
    return
  }
  if (operation.do === 'activate') {
    const code = await codeOf(store.activate('kanban', release, { allowOlder: operation.allowOlder }))
    if (!model.onDisk.has(version)) {
      expect(code).toBe('RELEASE_INCOMPLETE')
      return
    }
    if (code === null || model.current !== version) settle(model)
    if (model.current === version) expect(code).toBeNull()
    else if (model.banned.has(version)) expect(code).toBe('RELEASE_BANNED')
    else if (model.committed !== null && gt(model.committed, version) && !operation.allowOlder)
      expect(code).toBe('VERSION_BELOW_COMMITTED')
    else {
      expect(code).toBeNull()
      model.previous = model.current
      model.current = version
      if (operation.allowOlder || model.committed === null || gt(version, model.committed)) model.committed = version
    }
    return
  }
  settle(model)
  if (operation.do === 'restore') {
    await store.restore('kanban', { failed: release })
    if (model.current === version) fallBack(model, version)
  } else if (operation.do === 'markGood') {
    const code = await codeOf(store.markGood('kanban', release))
    expect(code).toBe(model.onDisk.has(version) ? null : 'RELEASE_INCOMPLETE')
    if (code !== null) return
    model.good = version
    model.strikes.delete(version)
  } else {
    expect(await store.remove('kanban', release)).toBe(!named(model).has(version))
    if (!named(model).has(version)) model.onDisk.delete(version)
  }
}

// Seen caught: going back from what is not current, and pruning what is known to be good (both `store.ts`).
test('whatever is done in whatever order, the pointer names what the model says, and that is whole', async () => {
  const root = await newHome()
  let run = 0
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 8, maxLength: 30, size: 'max' }), async (operations) => {
      run += 1
      const home = join(root, `${run}`)
      await using store = await ReleaseStore.open({ home, kind: 'runtime' })
      const releases = new Map<Version, Release>()
      const model: Model = {
        onDisk: new Set(),
        current: null,
        previous: null,
        good: null,
        committed: null,
        banned: new Set(),
        strikes: new Map(),
      }
      for (const [step, each] of operations.entries()) {
        await carryOut(store, model, releases, each, step)
        settle(model)
        const { current, previous, knownGood } = await store.pointer('kanban')
        expect([current, previous, knownGood].map((ref) => ref?.version ?? null)).toEqual([
          model.current,
          model.previous,
          model.good,
        ])
        for (const ref of [current, previous, knownGood])
          if (ref !== null)
            expect(await store.verify({ name: 'kanban', ...ref }, { full: true })).toMatchObject({ whole: true })
        const { committed, bans } = await store.state('kanban')
        expect(committed).toBe(model.committed)
        expect(new Set(Object.keys(bans))).toEqual(model.banned)
        expect(new Set((await store.list('kanban')).map((release) => release.version))).toEqual(model.onDisk)
      }
    }),
    { numRuns: 100 },
  )
})
