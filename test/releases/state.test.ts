import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Disk, realDisk } from '../../src/disk.ts'
import type { Problem } from '../../src/releases/pointer.ts'
import { namesIn, newHome, openStore, publish, statePath } from './home.ts'

const failing = (code: string): Disk => ({
  ...realDisk,
  write: async () => Promise.reject(Object.assign(new Error(code), { code, syscall: 'open' })),
})

test('strikes add up to a ban, and the same key strikes once', async () => {
  const store = await openStore(await newHome())
  const strike = (key: string) => store.strike('kanban', '1.0.0', { reason: `it exited (${key})`, limit: 2, key })
  expect(await strike('a')).toEqual({ strikes: 1, banned: false })
  expect(await strike('a')).toEqual({ strikes: 1, banned: false })
  expect(await store.bans('kanban')).toEqual({})
  expect(await strike('b')).toEqual({ strikes: 2, banned: true })
  expect(await strike('b')).toEqual({ strikes: 2, banned: true })
  expect(await store.bans('kanban')).toEqual({ '1.0.0': { reason: 'it exited (b)', at: expect.any(String) } })
})

test('one version’s strikes are not another’s', async () => {
  const store = await openStore(await newHome())
  await store.strike('kanban', '1.0.0', { reason: 'a', limit: 2, key: 'a' })
  expect(await store.strike('kanban', '1.0.1', { reason: 'b', limit: 2, key: 'b' })).toEqual({
    strikes: 1,
    banned: false,
  })
})

test('surviving probation forgives strikes, and so does being unbanned', async () => {
  const store = await openStore(await newHome())
  const release = await publish(store, 'kanban', '1.0.0')
  const strike = (key: string) => store.strike('kanban', release, { reason: 'it exited', limit: 2, key })
  await strike('a')
  await store.markGood('kanban', release)
  expect(await strike('b')).toEqual({ strikes: 1, banned: false })
  expect(await strike('c')).toEqual({ strikes: 2, banned: true })
  await store.unban('kanban', '1.0.0')
  expect(await store.bans('kanban')).toEqual({})
  expect(await strike('d')).toEqual({ strikes: 1, banned: false })
})

test('a ban keeps its first reason and date', async () => {
  let now = 0
  const store = await openStore(await newHome(), { now: () => now })
  await store.ban('kanban', '1.0.0', 'first')
  now = 1_000
  await store.ban('kanban', '1.0.0', 'second')
  expect(await store.bans('kanban')).toEqual({ '1.0.0': { reason: 'first', at: new Date(0).toISOString() } })
})

test('only exact versions are banned, unbanned, struck or noted', async () => {
  const store = await openStore(await newHome())
  const strike = { reason: 'x', limit: 1, key: 'x' }
  for (const version of ['v1.0.0', '^1', '__proto__', '1.0.0 ', 'latest'])
    for (const attempt of [
      store.ban('kanban', version, 'x'),
      store.unban('kanban', version),
      store.strike('kanban', version, strike),
      store.seen('kanban', version, 'sha512-x'),
    ])
      await expect(attempt).rejects.toMatchObject({ code: 'VERSION_INVALID' })
})

test('when a version was first seen is written once, and another integrity later is reported', async () => {
  let now = Date.UTC(2030, 0, 1)
  const problems: [string, Problem][] = []
  const store = await openStore(await newHome(), { now: () => now, report: (...problem) => problems.push(problem) })
  const first = { firstSeen: '2030-01-01T00:00:00.000Z', integrity: 'sha512-a' }
  expect(await store.seen('kanban', '1.0.0', 'sha512-a')).toEqual({ ...first, changed: false })
  now += 86_400_000
  expect(await store.seen('kanban', '1.0.0', 'sha512-a')).toEqual({ ...first, changed: false })
  expect(problems).toEqual([])
  expect(await store.seen('kanban', '1.0.0', 'sha512-b')).toEqual({ ...first, changed: true })
  expect(problems).toEqual([['kanban', { code: 'INTEGRITY_CHANGED', reason: expect.stringContaining('sha512-b') }]])
})

test('a release tells when its version was first seen, which was before it was fetched', async () => {
  let now = Date.UTC(2030, 0, 1)
  const store = await openStore(await newHome(), { now: () => now })
  await store.seen('kanban', '1.0.0', 'sha512-a')
  now += 86_400_000
  expect(await publish(store, 'kanban', '1.0.0')).toMatchObject({
    firstSeen: '2030-01-01T00:00:00.000Z',
    sealedAt: '2030-01-02T00:00:00.000Z',
  })
})

test('what a check remembers is there for the next one, in another process too', async () => {
  const home = await newHome()
  const remembered = { etag: 'W/"x"', resolved: { version: '1.0.0' } }
  await (await openStore(home)).remember('kanban', remembered)
  expect((await (await openStore(home)).state('kanban')).remembered).toEqual(remembered)
})

test('one section that cannot be read costs only that section, and the text is kept', async () => {
  const home = await newHome()
  const store = await openStore(home)
  const release = await publish(store, 'kanban', '1.0.0')
  await store.activate('kanban', release)
  await store.ban('kanban', '0.9.0', 'bad')
  const damaged = JSON.stringify({
    ...JSON.parse(await readFile(statePath(home, 'kanban'), 'utf8')),
    strikes: 7,
    constructor: 1,
  })
  await writeFile(statePath(home, 'kanban'), damaged)
  await store.strike('kanban', '0.8.0', { reason: 'x', limit: 1, key: 'x' })
  const state = await store.state('kanban')
  expect(state).toMatchObject({
    pointer: { current: { version: '1.0.0' } },
    committed: '1.0.0',
    strikes: { '0.8.0': { keys: ['x'] } },
    problems: [{ code: 'STATE_DAMAGED', reason: expect.stringContaining('strikes, constructor') }],
  })
  expect(Object.keys(state.bans).sort()).toEqual(['0.8.0', '0.9.0'])
  const [aside, ...more] = (await namesIn(join(home, 'state/runtime'))).filter((name) => name.includes('.damaged-'))
  expect(more).toEqual([])
  expect(await readFile(join(home, 'state/runtime', aside!), 'utf8')).toBe(damaged)
})

test('a state written by a newer version is named as such and never touched', async () => {
  const home = await newHome()
  const store = await openStore(home)
  const release = await publish(store, 'kanban', '1.0.0')
  const newer = JSON.stringify({ schema: 2, future: true })
  await writeFile(statePath(home, 'kanban'), newer)
  for (const attempt of [
    () => store.activate('kanban', release),
    () => store.ban('kanban', '1.0.0', 'x'),
    () => store.prune('kanban', { keep: 0 }),
    () => store.state('kanban'),
  ])
    await expect(attempt()).rejects.toMatchObject({ code: 'HOME_NEWER' })
  expect(await store.pointer('kanban')).toMatchObject({ current: null, problem: { code: 'HOME_NEWER' } })
  expect(await readFile(statePath(home, 'kanban'), 'utf8')).toBe(newer)
  expect(await store.list('kanban')).toEqual([release])
})

test.each([
  ['ENOSPC', 'DISK_FULL'],
  ['EROFS', 'DISK_FAILED'],
  ['EACCES', 'STATE_UNWRITABLE'],
])('scenario runtime 6: a ban that cannot be written for %s is %s, and all is as before', async (refusal, code) => {
  const home = await newHome()
  const store = await openStore(home)
  const good = await publish(store, 'kanban', '1.0.0')
  await store.activate('kanban', good)
  const before = await readFile(statePath(home, 'kanban'), 'utf8')
  const unwritable = await openStore(home, { disk: failing(refusal) })
  const strike = { reason: 'x', limit: 1, key: 'x' }
  await expect(unwritable.ban('kanban', '1.0.0', 'x')).rejects.toMatchObject({ code })
  await expect(unwritable.strike('kanban', '1.0.0', strike)).rejects.toMatchObject({ code })
  await expect(unwritable.restore('kanban', { failed: good })).rejects.toMatchObject({ code })
  expect(await readFile(statePath(home, 'kanban'), 'utf8')).toBe(before)
  expect((await unwritable.pointer('kanban')).current).toMatchObject({ version: '1.0.0' })
  expect(await store.strike('kanban', '1.0.0', strike)).toEqual({ strikes: 1, banned: true })
  expect(await namesIn(join(home, 'state/runtime'))).toEqual(['kanban.guard', 'kanban.json'])
})

test('scenario runtime 6: a pointer that cannot be repaired is still not believed, and is repaired later', async () => {
  const home = await newHome()
  const store = await openStore(home)
  const good = await publish(store, 'kanban', '1.0.0')
  await store.activate('kanban', good)
  await store.markGood('kanban', good)
  const state = JSON.parse(await readFile(statePath(home, 'kanban'), 'utf8'))
  await writeFile(
    statePath(home, 'kanban'),
    JSON.stringify({ ...state, pointer: { ...state.pointer, current: '/tmp' } }),
  )
  const unwritable = await openStore(home, { disk: failing('EROFS') })
  for (let time = 0; time < 2; time += 1)
    expect(await unwritable.pointer('kanban')).toMatchObject({ current: null, problem: { code: 'POINTER_INVALID' } })
  expect((await store.pointer('kanban')).current).toMatchObject({ version: '1.0.0' })
})

test('a state directory that cannot be made is a typed error too', async () => {
  const home = await newHome()
  await writeFile(join(home, 'state'), 'a file in the way')
  const store = await openStore(home)
  await expect(store.ban('kanban', '1.0.0', 'x')).rejects.toMatchObject({ code: 'STATE_UNWRITABLE' })
  expect((await store.pointer('kanban')).current).toBeNull()
})

test('a problem that is found again and again fills one place', async () => {
  const store = await openStore(await newHome())
  await store.seen('kanban', '1.0.0', 'sha512-a')
  for (let time = 0; time < 5; time += 1) await store.seen('kanban', '1.0.0', 'sha512-b')
  expect((await store.state('kanban')).problems).toHaveLength(1)
  for (let other = 0; other < 30; other += 1) await store.seen('kanban', '1.0.0', `sha512-${other}`)
  const { problems } = await store.state('kanban')
  expect(problems).toHaveLength(20)
  expect(new Set(problems.map(({ reason }) => reason)).size).toBe(20)
})

test('asking for the state of a name that nobody knows writes nothing', async () => {
  const home = await newHome()
  const store = await openStore(home)
  expect(await store.state('nobody')).toMatchObject({ committed: null, bans: {}, problems: [] })
  expect(await store.list('nobody')).toEqual([])
  expect(await store.sweep()).toEqual([])
  expect(await namesIn(home)).toEqual([])
})
