import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { noPointers, readPointer } from '../../src/releases/pointer.ts'
import type { Release } from '../../src/releases/seal.ts'
import type { ReleaseStore } from '../../src/releases/store.ts'
import { exitOf, start } from './children.ts'
import { newHome, openStore, publish, refOf, statePath } from './home.ts'

/** 1.0.0 known to be good, 2.0.0 current. */
async function twoReleases() {
  const home = await newHome()
  const store = await openStore(home)
  const good = await publish(store, 'kanban', '1.0.0')
  await store.activate('kanban', good)
  await store.markGood('kanban', good)
  const newer = await publish(store, 'kanban', '2.0.0')
  await store.activate('kanban', newer)
  return { home, store, good, newer }
}

const pointedAt = ({ version, digest, path }: Release) => ({ version, digest, path })

async function scribble(home: string, change: (entry: Record<string, unknown>) => unknown) {
  const path = statePath(home, 'kanban')
  const state = JSON.parse(await readFile(path, 'utf8'))
  state.pointer.current = change(state.pointer.current)
  await writeFile(path, JSON.stringify(state))
}

/** The pointer as the store gives it and as a launcher reads it. */
const currentOf = async (home: string, store: ReleaseStore) => ({
  launcher: (await readPointer(home, 'runtime', 'kanban')).current,
  store: (await store.pointer('kanban')).current,
})

test('scenario runtime 1: what was activated is what the next launch is told', async () => {
  const { home, store, good, newer } = await twoReleases()
  const pointers = { current: pointedAt(newer), previous: pointedAt(good), knownGood: pointedAt(good) }
  expect(await store.pointer('kanban')).toEqual(pointers)
  expect(await readPointer(home, 'runtime', 'kanban')).toEqual(pointers)
})

test('a name that nothing was ever activated for has no pointer and no problem', async () => {
  const home = await newHome()
  expect(await (await openStore(home)).pointer('kanban')).toEqual(noPointers)
  expect(await readPointer(join(home, 'nowhere'), 'runtime', 'kanban')).toEqual(noPointers)
})

test.each<[string, (entry: Record<string, unknown>, home: string) => unknown]>([
  ['has the version v2.0.0', (entry) => ({ ...entry, version: 'v2.0.0' })],
  ['has a version with a blank before it', (entry) => ({ ...entry, version: ' 2.0.0' })],
  ['has a version with a line feed after it', (entry) => ({ ...entry, version: '2.0.0\n' })],
  ['has a version with build metadata', (entry) => ({ ...entry, version: '2.0.0+1' })],
  ['has a version that climbs', (entry) => ({ ...entry, version: '../../../2.0.0' })],
  ['has a blank version', (entry) => ({ ...entry, version: '' })],
  ['has a digest that climbs', (entry) => ({ ...entry, digest: '../../../../..' })],
  ['has the digest in capitals', (entry) => ({ ...entry, digest: String(entry.digest).toUpperCase() })],
  [
    'has another digest that starts alike',
    (entry) => ({ ...entry, digest: String(entry.digest).replace(/.$/, (c) => (c === '0' ? '1' : '0')) }),
  ],
  ['has a relative path', (entry, home) => ({ ...entry, path: String(entry.path).slice(home.length + 1) })],
  ['has a path outside the store', (entry) => ({ ...entry, path: '/usr' })],
  [
    'has a path that goes up and down again',
    (entry) => ({ ...entry, path: `${entry.path}/../${String(entry.path).split('/').at(-1)}` }),
  ],
  ['has a path with a blank', (entry) => ({ ...entry, path: `${entry.path} ` })],
  ['has no path', ({ version, digest }) => ({ version, digest })],
  ['is a text', (entry) => entry.path],
  ['is a list', (entry) => [entry]],
  ['is a number', () => 7],
])('scenario runtime 3: a pointer that %s is not believed, is repaired, and is reported', async (_what, change) => {
  const { home, store, good } = await twoReleases()
  await scribble(home, (entry) => change(entry, home))
  expect(await readPointer(home, 'runtime', 'kanban')).toMatchObject({
    current: null,
    knownGood: pointedAt(good),
    problem: { code: 'POINTER_INVALID', reason: expect.stringContaining('current: ') },
  })
  expect(await store.pointer('kanban')).toMatchObject({
    current: pointedAt(good),
    previous: null,
    problem: { code: 'POINTER_INVALID' },
  })
  // Repaired: the next question finds nothing wrong, and what was wrong stays on record.
  expect(await store.pointer('kanban')).toEqual({
    current: pointedAt(good),
    previous: null,
    knownGood: pointedAt(good),
  })
  expect((await store.state('kanban')).problems).toMatchObject([{ code: 'POINTER_INVALID' }])
})

test.each<[string, (release: Release, home: string) => Promise<unknown>]>([
  ['is gone', ({ path }) => rm(path, { recursive: true })],
  ['lost its seal', ({ path }) => rm(join(path, 'release.json'))],
  ['lost its content', ({ path }) => rm(join(path, 'content'), { recursive: true })],
  ['carries a seal of another version', ({ path }) => writeFile(join(path, 'release.json'), '{"version":"3.0.0"}')],
  [
    'is a symlink to an exact copy elsewhere',
    async ({ path }, home) => {
      await rename(path, join(home, 'elsewhere'))
      await symlink(join(home, 'elsewhere'), path)
    },
  ],
  [
    'has a content that is a symlink to an exact copy',
    async ({ path, content }) => {
      await rename(content, join(path, 'copy'))
      await symlink('copy', content)
    },
  ],
])('scenario runtime 3: a pointer whose release %s goes back to the known-good one', async (_what, harm) => {
  const { home, store, good, newer } = await twoReleases()
  await harm(newer, home)
  expect((await readPointer(home, 'runtime', 'kanban')).current).toBeNull()
  expect(await store.pointer('kanban')).toMatchObject({
    current: pointedAt(good),
    problem: { code: 'POINTER_INVALID' },
  })
  expect(await currentOf(home, store)).toEqual({ launcher: pointedAt(good), store: pointedAt(good) })
})

test('a store reached through a symlink within the home is not believed', async () => {
  const { home, store } = await twoReleases()
  await rename(join(home, 'releases'), join(home, 'elsewhere'))
  await symlink('elsewhere', join(home, 'releases'))
  expect(await store.pointer('kanban')).toMatchObject({ current: null, problem: { code: 'POINTER_INVALID' } })
})

test('a home that is itself reached through a symlink is as good as its real place', async () => {
  const { home, newer } = await twoReleases()
  const link = join(await newHome(), 'link')
  await symlink(home, link)
  expect((await readPointer(link, 'runtime', 'kanban')).current).toEqual(pointedAt(newer))
  expect((await (await openStore(link)).pointer('kanban')).current).toEqual(pointedAt(newer))
})

test('a pointer is not put back to a release that is banned or not whole', async () => {
  const { home, store, good } = await twoReleases()
  await writeFile(join(good.content, 'dist/cli.js'), 'altered')
  await scribble(home, () => 'nonsense')
  expect((await store.pointer('kanban')).current).toBeNull()

  const other = await twoReleases()
  await other.store.ban('kanban', '1.0.0', 'a person said so')
  await scribble(other.home, () => 'nonsense')
  expect((await other.store.pointer('kanban')).current).toBeNull()
})

test('a previous release that cannot be believed does not touch the current one', async () => {
  const { store, good, newer } = await twoReleases()
  await rm(good.path, { recursive: true })
  expect(await store.pointer('kanban')).toMatchObject({
    current: pointedAt(newer),
    previous: null,
    knownGood: null,
    problem: { reason: expect.stringContaining('previous: ') },
  })
  expect(await store.pointer('kanban')).toEqual({ current: pointedAt(newer), previous: null, knownGood: null })
})

test.each([
  ['is no JSON', '{"schema":1,"poin'],
  ['is empty', ''],
  ['is a list', '[]'],
  ['names no format', '{}'],
])('scenario runtime 3: a state that %s is set aside, reported, and built anew from the seals', async (_what, text) => {
  const { home, store, newer } = await twoReleases()
  const before = await store.state('kanban')
  await writeFile(statePath(home, 'kanban'), text)
  expect(await readPointer(home, 'runtime', 'kanban')).toEqual({
    ...noPointers,
    problem: expect.objectContaining({ code: 'STATE_DAMAGED' }),
  })
  expect(await store.pointer('kanban')).toMatchObject({ ...noPointers, problem: { code: 'STATE_DAMAGED' } })
  const state = await store.state('kanban')
  expect(state.seen).toEqual(before.seen)
  expect(state.problems).toMatchObject([{ code: 'STATE_DAMAGED' }])
  await store.activate('kanban', newer)
  expect(await readPointer(home, 'runtime', 'kanban')).toMatchObject({ current: pointedAt(newer) })
})

test('activating twice leaves what the first time made', async () => {
  const { home, store, newer, good } = await twoReleases()
  const before = await readFile(statePath(home, 'kanban'), 'utf8')
  expect(await store.activate('kanban', newer)).toMatchObject({ current: pointedAt(newer), previous: pointedAt(good) })
  expect(await readFile(statePath(home, 'kanban'), 'utf8')).toBe(before)
})

test('only what is sealed and whole is activated', async () => {
  const { store, newer } = await twoReleases()
  const refused = (ref: { version: string; digest: string }) => expect(store.activate('kanban', ref)).rejects
  await refused({ version: '3.0.0', digest: newer.digest }).toMatchObject({ code: 'RELEASE_INCOMPLETE' })
  await refused({ version: '2.0.0', digest: 'a'.repeat(64) }).toMatchObject({ code: 'RELEASE_INCOMPLETE' })
  await refused({ version: '2.0.0', digest: '../..' }).toMatchObject({ code: 'RELEASE_INCOMPLETE' })
  await refused({ version: 'v2.0.0', digest: newer.digest }).toMatchObject({ code: 'VERSION_INVALID' })
})

test('nothing below the highest version activated is activated unless a person asks; from there it goes on', async () => {
  const { store, good } = await twoReleases()
  const between = await publish(store, 'kanban', '1.5.0')
  await store.clear('kanban')
  await expect(store.activate('kanban', between)).rejects.toMatchObject({ code: 'VERSION_BELOW_COMMITTED' })
  await store.activate('kanban', good, { allowOlder: true })
  expect((await store.pointer('kanban')).current).toEqual(pointedAt(good))
  await store.activate('kanban', between)
  expect((await store.state('kanban')).committed).toBe('1.5.0')
})

test('a banned version is not activated until it is unbanned', async () => {
  const { store } = await twoReleases()
  const third = await publish(store, 'kanban', '3.0.0')
  await store.ban('kanban', '3.0.0', 'it fell over')
  await expect(store.activate('kanban', third)).rejects.toMatchObject({ code: 'RELEASE_BANNED' })
  await store.unban('kanban', '3.0.0')
  expect((await store.activate('kanban', third)).current).toEqual(pointedAt(third))
})

test('scenario runtime 18: a failed release gives way to the known-good one, once', async () => {
  const { store, good, newer } = await twoReleases()
  const wanted = { current: pointedAt(good), previous: null, knownGood: pointedAt(good) }
  expect(await store.restore('kanban', { failed: refOf(newer) })).toEqual(wanted)
  expect(await store.restore('kanban', { failed: refOf(newer) })).toEqual(wanted)
  expect(await store.pointer('kanban')).toEqual(wanted)
})

test('going back prefers the known-good release to an unproven one in between', async () => {
  const { store, good } = await twoReleases()
  const third = await publish(store, 'kanban', '3.0.0')
  await store.activate('kanban', third)
  expect((await store.restore('kanban', { failed: third })).current).toEqual(pointedAt(good))
})

test('a known-good release that fails after all gives way to the previous one', async () => {
  const { store, good, newer } = await twoReleases()
  await store.markGood('kanban', newer)
  expect(await store.restore('kanban', { failed: newer })).toEqual({
    current: pointedAt(good),
    previous: null,
    knownGood: null,
  })
})

test('a newer pointer stays when an older release is reported as failed', async () => {
  const { store, good, newer } = await twoReleases()
  expect((await store.restore('kanban', { failed: good })).current).toEqual(pointedAt(newer))
})

test('with nothing to go back to the pointer names nothing', async () => {
  const store = await openStore(await newHome())
  const only = await publish(store, 'kanban', '1.0.0')
  await store.activate('kanban', only)
  await store.strike('kanban', only, { reason: 'it exited', limit: 1, key: 'a' })
  expect(await store.restore('kanban', { failed: only })).toEqual(noPointers)
})

test('going back never ends on a release whose bytes have changed', async () => {
  const { store, good, newer } = await twoReleases()
  await writeFile(join(good.content, 'dist/cli.js'), 'altered')
  expect((await store.restore('kanban', { failed: newer })).current).toBeNull()
})

test('scenario runtime 2: a cleared pointer names nothing, also after a second time', async () => {
  const { store } = await twoReleases()
  await store.clear('kanban')
  await store.clear('kanban')
  expect(await store.pointer('kanban')).toEqual(noPointers)
})

test('a release that is gone cannot be commended', async () => {
  const { store } = await twoReleases()
  const gone = { version: '1.2.0', digest: 'a'.repeat(64) }
  await expect(store.markGood('kanban', gone)).rejects.toMatchObject({ code: 'RELEASE_INCOMPLETE' })
})

test('names that differ only in where the slash stands have pointers of their own', async () => {
  const store = await openStore(await newHome(), { kind: 'app' })
  const one = await publish(store, '@a/b-c', '1.0.0')
  const other = await publish(store, '@a-b/c', '2.0.0')
  await store.activate('@a/b-c', one)
  await store.activate('@a-b/c', other)
  expect((await store.pointer('@a/b-c')).current).toEqual(pointedAt(one))
  expect((await store.pointer('@a-b/c')).current).toEqual(pointedAt(other))
  expect((await store.names()).sort()).toEqual(['@a-b/c', '@a/b-c'])
})

test('a directory in the place of the state is an answer with a problem, not an exception', async () => {
  const home = await newHome()
  await mkdir(statePath(home, 'kanban'), { recursive: true })
  const answer = { ...noPointers, problem: expect.objectContaining({ code: 'STATE_UNREADABLE' }) }
  expect(await readPointer(home, 'runtime', 'kanban')).toEqual(answer)
  expect(await (await openStore(home)).pointer('kanban')).toEqual(answer)
})

test('two processes that activate and strike at once lose nothing of each other', async () => {
  const { home, store, good, newer } = await twoReleases()
  const refs = [good, newer].map(({ version, digest }) => `${version}@${digest}`)
  const children = [
    start('activate', [home, 'kanban', 'one', ...refs]),
    start('activate', [home, 'kanban', 'two', ...refs.reverse()]),
  ]
  for (const child of children) expect(await exitOf(child)).toEqual({ code: 0, signal: null })
  const { problem, current, previous } = await store.pointer('kanban')
  expect(problem).toBeUndefined()
  expect([current, previous].map((ref) => ref?.version).sort()).toEqual(['1.0.0', '2.0.0'])
  expect((await store.state('kanban')).strikes['9.9.9']!.keys).toHaveLength(20)
  expect(await store.sweep()).toEqual([])
})

test('a launcher that reads the pointer loads neither zod nor lowdb', async () => {
  const { home, newer } = await twoReleases()
  const child = start('read-pointer', [home, 'kanban'])
  let said = ''
  child.stdout!.on('data', (text) => {
    said += text
  })
  await exitOf(child)
  const { version, loaded } = JSON.parse(said)
  expect(version).toBe(newer.version)
  expect(loaded).toContainEqual(expect.stringMatching(/releases\/layout\.js$/)) // the hook does see imports
  expect(loaded.filter((path: string) => /node_modules\/(zod|lowdb|fs-native-extensions)\//.test(path))).toEqual([])
})
