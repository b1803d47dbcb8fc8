import { execFileSync } from 'node:child_process'
import { lstat, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { entryPath } from '../../src/runtime/entry.ts'
import { checkNatives, isMeantFor } from '../../src/runtime/native.ts'
import { enginesSatisfied, inspectNode, nodeVersionOf } from '../../src/runtime/node-version.ts'
import { provide } from '../../src/runtime/provide.ts'

const nodePty = fileURLToPath(new URL('../../node_modules/node-pty', import.meta.url))

let folder: string
let release: string
let host: string
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'instar-provide-')))
  release = join(folder, 'release')
  host = join(folder, 'host/node_modules')
  await tree(release, { 'package.json': '{}' })
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function tree(root: string, files: Record<string, string>): Promise<string> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true })
    await writeFile(join(root, name), text)
  }
  return root
}

const packageFiles = (version: string, dependencies: Record<string, string> = {}, text = version) => ({
  'package.json': JSON.stringify({ version, dependencies, main: 'index.js' }),
  'index.js': `module.exports = ${JSON.stringify(text)}`,
})

const filesIn = async (root: string) =>
  (await readdir(root, { recursive: true, withFileTypes: true }))
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort()

async function codeOf(promise: Promise<unknown>) {
  const error: { code?: string; message?: string } = await promise.then(
    () => ({}),
    (error) => error,
  )
  return [error.code, error.message]
}

test('a provided package is copied with its own files and without its nested ones', async () => {
  await tree(join(host, 'a'), {
    ...packageFiles('1.2.3'),
    'lib/x.js': '',
    'node_modules/dev/index.js': '',
    '.git/HEAD': '',
  })
  await symlink('lib', join(host, 'a/linked'))
  await symlink('../index.js', join(host, 'a/lib/back.js'))
  expect(await provide(release, { a: join(host, 'a') })).toEqual([{ name: 'a', version: '1.2.3' }])
  const copy = join(release, 'node_modules/a')
  expect(await filesIn(copy)).toEqual([
    'index.js',
    'lib/back.js',
    'lib/x.js',
    'linked/back.js',
    'linked/x.js',
    'package.json',
  ])
  expect((await lstat(join(copy, 'linked'))).isDirectory()).toBe(true)
  expect((await lstat(join(copy, 'lib/back.js'))).isFile()).toBe(true)
})

test('providing twice, or over a copy that the release brought, ends the same', async () => {
  await tree(join(host, 'a'), packageFiles('1.0.0'))
  await tree(join(release, 'node_modules/a'), { 'package.json': '{}', 'old.js': '' })
  for (let round = 0; round < 2; round += 1) await provide(release, { a: join(host, 'a') })
  expect(await filesIn(join(release, 'node_modules'))).toEqual(['a/index.js', 'a/package.json'])
})

test('dependencies come along as the host resolves them and shadow nothing of the release', async () => {
  await tree(join(host, 'a'), packageFiles('1.0.0', { b: '^1', '@s/c': '*', absent: '*' }))
  await tree(join(host, 'b'), packageFiles('1.5.0', { a: '*', '@s/c': '*' }))
  await tree(join(host, '@s/c'), packageFiles('3.0.0', { b: '*' }))
  await tree(join(host, 'b/node_modules/@s/c'), packageFiles('2.0.0'))
  await tree(join(release, 'node_modules/b'), packageFiles('9.0.0'))
  await provide(release, { a: join(host, 'a') })
  const copied = async (path: string) =>
    JSON.parse(await readFile(join(release, 'node_modules', path, 'package.json'), 'utf8')).version
  expect(await copied('b')).toBe('9.0.0')
  expect(await copied('a/node_modules/b')).toBe('1.5.0')
  expect(await copied('a/node_modules/b/node_modules/@s/c')).toBe('2.0.0')
  expect(await copied('a/node_modules/@s/c')).toBe('3.0.0')
  const seen = execFileSync(process.execPath, ['-p', 'require("a")'], { cwd: release, encoding: 'utf8' })
  expect(seen.trim()).toBe('1.0.0')
})

test('dependencies that shadow each other without an end are refused', async () => {
  // b sees another a, which sees another b, which sees the first a again: only links can make such a circle.
  const store = (name: string, version: string) => join(folder, 'store', `${name}-${version}`, 'node_modules', name)
  for (const [name, version, dependency, itsVersion] of [
    ['a', '1.0.0', 'b', '1.0.0'],
    ['b', '1.0.0', 'a', '2.0.0'],
    ['a', '2.0.0', 'b', '2.0.0'],
    ['b', '2.0.0', 'a', '1.0.0'],
  ] as const) {
    await tree(store(name, version), packageFiles(version, { [dependency]: '*' }))
    await symlink(store(dependency, itsVersion), join(dirname(store(name, version)), dependency))
  }
  expect(await codeOf(provide(release, { a: store('a', '1.0.0') }))).toEqual([
    'PROVIDED_UNSAFE',
    expect.stringMatching(/without an end/),
  ])
})

test.each([
  ['^1.2.0', true],
  ['^2.0.0', false],
  ['latest', true],
  ['*', true],
  ['npm:other@^1', true],
  ['npm:other@^2', false],
  ['git+https://example.invalid/x.git', false],
  ['file:../x', false],
  ['no tag %', false],
])('a release that wants "%s" accepts 1.2.3: %s', async (range, accepted) => {
  await tree(join(host, 'a'), packageFiles('1.2.3'))
  for (const field of ['dependencies', 'peerDependencies', 'optionalDependencies']) {
    await tree(release, { 'package.json': JSON.stringify({ [field]: { a: range } }) })
    const [code, message] = await codeOf(provide(release, { a: join(host, 'a') }))
    expect(code).toBe(accepted ? undefined : 'PROVIDED_OUT_OF_RANGE')
    if (!accepted) expect(message).toContain(`a ${range}`)
  }
})

test('a package that is not there, or has no version, is named', async () => {
  await tree(join(host, 'a'), { 'package.json': '{}' })
  await tree(join(host, 'b'), { 'index.js': '' })
  for (const name of ['a', 'b', 'c'])
    expect(await codeOf(provide(release, { [name]: join(host, name) }))).toEqual([
      'PROVIDED_MISSING',
      expect.stringContaining(`${name} `),
    ])
  expect(await filesIn(release)).toEqual(['package.json'])
})

test('links that leave a package, lead nowhere or in circles are refused', async () => {
  await tree(folder, { 'secret.txt': '' })
  for (const target of ['../../../secret.txt', '/etc/hostname', '../b', 'nowhere', '.', 'x']) {
    await tree(join(host, 'a'), packageFiles('1.0.0'))
    await tree(join(host, 'b'), packageFiles('1.0.0'))
    await symlink(target, join(host, 'a/x'))
    expect((await codeOf(provide(release, { a: join(host, 'a') })))[0]).toBe('PROVIDED_UNSAFE')
    await rm(join(host, 'a/x'))
  }
})

test('nothing is written outside of the release', async () => {
  await tree(join(host, 'a'), packageFiles('1.0.0'))
  expect((await codeOf(provide(release, { '../a': join(host, 'a') })))[0]).toBe('PROVIDED_UNSAFE')
  await mkdir(join(folder, 'elsewhere'))
  await symlink(join(folder, 'elsewhere'), join(release, 'node_modules'))
  expect((await codeOf(provide(release, { a: join(host, 'a') })))[0]).toBe('PROVIDED_UNSAFE')
  expect(await readdir(join(folder, 'elsewhere'))).toEqual([])
})

test('a package that is linked into the host is found where it really is', async () => {
  await tree(join(folder, 'work/a'), packageFiles('1.0.0', { b: '*' }))
  await tree(join(folder, 'work/node_modules/b'), packageFiles('1.0.0'))
  await mkdir(host, { recursive: true })
  await symlink(join(folder, 'work/a'), join(host, 'a'))
  await provide(release, { a: join(host, 'a') })
  expect((await lstat(join(release, 'node_modules/a'))).isSymbolicLink()).toBe(false)
  expect(await filesIn(join(release, 'node_modules/a/node_modules'))).toEqual(['b/index.js', 'b/package.json'])
})

// ---- native modules

const bogus = 'this is no shared object'
const node = process.execPath

test('node-pty, as provided to a release, loads there; without its native file it is refused', async () => {
  const provided = await provide(release, { 'node-pty': nodePty })
  const names = provided.map(({ name }) => name)
  await checkNatives({ release, provided: names, node })

  const file = `node_modules/node-pty/prebuilds/${process.platform}-${process.arch}/pty.node`
  await writeFile(join(release, file), bogus)
  expect(await checkNatives({ release, provided: names, node }).catch((error) => error)).toMatchObject({
    code: 'NATIVE_UNLOADABLE',
    details: { file, provided: true },
  })
  await rm(join(release, file))
  const missing = await checkNatives({ release, provided: names, node }).catch((error) => error)
  expect(missing).toMatchObject({ code: 'NATIVE_UNLOADABLE', details: { file: 'node-pty', provided: true } })
  expect(missing.message).toMatch(/Failed to load native module: pty.node/)
})

test('a bogus native file of the release itself is held against the release, and named with the reason', async () => {
  await tree(release, { 'dist/x.node': bogus })
  const error = await checkNatives({ release, provided: [], node }).catch((error) => error)
  expect(error).toMatchObject({ code: 'NATIVE_UNLOADABLE', details: { file: 'dist/x.node', provided: false } })
  expect(error.message).toMatch(/^dist\/x\.node cannot be loaded: .*(invalid ELF|file too short|not a mach-o)/i)
})

test('native files for other systems are not loaded', async () => {
  await tree(release, {
    'prebuilds/sunos-s390x/x.node': bogus,
    'node_modules/x-win32-x64/x.node': bogus,
    'x.musl.glibc.abi1.node': bogus,
  })
  await checkNatives({ release, provided: [], node })
})

test('a provided package that crashes, hangs in an import or is only for import() is judged in its own process', async () => {
  await tree(join(release, 'node_modules/crash'), { 'index.js': 'process.abort()', 'package.json': '{}' })
  await tree(join(release, 'node_modules/modern'), {
    'package.json': '{ "type": "module", "exports": { "import": "./x.js" } }',
    'x.js': 'setInterval(() => {}, 60_000); export const x = 1',
  })
  await checkNatives({ release, provided: ['modern'], node })
  expect((await codeOf(checkNatives({ release, provided: ['crash'], node })))[1]).toMatch(/^crash cannot be loaded/)
})

test.each([
  ['prebuilds/linux-x64/pty.node', true],
  ['prebuilds/linux-arm64/pty.node', false],
  ['prebuilds/darwin-x64/pty.node', false],
  ['prebuilds/darwin-x64+arm64/node.napi.node', false],
  ['prebuilds/linux-x64/node.napi.glibc.node', true],
  ['prebuilds/linux-x64/node.napi.musl.node', false],
  ['prebuilds/linux-x64/electron.abi115.node', false],
  ['prebuilds/linux-x64/node.abi115.node', true],
  ['prebuilds/linux-x64/node.abi108.node', false],
  ['node_modules/@x/y-linux-x64-gnu/y.linux-x64-gnu.node', true],
  ['node_modules/@x/y-linux-x64-musl/y.linux-x64-musl.node', false],
  ['build/Release/pty.node', true],
  ['lib/binding/napi-v8/x.node', true],
])('%s is meant for Node 20 on Linux with glibc on x64: %s', (file, meant) => {
  const facts = { version: '20.20.0', platform: 'linux', arch: 'x64', modules: '115', musl: false, electron: false }
  expect(isMeantFor(facts, file)).toBe(meant)
})

// ---- node and entry

test('a Node executable tells its version, again after the file has changed', async () => {
  expect(await nodeVersionOf(node)).toBe(process.versions.node)
  expect(await inspectNode(node)).toMatchObject({ platform: process.platform, arch: process.arch, electron: false })
  const script = join(folder, 'node')
  const facts = (version: string) =>
    `#!/bin/sh\necho '${JSON.stringify({ version, platform: 'linux', arch: 'x64', modules: '1', musl: false, electron: false })}'\n`
  await writeFile(script, facts('1.2.3'), { mode: 0o755 })
  expect(await nodeVersionOf(script)).toBe('1.2.3')
  await writeFile(script, facts('10.2.3'))
  expect(await nodeVersionOf(script)).toBe('10.2.3')
  await writeFile(script, '#!/bin/sh\necho hello\n')
  await expect(nodeVersionOf(script)).rejects.toMatchObject({ code: 'NODE_UNUSABLE' })
  await expect(nodeVersionOf(join(folder, 'none'))).rejects.toMatchObject({ code: 'NODE_UNUSABLE' })
})

test('engines are read as npm reads them', () => {
  expect(enginesSatisfied(undefined, '20.20.0')).toBe(true)
  expect(enginesSatisfied('', '20.20.0')).toBe(true)
  expect(enginesSatisfied('>=22', '20.20.0')).toBe(false)
  expect(enginesSatisfied('>=20 <23', '20.20.0')).toBe(true)
  expect(enginesSatisfied('>=22', '23.0.0-nightly1')).toBe(true)
  expect(enginesSatisfied('whatever', '20.20.0')).toBe(false)
})

test('an entry is a plain file inside the release, reached without a link', async () => {
  await tree(release, { 'dist/cli.js': '', 'dist/folder/x': '' })
  await symlink('dist', join(release, 'linked'))
  await symlink('cli.js', join(release, 'dist/linked.js'))
  expect(await entryPath(release, './dist/cli.js')).toBe(join(release, 'dist/cli.js'))
  for (const entry of [
    '',
    '.',
    'dist',
    'dist/folder',
    'dist/none.js',
    '../release/dist/cli.js',
    'linked/cli.js',
    'dist/linked.js',
    'dist/cli.js/x',
  ])
    await expect(entryPath(release, entry)).rejects.toMatchObject({ code: 'ENTRY_MISSING' })
})
