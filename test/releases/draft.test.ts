import { readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Disk, realDisk } from '../../src/disk.ts'
import { exitOf, kill, saysHeld, start } from './children.ts'
import { filesOf, integrityOf, namesIn, newHome, openStore, publish, refOf, releasesPath, writeTree } from './home.ts'

const sealing = { version: '1.0.0', integrity: integrityOf('1.0.0'), source: 'a test' }

test('a sealed release is whole, named by version and digest, and nothing else is left', async () => {
  const home = await newHome()
  const store = await openStore(home, { now: () => Date.UTC(2030, 0, 1) })
  const draft = await store.draft('kanban', 'key')
  await writeTree(draft.content, filesOf('1.0.0'))
  await writeFile(join(draft.scratch, 'package.tgz'), 'download')
  const release = await draft.seal(sealing)
  expect(release).toMatchObject({
    kind: 'runtime',
    name: 'kanban',
    version: '1.0.0',
    integrity: sealing.integrity,
    source: 'a test',
    firstSeen: '2030-01-01T00:00:00.000Z',
    sealedAt: '2030-01-01T00:00:00.000Z',
    files: 3,
    path: join(releasesPath(home, 'kanban'), `1.0.0-${release.digest.slice(0, 12)}`),
    content: join(release.path, 'content'),
  })
  expect(await namesIn(releasesPath(home, 'kanban'))).toEqual([`1.0.0-${release.digest.slice(0, 12)}`])
  expect(await namesIn(release.path)).toEqual(['content', 'release.json', 'tree'])
  expect(await store.verify(release, { full: true })).toEqual({ whole: true, release })
  expect(await store.list('kanban')).toEqual([release])
  expect(await store.find('kanban', '1.0.0')).toEqual(release)
  expect(await store.find('kanban', refOf(release))).toEqual(release)
  expect(await store.find('kanban', '2.0.0')).toBeNull()
})

test('what the store writes is for its owner alone', async () => {
  const home = await newHome()
  const store = await openStore(home)
  const release = await publish(store, 'kanban', '1.0.0')
  await store.activate('kanban', release)
  const modeOf = async (path: string) => (await stat(join(home, path))).mode & 0o777
  for (const folder of ['releases', 'releases/runtime', 'releases/runtime/kanban', 'state', 'state/runtime'])
    expect(await modeOf(folder)).toBe(0o700)
  expect((await stat(release.path)).mode & 0o777).toBe(0o700)
  for (const file of ['kanban.json', 'kanban.guard']) expect(await modeOf(`state/runtime/${file}`)).toBe(0o600)
  for (const file of ['release.json', 'tree']) expect((await stat(join(release.path, file))).mode & 0o777).toBe(0o600)
})

test('a release gets its name only after its seal and listing were flushed, and the name is flushed too', async () => {
  const home = await newHome()
  const done: string[] = []
  const short = (path: unknown) =>
    String(path)
      .replace(/.*\/runtime\/?/, '')
      .replace(/\.staging-[0-9a-f]+/, 'draft')
      .replace(/(1\.0\.0)-[0-9a-f]+/, '$1')
  const tell = (...what: string[]) => {
    if (what[1]!.startsWith(join(home, 'releases'))) done.push(what.map(short).join(' '))
  }
  const disk: Disk = {
    ...realDisk,
    write: async (path, bytes) => tell('write', path) ?? realDisk.write(path, bytes),
    flush: async (path) => tell('flush', path) ?? realDisk.flush(path),
    flushDirectory: async (path) => tell('flushDirectory', path) ?? realDisk.flushDirectory(path),
    rename: async (from, to) => tell('rename', from, to) ?? realDisk.rename(from, to),
  }
  const draft = await (await openStore(home, { disk })).draft('kanban', 'key')
  await writeTree(draft.content, filesOf('1.0.0'))
  done.length = 0
  await draft.seal(sealing)
  expect(done).toEqual([
    'write kanban/draft/tree',
    'flush kanban/draft/tree',
    'write kanban/draft/release.json',
    'flush kanban/draft/release.json',
    'flushDirectory kanban/draft',
    'rename kanban/draft kanban/1.0.0',
    'flushDirectory kanban',
  ])
})

test('the same tree gives the same digest wherever and whenever it is sealed', async () => {
  const one = await publish(await openStore(await newHome()), 'kanban', '1.0.0')
  const other = await publish(await openStore(await newHome(), { kind: 'plugin' }), '@a/b', '1.0.0')
  expect(other.digest).toBe(one.digest)
})

test('within a process one key is one draft, which one effect fills and another seals', async () => {
  const store = await openStore(await newHome())
  const filled = await store.draft('kanban', 'key')
  await writeTree(filled.content, filesOf('1.0.0'))
  expect(await store.draft('kanban', 'key')).toBe(filled)
  expect(await store.draft('kanban', 'other key')).not.toBe(filled)
  expect((await (await store.draft('kanban', 'key')).seal(sealing)).files).toBe(3)
})

test('sealing runs twice and gives one release, at once or again after the draft is gone', async () => {
  const home = await newHome()
  const store = await openStore(home)
  const draft = await store.draft('kanban', 'key')
  await writeTree(draft.content, filesOf('1.0.0'))
  const [first, second] = await Promise.all([draft.seal(sealing), draft.seal(sealing)])
  expect(second).toEqual(first)
  expect(await (await store.draft('kanban', 'key')).seal(sealing)).toEqual(first)
  expect(await namesIn(releasesPath(home, 'kanban'))).toHaveLength(1)
})

test('sealing again after an equal release was found in place gives that release', async () => {
  const store = await openStore(await newHome())
  const first = await publish(store, 'kanban', '1.0.0')
  const draft = await store.draft('kanban', 'another key')
  await writeTree(draft.content, filesOf('1.0.0'))
  expect(await draft.seal(sealing)).toEqual(first)
  expect(await (await store.draft('kanban', 'another key')).seal(sealing)).toEqual(first)
})

test('an empty draft is not sealed', async () => {
  const store = await openStore(await newHome())
  await publish(store, 'kanban', '2.0.0')
  const draft = await store.draft('kanban', 'key')
  await expect(draft.seal(sealing)).rejects.toMatchObject({ code: 'RELEASE_INCOMPLETE' })
})

test('a version that is not canonical is not sealed', async () => {
  const store = await openStore(await newHome())
  const draft = await store.draft('kanban', 'key')
  await writeTree(draft.content, filesOf('1.0.0'))
  for (const version of ['v1.0.0', ' 1.0.0', '1.0', '1.0.0+1', '../1.0.0'])
    await expect(draft.seal({ ...sealing, version })).rejects.toMatchObject({ code: 'VERSION_INVALID' })
})

test('a tree with a symlink that leads outside is not sealed, and its draft can be discarded', async () => {
  const home = await newHome()
  const store = await openStore(home)
  const draft = await store.draft('kanban', 'key')
  await symlink('/etc', join(draft.content, 'etc'))
  await expect(draft.seal(sealing)).rejects.toMatchObject({ code: 'RELEASE_UNSAFE' })
  await draft.discard()
  expect(await namesIn(releasesPath(home, 'kanban'))).toEqual([])
  expect(await namesIn('/etc')).not.toEqual([])
})

test('a release that the publisher shipped with a seal of its own is sealed by ours', async () => {
  const store = await openStore(await newHome())
  const release = await publish(store, 'kanban', '1.0.0', { 'release.json': '{"version":"9.9.9"}', tree: 'x' })
  expect(release.version).toBe('1.0.0')
  expect(await store.verify(release, { full: true })).toMatchObject({ whole: true })
})

test.each<[string, (path: string) => Promise<unknown>, string, RegExp]>([
  [
    'its entry was removed',
    (path) => rm(join(path, 'content/dist/cli.js')),
    'RELEASE_DAMAGED',
    /"dist\/cli.js" is missing/,
  ],
  [
    'a native file was altered',
    (path) => writeFile(join(path, 'content/node_modules/native/prebuilt.node'), '\0'),
    'RELEASE_DAMAGED',
    /"node_modules\/native\/prebuilt.node" was altered/,
  ],
  ['a file was added', (path) => writeFile(join(path, 'content/new'), ''), 'RELEASE_DAMAGED', /"new" was added/],
  [
    'a symlink to elsewhere was added',
    (path) => symlink('/', join(path, 'content/root')),
    'RELEASE_DAMAGED',
    /root is a symlink that leads outside/,
  ],
  [
    'a byte changed and so did the listing',
    async (path) => {
      await writeFile(join(path, 'content/dist/cli.js'), 'x')
      await writeFile(join(path, 'tree'), 'instar-tree 1\n')
    },
    'RELEASE_DAMAGED',
    /not the one that was sealed/,
  ],
  ['its seal was removed', (path) => rm(join(path, 'release.json')), 'RELEASE_INCOMPLETE', /no seal/],
  ['its seal is half', (path) => writeFile(join(path, 'release.json'), '{"schema":'), 'RELEASE_INCOMPLETE', /no seal/],
  [
    'its content was removed',
    (path) => rm(join(path, 'content'), { recursive: true }),
    'RELEASE_DAMAGED',
    /not a folder/,
  ],
  ['all of it was removed', (path) => rm(path, { recursive: true }), 'RELEASE_INCOMPLETE', /is missing/],
])(
  'scenario runtime 10: a release is not whole when %s, and sealing it anew replaces it',
  async (_what, harm, code, problem) => {
    const home = await newHome()
    const store = await openStore(home)
    const release = await publish(store, 'kanban', '1.0.0')
    await harm(release.path)
    const verdict = await store.verify(release, { full: true })
    expect(verdict).toMatchObject({ whole: false, code })
    expect(!verdict.whole && verdict.problems.join()).toMatch(problem)
    await expect(store.activate('kanban', release)).rejects.toMatchObject({ code })
    const again = await publish(store, 'kanban', '1.0.0')
    expect(refOf(again)).toEqual(refOf(release))
    expect(await store.verify(again, { full: true })).toMatchObject({ whole: true })
    expect(await namesIn(releasesPath(home, 'kanban'))).toHaveLength(1)
  },
)

test('a release that carries another one’s seal is damaged', async () => {
  const store = await openStore(await newHome())
  const one = await publish(store, 'kanban', '1.0.0')
  const other = await publish(store, 'kanban', '2.0.0')
  await writeFile(join(one.path, 'release.json'), await readFile(join(other.path, 'release.json')))
  expect(await store.verify(one, { full: false })).toMatchObject({ whole: false, code: 'RELEASE_DAMAGED' })
  expect(await store.list('kanban')).toEqual([other])
})

test('a release whose folder is a symlink to an exact copy is neither whole nor listed', async () => {
  const home = await newHome()
  const store = await openStore(home)
  const release = await publish(store, 'kanban', '1.0.0')
  await rename(release.path, join(home, 'elsewhere'))
  await symlink(join(home, 'elsewhere'), release.path)
  expect(await store.verify(release, { full: true })).toMatchObject({ whole: false, code: 'RELEASE_DAMAGED' })
  expect(await store.list('kanban')).toEqual([])
})

test('a digest that only starts like the sealed one is another digest', async () => {
  const store = await openStore(await newHome())
  const release = await publish(store, 'kanban', '1.0.0')
  const alike = { ...release, digest: release.digest.slice(0, 12).padEnd(64, '0') }
  expect(await store.verify(alike, { full: true })).toMatchObject({ whole: false, code: 'RELEASE_DAMAGED' })
})

test.each([0, 1])('too many open files, with %i left, are an error and never taken for damage', async (left) => {
  const home = await newHome()
  const store = await openStore(home)
  const release = await publish(store, 'kanban', '1.0.0')
  const child = start('verify-without-descriptors', [home, release.version, release.digest, `${left}`])
  let said = ''
  child.stdout!.on('data', (text) => {
    said += text
  })
  expect(await exitOf(child)).toEqual({ code: 0, signal: null })
  expect(said).toBe('EMFILE')
})

test('a full disk leaves the old release in place and says so', async () => {
  const home = await newHome()
  const full: Disk = {
    ...realDisk,
    write: async () => Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' })),
  }
  const store = await openStore(home)
  const release = await publish(store, 'kanban', '1.0.0')
  await rm(join(release.content, 'package.json'))
  const cramped = await openStore(home, { disk: full })
  await expect(publish(cramped, 'kanban', '1.0.0')).rejects.toMatchObject({ code: 'DISK_FULL' })
  await cramped.close()
  expect(await store.find('kanban', '1.0.0')).toEqual(release)
  await store.sweep()
  expect(await namesIn(releasesPath(home, 'kanban'))).toHaveLength(1)
})

test('a draft finds again what an earlier attempt left, and reset empties it', async () => {
  const home = await newHome()
  const first = await openStore(home)
  const left = await first.draft('kanban', 'key')
  await writeTree(left.content, filesOf('1.0.0'))
  await first.close()
  const draft = await (await openStore(home)).draft('kanban', 'key')
  expect(draft.directory).toBe(left.directory)
  expect(await namesIn(draft.content)).toEqual(['dist', 'node_modules', 'package.json'])
  await draft.reset()
  expect(await namesIn(draft.content)).toEqual([])
})

test('scenario runtime 12: a draft that a living process holds survives a sweep and cannot be taken', async () => {
  const home = await newHome()
  const holder = start('hold-draft', [home, 'kanban', 'key'])
  await saysHeld(holder)
  const store = await openStore(home)
  expect(await store.sweep()).toEqual([])
  await expect(store.draft('kanban', 'key', { waitMs: 50 })).rejects.toMatchObject({
    code: 'RELEASE_LOCKED',
    details: { pid: holder.pid, doing: 'staging kanban' },
  })
  const names = await namesIn(releasesPath(home, 'kanban'))
  expect(names).toEqual([expect.stringMatching(/^\.staging-/), expect.stringMatching(/^\.staging-.*\.lock$/)])
  expect(await namesIn(join(releasesPath(home, 'kanban'), names[0]!, 'content'))).toEqual(['half'])

  await kill(holder)
  expect(await store.sweep()).toEqual([join(releasesPath(home, 'kanban'), names[0]!)])
  expect(await namesIn(releasesPath(home, 'kanban'))).toEqual([])
})

test('a draft of a killed process is found again by its key', async () => {
  const home = await newHome()
  const holder = start('hold-draft', [home, 'kanban', 'key'])
  await saysHeld(holder)
  await kill(holder)
  const draft = await (await openStore(home)).draft('kanban', 'key')
  expect(await namesIn(draft.content)).toEqual(['half'])
})

test('a sweep in the same process leaves held drafts alone and takes closed ones', async () => {
  const home = await newHome()
  const store = await openStore(home)
  const held = await store.draft('kanban', 'held')
  await (await store.draft('kanban', 'closed')).close()
  await store.sweep('kanban')
  expect(await namesIn(releasesPath(home, 'kanban'))).toEqual([
    expect.stringContaining(held.directory.split('/').at(-1)!),
    expect.stringMatching(/\.lock$/),
  ])
})

test('a draft that was swept while it was being opened is opened anew', async () => {
  const home = await newHome()
  const store = await openStore(home)
  const sweeper = await openStore(home)
  for (let round = 0; round < 20; round += 1) {
    const [draft] = await Promise.all([store.draft('kanban', 'key'), sweeper.sweep('kanban')])
    await writeFile(join(draft.content, 'x'), 'x') // it is there, and stays: we hold it
    await sweeper.sweep('kanban')
    expect(await namesIn(draft.content)).toEqual(['x'])
    await draft.discard()
  }
})
