import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { type UnpackOptions, unpack } from '../../src/packages/unpack.ts'
import { type HostileTree, hostileTree, type TarEntry, tarball } from '../../src/testing/tarball.ts'
import { failure, listing, scratch, text } from './support.ts'

const manifest = { path: 'package/package.json', content: '{"name":"tool","version":"1.0.0"}' }

/** Unpacks an archive into a directory of its own and says how that ended and what is on disk. */
async function unpacked(archive: readonly TarEntry[] | Uint8Array, options: UnpackOptions = {}) {
  await using directory = await scratch()
  const file = join(directory.path, 'in.tgz')
  await writeFile(file, archive instanceof Uint8Array ? archive : tarball(archive))
  const error = await unpack(file, join(directory.path, 'tree'), options).then(
    () => null,
    (error) => error,
  )
  return { code: error?.code, message: error?.message, retry: error?.retry, left: await listing(directory.path) }
}

test('a package is unpacked without its outer folder, small and large files alike', async () => {
  await using directory = await scratch()
  const large = Buffer.alloc(3_000_000, 'large file ')
  const file = join(directory.path, 'in.tgz')
  await writeFile(
    file,
    tarball([
      manifest,
      { path: 'package/lib/', type: '5' },
      { path: 'package/lib/empty.js' },
      { path: 'package/lib/deep/large.bin', content: large },
      { path: 'package/bin/tool', content: '#!/bin/sh\n', mode: 0o755 },
      { path: `package/${'long-name/'.repeat(15)}file.js`, content: 'export {}' },
    ]),
  )
  const tree = join(directory.path, 'tree')
  expect(await unpack(file, tree)).toEqual({ files: 5, bytes: 3_000_000 + 33 + 10 + 9 })
  expect((await readFile(join(tree, 'lib/deep/large.bin'))).equals(large)).toBe(true)
  expect(await text(join(tree, 'lib/empty.js'))).toBe('')
  expect(await text(join(tree, 'long-name/'.repeat(15), 'file.js'))).toBe('export {}')
  const modeOf = async (path: string) => (await stat(join(tree, path))).mode & 0o7777
  const umask = process.umask()
  expect(await modeOf('bin/tool')).toBe(0o755 & ~umask)
  expect(await modeOf('package.json')).toBe(0o644 & ~umask)
  expect(await modeOf('lib')).toBe(0o755 & ~umask)
})

test('a package may bring a release.json, and a seal deeper down, which mean nothing there', async () => {
  expect((await unpacked(dotted('package/release.json'))).code).toBeUndefined()
  expect((await unpacked(dotted('package/lib/.complete'))).code).toBeUndefined()
})

test('no special bit of a mode survives', async () => {
  await using directory = await scratch()
  const file = join(directory.path, 'in.tgz')
  await writeFile(file, tarball(hostileTree('set-uid', 'tool', '1.0.0')))
  await unpack(file, join(directory.path, 'tree'))
  expect((await stat(join(directory.path, 'tree/tool'))).mode & 0o7777).toBe(0o755 & ~process.umask())
})

test.each<[HostileTree, string, string]>([
  ['symlink', 'TREE_UNSAFE', 'SymbolicLink'],
  ['hard-link', 'TREE_UNSAFE', 'type Link'],
  ['device', 'TREE_UNSAFE', 'CharacterDevice'],
  ['fifo', 'TREE_UNSAFE', 'FIFO'],
  ['parent-path', 'TREE_UNSAFE', '".." in its path'],
  ['absolute-path', 'TREE_UNSAFE', 'absolute'],
  ['drive-letter', 'TREE_UNSAFE', 'drive letter'],
  ['backslash', 'TREE_UNSAFE', 'backslash'],
  ['case-collision', 'TREE_UNSAFE', 'same name as'],
  ['file-as-directory', 'TREE_UNSAFE', 'twice'],
  ['duplicate', 'TREE_UNSAFE', 'twice'],
  ['control-character', 'TREE_UNSAFE', 'control'],
  ['deep-path', 'TREE_UNSAFE', 'deep'],
  ['reserved-name', 'TREE_UNSAFE', 'only an installer'],
  ['bomb', 'TREE_BOMB', '100 times'],
  ['many-files', 'TREE_TOO_MANY_FILES', '50000'],
])('a package with a %s is refused whole: %s', async (kind, code, why) => {
  const { message, ...end } = await unpacked(hostileTree(kind, 'tool', '1.0.0'))
  expect(end).toEqual({ code, retry: false, left: ['in.tgz'] })
  expect(message).toContain(why)
})

const dotted = (path: string): TarEntry[] => [manifest, { path, content: 'x' }]
const extended = (record: string): TarEntry[] => [
  manifest,
  { path: 'PaxHeader', type: 'x', content: `${record.length + 4} ${record}\n` },
  { path: 'package/innocent.js', content: 'x' },
]

test.each<[string, readonly TarEntry[]]>([
  ['the seal in capitals', dotted('package/.COMPLETE')],
  ['a folder under the name of the seal', dotted('package/.complete/inside')],
  ['a doubled slash', dotted('package//index.js')],
  ['a single dot', dotted('./package/index.js')],
  ['a name of 300 bytes', dotted(`package/${'n'.repeat(300)}`)],
  ['a path of 2000 bytes', dotted(`package/${'name/'.repeat(400)}file`)],
  ['bytes that are no UTF-8', dotted('package/\ufffd.js')],
  ['names that differ by composition', [...dotted('package/\u00e9.js'), { path: 'package/e\u0301.js', content: 'y' }]],
  ['folders that differ by case', [...dotted('package/Lib/a.js'), { path: 'package/lib/b.js', content: 'y' }]],
  ['a folder where a file was', [...dotted('package/a'), { path: 'package/a/', type: '5' }]],
  ['a file where a folder was', [...dotted('package/a/b'), { path: 'package/a', content: 'y' }]],
  ['a path hidden in an extended header', extended('path=package/../../out')],
  ['a block device', [manifest, { path: 'package/disk', type: '4' }]],
  ['an entry type nobody knows', [manifest, { path: 'package/what', type: 'Z' }]],
  ['a sparse file', [manifest, { path: 'package/sparse', type: 'S' }]],
  ['metadata of 2 MiB', [manifest, { path: 'PaxHeader', type: 'x', content: Buffer.alloc(2 << 20, 'a') }]],
])('also refused: %s', async (_, entries) => {
  expect(await unpacked(entries)).toMatchObject({ code: 'TREE_UNSAFE', left: ['in.tgz'] })
})

test('limits hold for the sum of all files, for folders nobody listed, and for the archive itself', async () => {
  const two = [
    manifest,
    { path: 'package/a', content: 'a'.repeat(600) },
    { path: 'package/b', content: 'b'.repeat(600) },
  ]
  expect(await unpacked(two, { limits: { bytes: 1000 } })).toMatchObject({ code: 'TREE_TOO_LARGE', left: ['in.tgz'] })
  const folders = dotted('package/a/b/c/d/e.js')
  expect((await unpacked(folders, { limits: { entries: 6 } })).code).toBeUndefined()
  expect((await unpacked(folders, { limits: { entries: 5 } })).code).toBe('TREE_TOO_MANY_FILES')
  const listed = [manifest, { path: 'package/a/', type: '5' }, { path: 'package/a/b/', type: '5' }]
  expect((await unpacked(listed, { limits: { entries: 3 } })).code).toBeUndefined()
  // One that claims far more than it brings is cut short, and costs no more than what it brings.
  expect((await unpacked(extended('size=8000000000000'))).code).toBe('TARBALL_INVALID')
  // Nothing but empty blocks: no entry ever says a size.
  const blocks = gzipSync(Buffer.alloc(1_000_000))
  expect((await unpacked(blocks, { limits: { bytes: 500_000 } })).code).toBe('TREE_TOO_LARGE')
})

test('what is not a whole archive is TARBALL_INVALID, wherever it is cut', async () => {
  const whole = tarball([manifest, { path: 'package/a.js', content: 'a'.repeat(3000) }])
  const { gunzipSync } = await import('node:zlib')
  const plain = gunzipSync(whole)
  const damaged = Buffer.from(plain)
  damaged[1024 + 3]! ^= 1
  const cases: Record<string, Uint8Array> = {
    empty: new Uint8Array(),
    'not compressed': plain,
    'cut while compressed': whole.subarray(0, whole.length - 20),
    'cut in a file': gzipSync(plain.subarray(0, 3000)),
    'a header with a wrong checksum': gzipSync(damaged),
    'no archive at all': gzipSync(Buffer.from('hello')),
    'noise of a block': gzipSync(Buffer.alloc(2048, 'noise')),
  }
  for (const [what, bytes] of Object.entries(cases))
    expect([what, await unpacked(bytes)]).toMatchObject([what, { code: 'TARBALL_INVALID', left: ['in.tgz'] }])
})

test('a file beside the package’s folder is passed over, as npm does', async () => {
  expect((await unpacked([{ path: '._package', content: 'finder' }, manifest])).left).toEqual([
    'in.tgz',
    'tree/',
    'tree/package.json',
  ])
})

test('a directory that holds something is neither written to nor emptied', async () => {
  await using directory = await scratch()
  const tree = join(directory.path, 'tree')
  await mkdir(tree)
  await writeFile(join(tree, 'mine'), 'mine')
  await writeFile(join(directory.path, 'in.tgz'), tarball([manifest]))
  expect((await failure(unpack(join(directory.path, 'in.tgz'), tree))).code).toBe('UNPACK_TARGET_NOT_EMPTY')
  expect(await listing(directory.path)).toEqual(['in.tgz', 'tree/', 'tree/mine'])
})

test('an empty directory may be there already, and stays when the package is refused', async () => {
  await using directory = await scratch()
  const tree = join(directory.path, 'tree')
  await mkdir(tree)
  await writeFile(join(directory.path, 'in.tgz'), tarball(hostileTree('symlink', 'tool', '1.0.0')))
  expect((await failure(unpack(join(directory.path, 'in.tgz'), tree))).code).toBe('TREE_UNSAFE')
  expect(await listing(directory.path)).toEqual(['in.tgz', 'tree/'])
})

test('cancelling while files are being written leaves nothing of them', async () => {
  await using directory = await scratch()
  const many = Array.from({ length: 10_000 }, (_, index) => ({
    path: `package/d${index % 50}/${index}.js`,
    content: 'x',
  }))
  const file = join(directory.path, 'in.tgz')
  const tree = join(directory.path, 'tree')
  await writeFile(file, tarball([manifest, ...many]))
  const controller = new AbortController()
  const unpacking = failure(unpack(file, tree, { signal: controller.signal, limits: { ratio: 10_000 } }))
  while (!(await stat(join(tree, 'd0')).catch(() => null))) await new Promise((resolve) => setTimeout(resolve, 1))
  controller.abort()
  expect((await unpacking).code).toBe('ABORTED')
  expect(await listing(directory.path)).toEqual(['in.tgz'])
})

test('three thousand small files all arrive', async () => {
  await using directory = await scratch()
  const many = Array.from({ length: 3_000 }, (_, index) => ({
    path: `package/d${index % 50}/${index}`,
    content: `${index}`,
  }))
  const file = join(directory.path, 'in.tgz')
  await writeFile(file, tarball([manifest, ...many]))
  expect((await unpack(file, join(directory.path, 'tree'))).files).toBe(3_001)
  for (const index of [0, 1_499, 2_999])
    expect(await text(join(directory.path, 'tree', `d${index % 50}`, `${index}`))).toBe(`${index}`)
})
