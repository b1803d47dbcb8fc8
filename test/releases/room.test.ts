import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import type { Release } from '../../src/releases/seal.ts'
import { exitOf, start } from './children.ts'
import { namesIn, newHome, openStore, publish, refOf, releasesPath, statePath } from './home.ts'

async function manyReleases(count: number) {
  const home = await newHome()
  const store = await openStore(home)
  const releases: Release[] = []
  for (let minor = 1; minor <= count; minor += 1) releases.push(await publish(store, 'kanban', `1.${minor}.0`))
  const versions = async () => (await store.list('kanban')).map(({ version }) => version)
  return { home, store, releases, versions }
}

test('scenario runtime 19: after many good updates the current release and two old ones are left', async () => {
  const home = await newHome()
  const store = await openStore(home)
  for (let minor = 1; minor <= 12; minor += 1) {
    const release = await publish(store, 'kanban', `1.${minor}.0`)
    await store.activate('kanban', release)
    await store.markGood('kanban', release)
    await store.prune('kanban')
  }
  expect((await store.list('kanban')).map(({ version }) => version)).toEqual(['1.12.0', '1.11.0', '1.10.0'])
  expect(await namesIn(releasesPath(home, 'kanban'))).toHaveLength(3)
})

test('what the pointer names and what is in use stays, however old and however many', async () => {
  const { store, releases, versions } = await manyReleases(8)
  await store.activate('kanban', releases[0]!)
  await store.markGood('kanban', releases[0]!)
  await store.activate('kanban', releases[2]!)
  await store.activate('kanban', releases[3]!)
  const removed = await store.prune('kanban', { keep: 0, inUse: [releases[4]!] })
  expect(removed).toEqual([releases[7], releases[6], releases[5], releases[1]].map((release) => refOf(release!)))
  expect(await versions()).toEqual(['1.5.0', '1.4.0', '1.3.0', '1.1.0'])
  expect(await store.prune('kanban', { keep: 0, inUse: [releases[4]!] })).toEqual([])
})

test('versions are ordered as semver orders them, not as text', async () => {
  const { store, versions } = await manyReleases(11)
  await publish(store, 'kanban', '1.2.1')
  await store.prune('kanban', { keep: 2 })
  expect(await versions()).toEqual(['1.11.0', '1.10.0'])
})

test('a folder that lost its seal is removed unless a process runs from it', async () => {
  const { home, store, releases } = await manyReleases(2)
  for (const { path } of releases) await rm(join(path, 'release.json'))
  expect(await store.prune('kanban', { inUse: [releases[0]!] })).toEqual([])
  expect(await namesIn(releasesPath(home, 'kanban'))).toEqual([releases[0]!.path.split('/').at(-1)])
})

test('folders and files that are not the store’s are left alone', async () => {
  const { home, store } = await manyReleases(1)
  await mkdir(join(releasesPath(home, 'kanban'), 'my notes'))
  await mkdir(join(home, 'releases/runtime/.git'))
  await writeFile(join(home, 'releases/runtime/.git/.staging-x'), '')
  await store.prune('kanban', { keep: 0 })
  await store.sweep()
  expect(await namesIn(releasesPath(home, 'kanban'))).toEqual(['my notes'])
  expect(await namesIn(join(home, 'releases/runtime/.git'))).toEqual(['.staging-x'])
})

test('a symlink among the releases is neither listed nor followed when it is pruned', async () => {
  const { home, store, releases } = await manyReleases(1)
  const elsewhere = join(await newHome(), 'precious')
  await mkdir(elsewhere)
  await writeFile(join(elsewhere, 'file'), 'x')
  await symlink(elsewhere, join(releasesPath(home, 'kanban'), '2.0.0-0123456789ab'))
  expect(await store.list('kanban')).toEqual(releases)
  await store.prune('kanban')
  expect(await namesIn(elsewhere)).toEqual(['file'])
  expect(await namesIn(releasesPath(home, 'kanban'))).toHaveLength(1)
})

test('one release is removed by name, but not while the pointer or a process has it', async () => {
  const { store, releases, versions } = await manyReleases(3)
  await store.activate('kanban', releases[0]!)
  expect(await store.remove('kanban', releases[0]!)).toBe(false)
  expect(await store.remove('kanban', releases[1]!, { inUse: [releases[1]!] })).toBe(false)
  expect(await store.remove('kanban', releases[2]!)).toBe(true)
  expect(await store.remove('kanban', releases[2]!)).toBe(true)
  expect(await versions()).toEqual(['1.2.0', '1.1.0'])
})

test('a sweep removes trash and halves of state files whose writer is gone', async () => {
  const { home, store } = await manyReleases(1)
  const gone = start('exit-at-once', [])
  await exitOf(gone)
  const trash = join(releasesPath(home, 'kanban'), '.trash-x')
  const half = join(dirname(statePath(home, 'x')), `.draft-${gone.pid}-1`)
  await mkdir(join(trash, 'deep'), { recursive: true })
  await writeFile(half, '{')
  await writeFile(join(home, 'state/runtime', `.draft-${process.pid}-1`), '{')
  expect((await store.sweep()).sort()).toEqual([trash, half].sort())
  expect(await namesIn(join(home, 'state/runtime'))).toEqual([`.draft-${process.pid}-1`, 'kanban.guard', 'kanban.json'])
})
