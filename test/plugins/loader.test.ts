import { lstat, mkdir, mkdtemp, readdir, realpath, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { listPlugins, type PluginListing, watchPlugins } from '../../src/plugins/index.ts'
import { encodePluginSeal, readPluginSeal, sealName } from '../../src/plugins/seal.ts'
import { eventually } from '../support/sessions/eventually.ts'

/** What comes between a look into the directory and its answer. */
const pause = vi.hoisted(() => ({ answer: async (_path: string) => {} }))
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  const readdir = async (...args: Parameters<typeof real.readdir>) => {
    const names = await real.readdir(...args)
    await pause.answer(String(args[0]))
    return names
  }
  return { ...real, readdir }
})

const watchers = vi.hoisted(() => new Set<unknown>())
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  const watch = (...args: [string, object, () => void]) => {
    const watcher = real.watch(...args)
    watchers.add(watcher)
    return watcher.on('close', () => watchers.delete(watcher))
  }
  return { ...real, watch }
})

/** Holds back the answer to one of the next times that the directory is read: for its scopes, then for its plugins. */
function hold(at: 'scopes' | 'plugins') {
  let begin: () => void
  let release = () => {}
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const end = new Promise<void>((resolve) => {
    release = resolve
  })
  let before = at === 'scopes' ? 0 : 1
  pause.answer = async (path) => {
    if (path !== directory || before-- > 0) return
    pause.answer = async () => {}
    begin()
    await end
  }
  return { begun, release }
}

/** Lets so much time pass at once. */
function later(ms: number): void {
  const { now } = Date
  vi.spyOn(Date, 'now').mockImplementation(() => now() + ms)
}
afterEach(() => {
  vi.restoreAllMocks()
})

let scratch: string
let directory: string
let count = 0
beforeAll(async () => {
  scratch = await realpath(await mkdtemp(join(tmpdir(), 'instar-loader-')))
})
beforeEach(async () => {
  count += 1
  directory = join(scratch, String(count))
  await mkdir(directory)
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

const digest = 'ab'.repeat(32)
const sealedAt = '2026-11-21T00:00:00.000Z'

/** A tree on a shelf, and the link that makes it live. */
async function plugin(name: string, version: string, { sealed = true, sealName: as = name } = {}): Promise<string> {
  const tree = join(directory, '.instar', name.replace('/', '+'), `${version}-abababababab`)
  await mkdir(tree, { recursive: true })
  await writeFile(join(tree, 'index.js'), '1')
  if (sealed)
    await writeFile(
      join(tree, sealName),
      encodePluginSeal({ schema: 1, name: as, version, digest, owner: 'me', sealedAt }),
    )
  await mkdir(join(directory, name, '..'), { recursive: true })
  await symlink(tree, join(directory, 'link'))
  await rename(join(directory, 'link'), join(directory, name))
  return tree
}

test('complete plugins are listed with their real paths, scoped ones too, in the order of their names', async () => {
  const [b, a, scoped] = [await plugin('b', '1.0.0'), await plugin('a', '2.0.0'), await plugin('@x/c', '3.0.0')]
  expect(await listPlugins(directory)).toEqual({
    plugins: [
      { name: '@x/c', path: scoped, version: '3.0.0', digest },
      { name: 'a', path: a, version: '2.0.0', digest },
      { name: 'b', path: b, version: '1.0.0', digest },
    ],
    leftOut: [],
  })
})

test('a directory that is not there, or empty, has none', async () => {
  expect(await listPlugins(join(directory, 'nowhere'))).toEqual({ plugins: [], leftOut: [] })
  expect(await listPlugins(directory)).toEqual({ plugins: [], leftOut: [] })
})

test('scenario Plugins 5: unsealed folders are left out with the reason, dot directories passed over', async () => {
  await plugin('unsealed', '1.0.0', { sealed: false })
  await plugin('other', '1.0.0', { sealName: 'somebody-else' })
  await mkdir(join(directory, '.hidden'))
  await symlink('nowhere', join(directory, 'dangling'))
  await writeFile(join(directory, 'file'), '')
  const { plugins, leftOut } = await listPlugins(directory)
  expect(plugins).toEqual([])
  expect(leftOut.map(({ entry, code }) => [entry, code])).toEqual([
    ['dangling', 'dangling'],
    ['file', 'foreign'],
    ['other', 'foreign'],
    ['unsealed', 'unsealed'],
  ])
})

test('scenario Plugins 5: an old unsealed plugin loads during the grace period, a fresh one does not', async () => {
  const old = join(directory, 'old')
  await mkdir(join(old, 'lib'), { recursive: true })
  // Copied since, into a folder of it, by something that keeps times as they were.
  await mkdir(join(directory, 'growing', 'lib'), { recursive: true })
  await sleep(3000) // longer than it may take from here to the look
  await mkdir(join(directory, 'fresh'))
  const copied = join(directory, 'growing', 'lib', 'copied.js')
  await writeFile(copied, '')
  await utimes(copied, 0, 0)
  await utimes(join(directory, 'growing', 'lib'), 0, 0)
  // A minute after the first were made.
  later(60_000 + 10 - (Date.now() - (await lstat(old)).ctimeMs))
  const during = await listPlugins(directory, { unsealedUntil: new Date(Date.now() + 60_000) })
  expect(during.plugins).toEqual([{ name: 'old', path: old, version: null, digest: null }])
  expect(during.leftOut.map(({ entry, code }) => [entry, code])).toEqual([
    ['fresh', 'unsealed'],
    ['growing', 'unsealed'],
  ])
  expect((await listPlugins(directory, { unsealedUntil: new Date(Date.now() - 1) })).plugins).toEqual([])
})

test.each([
  ['no JSON', '{'],
  ['another shape', '{"schema":1}'],
  ['another format', `{"schema":2,"name":"a","version":"1.0.0","digest":"${digest}","owner":"me","sealedAt":"x"}`],
  ['a short digest', '{"schema":1,"name":"a","version":"1.0.0","digest":"ab","owner":"me","sealedAt":"x"}'],
  ['too much', ' '.repeat(5000)],
])('a seal that is none vouches for nothing: %s', async (_, text) => {
  await writeFile(join(directory, sealName), text)
  expect(await readPluginSeal(directory)).toBeNull()
})

test('whoever watches is told of what came, was replaced and went, once for each', async () => {
  await plugin('a', '1.0.0')
  const seen: PluginListing[] = []
  const stop = watchPlugins(directory, (listing) => seen.push(listing))
  const versions = () => seen.at(-1)?.plugins.map(({ name, version }) => `${name} ${version}`)
  try {
    await plugin('b', '1.0.0')
    await eventually(() => versions()?.join() === 'a 1.0.0,b 1.0.0', 'word of b')
    await plugin('a', '2.0.0')
    await eventually(() => versions()?.join() === 'a 2.0.0,b 1.0.0', 'word of the new a')
    await plugin('@x/c', '1.0.0')
    await eventually(() => versions()?.length === 3, 'word of c')
    await plugin('@x/c', '2.0.0')
    await eventually(() => versions()?.[0] === '@x/c 2.0.0', 'word of the new c')
    await rm(join(directory, 'b'))
    await eventually(() => versions()?.length === 2, 'word that b is gone')
  } finally {
    stop()
  }
  expect(await readdir(directory)).not.toContain('b')
})

test('whoever watches is told when an unsealed one has settled, and when the grace period is over', async () => {
  await mkdir(join(directory, 'old'))
  later(59_000)
  const seen: number[] = []
  const stop = watchPlugins(directory, ({ plugins }) => seen.push(plugins.length), {
    unsealedUntil: new Date(Date.now() + 2500),
  })
  try {
    await eventually(() => seen.length === 3, 'the end of the grace period')
  } finally {
    stop()
  }
  expect(seen).toEqual([0, 1, 0])
})

test('a listing that took its time is not told after a newer one', async () => {
  await plugin('a', '1.0.0')
  const seen: number[] = []
  const held = hold('plugins')
  const stop = watchPlugins(directory, ({ plugins }) => seen.push(plugins.length))
  try {
    await held.begun
    await plugin('b', '1.0.0')
    await sleep(200)
    held.release()
    await eventually(() => seen.includes(2), 'word of b')
    await sleep(200)
  } finally {
    stop()
  }
  expect(seen).toEqual([1, 2])
})

test('who stops watching in the middle of a look leaves nothing that watches', async () => {
  await plugin('@x/c', '1.0.0')
  const held = hold('scopes')
  const stop = watchPlugins(directory, () => {})
  await held.begun
  stop()
  held.release()
  await sleep(100)
  expect(watchers.size).toBe(0)
})
