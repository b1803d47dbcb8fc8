import { mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bundleIdentity, isBundle, packBundle } from '../../src/packages/bundle.ts'
import { type TreeLimits, treeLimits } from '../../src/packages/limits.ts'
import { identityOf } from '../../src/packages/spec.ts'
import { unpack } from '../../src/packages/unpack.ts'
import { type ZipEnd, type ZipEntry, zip } from '../support/zip.ts'

let directory: string
beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-bundle-')))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const manifest: ZipEntry = { path: 'manifest.json', content: JSON.stringify({ name: 'notes', version: '1.0.0' }) }

async function written(bytes: Uint8Array): Promise<string> {
  const file = join(directory, 'notes.mcpb')
  await writeFile(file, bytes)
  return file
}

/** Goes the way that every bundle goes: into an archive, and from there into a folder. */
async function unpacked(bytes: Uint8Array, limits: Partial<TreeLimits> = {}): Promise<string> {
  const archive = join(directory, 'package.tgz')
  const tree = join(directory, 'tree')
  await packBundle(await written(bytes), archive, undefined, { ...treeLimits, ...limits })
  await unpack(archive, tree, { limits })
  return join(tree, 'bundle')
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'nothing was refused',
    ({ code }) => code,
  )

test('a bundle is unpacked as it is, with what may be executed, empty folders and long names', async () => {
  const long = `${'folder/'.repeat(20)}${'ü'.repeat(60)}.txt`
  const large = Buffer.alloc(300_000, 'abc')
  const tree = await unpacked(
    zip([
      manifest,
      { path: 'empty/', mode: 0o040755 },
      { path: 'run', content: '#!/bin/sh', mode: 0o100755 },
      { path: 'plain', content: 'stored', method: 0, mode: 0 },
      { path: long, content: large },
    ]),
  )
  expect((await readdir(tree)).sort()).toEqual(['empty', 'folder', 'manifest.json', 'plain', 'run'])
  expect((await stat(join(tree, 'run'))).mode & 0o111).not.toBe(0)
  expect((await stat(join(tree, 'plain'))).mode & 0o111).toBe(0)
  expect(await readFile(join(tree, 'plain'), 'utf8')).toBe('stored')
  expect((await readFile(join(tree, long))).equals(large)).toBe(true)
})

test('the same bundle becomes the same archive', async () => {
  const file = await written(zip([manifest, { path: 'a', content: 'b' }]))
  const [one, other] = [join(directory, 'one'), join(directory, 'other')]
  await packBundle(file, one)
  await packBundle(file, other)
  expect((await readFile(one)).equals(await readFile(other))).toBe(true)
})

const link = { path: 'link', content: '/etc/passwd', mode: 0o120777 }
const file = { path: 'file', content: 'content' }

test.each<[what: string, code: string, entries: readonly ZipEntry[], end?: ZipEnd]>([
  ['a symlink', 'TREE_UNSAFE', [link]],
  ['a device', 'TREE_UNSAFE', [{ ...file, mode: 0o020644 }]],
  ['a pipe', 'TREE_UNSAFE', [{ ...file, mode: 0o010644 }]],
  ['a folder that calls itself a file', 'TREE_UNSAFE', [{ path: 'folder/' }]],
  ['a path that climbs out', 'TREE_UNSAFE', [{ ...file, path: '../evil' }]],
  ['a path that climbs in between', 'TREE_UNSAFE', [{ ...file, path: 'a/../../evil' }]],
  ['an absolute path', 'TREE_UNSAFE', [{ ...file, path: '/etc/evil' }]],
  ['a drive letter', 'TREE_UNSAFE', [{ ...file, path: 'C:/evil' }]],
  ['a backslash', 'TREE_UNSAFE', [{ ...file, path: 'a\\evil' }]],
  ['a control character', 'TREE_UNSAFE', [{ ...file, path: 'a\n30 path=evil' }]],
  ['an end of text in a name', 'TREE_UNSAFE', [{ ...file, path: 'good\0.evil' }]],
  ['no name', 'TREE_UNSAFE', [{ ...file, path: '' }]],
  ['two names for one file', 'TREE_UNSAFE', [file, { ...file, path: 'FILE' }]],
  ['a file twice', 'TREE_UNSAFE', [file, file]],
  ['a file that is a folder, too', 'TREE_UNSAFE', [file, { ...file, path: 'file/in' }]],
  ['too deep a path', 'TREE_UNSAFE', [{ ...file, path: `${'d/'.repeat(70)}f` }]],
  ['an encrypted entry', 'BUNDLE_INVALID', [{ ...file, flags: 0x801 }]],
  ['a strongly encrypted entry', 'BUNDLE_INVALID', [{ ...file, flags: 0x841 }]],
  ['another compression', 'BUNDLE_INVALID', [{ ...file, method: 12 }]],
  ['more content than it says', 'BUNDLE_INVALID', [{ ...file, lies: { size: 3 } }]],
  ['less content than it says', 'BUNDLE_INVALID', [{ ...file, lies: { size: 4000 } }]],
  ['less packed content than it says', 'BUNDLE_INVALID', [{ ...file, lies: { packedSize: 4 } }]],
  ['other content than it was', 'BUNDLE_INVALID', [{ ...file, lies: { crc: 1 } }]],
  ['content in a folder', 'BUNDLE_INVALID', [{ path: 'folder/', content: 'x', mode: 0o040755 }]],
  ['two names for one content', 'BUNDLE_INVALID', [{ ...file, beforeContent: { path: 'evil' } }]],
  ['two sizes for one content', 'BUNDLE_INVALID', [{ ...file, beforeContent: { size: 6 } }]],
  ['two entries in one place', 'BUNDLE_INVALID', [file, { ...file, inDirectory: { start: 0, path: 'manifest.json' } }]],
  ['an entry beyond the end', 'BUNDLE_INVALID', [{ ...file, inDirectory: { start: 1_000_000 } }]],
  ['an entry in the directory', 'BUNDLE_INVALID', [{ ...file, lies: { packedSize: 60 } }]],
  ['fewer entries than it says', 'BUNDLE_INVALID', [file], { count: 3 }],
  ['more entries than it says', 'BUNDLE_INVALID', [file], { count: 1 }],
  ['a directory elsewhere', 'BUNDLE_INVALID', [file], { directoryStart: 1 }],
  ['a shorter directory than it says', 'BUNDLE_INVALID', [file], { directoryLength: 500 }],
  ['something behind the directory', 'BUNDLE_INVALID', [file], { beforeEnd: Buffer.alloc(20) }],
  ['something behind the end', 'BUNDLE_INVALID', [file], { after: Buffer.from('more') }],
  ['another end in its comment', 'BUNDLE_INVALID', [file], { comment: zip([link]).subarray(-22) }],
  ['a signature that is not whole', 'BUNDLE_INVALID', [file], { after: Buffer.from('MCPB_SIG_V1....MCPB_SIG_END') }],
  ['a wider end', 'BUNDLE_INVALID', [file], { ...widerEnd(), count: 0xffff, directoryStart: 0xffffffff }],
  ['a wider end beside the plain one', 'BUNDLE_INVALID', [file], widerEnd()],
  ['too many bytes', 'TREE_TOO_LARGE', [{ ...file, lies: { size: 0xfffffff0 } }]],
  ['a bomb', 'TREE_BOMB', [{ path: 'bomb', content: Buffer.alloc(64 * 1024 * 1024) }]],
])('a bundle with %s is refused, and nothing of it is unpacked', async (_, code, entries, end) => {
  const bytes = zip([manifest, ...entries], end)
  expect(await codeOf(unpacked(bytes))).toBe(code)
  expect(await readdir(directory)).not.toContain('tree')
})

/** Before the end: that the directory is somewhere else, as archives of many gigabytes say it. */
function widerEnd(): ZipEnd {
  const record = Buffer.alloc(56)
  record.writeUInt32LE(0x06064b50, 0)
  const locator = Buffer.alloc(20)
  locator.writeUInt32LE(0x07064b50, 0)
  return { beforeEnd: Buffer.concat([record, locator]) }
}

test('a wider end that is hidden in a comment, and leads to another directory of the same length, is not believed', async () => {
  const locator = Buffer.alloc(20)
  locator.writeUInt32LE(0x07064b50, 0)
  const entries = (mode: number) => [manifest, { ...file, mode, comment: locator }]
  const [plain, other] = [zip(entries(0o100644)), zip(entries(0o100755))]
  const start = plain.readUInt32LE(plain.length - 6)
  // The content, the other directory and the wider end that names it, and then the directory that everybody sees.
  const wider = Buffer.alloc(56)
  wider.writeUInt32LE(0x06064b50, 0)
  wider.writeUInt32LE(2, 32)
  wider.writeUInt32LE(start, 48)
  const head = Buffer.concat([plain.subarray(0, start), other.subarray(start, -22), wider])
  locator.writeUInt32LE(head.length - wider.length, 8)
  const seen = zip(entries(0o100644)).subarray(start)
  seen.writeUInt32LE(head.length, seen.length - 6)
  expect(await codeOf(unpacked(Buffer.concat([head, seen])))).toBe('BUNDLE_INVALID')
})

test('an entry within the content of another one is refused: it would be unpacked twice', async () => {
  const inner = zip([file])
  const content = inner.subarray(0, inner.readUInt32LE(inner.length - 6))
  const outer = { path: 'outer', content, method: 0 }
  const within = { ...file, isOnlyListed: true, inDirectory: { start: 30 + outer.path.length } } as const
  expect(await codeOf(unpacked(zip([outer, within])))).toBe('BUNDLE_INVALID')
})

test('a bomb costs no disk', async () => {
  const bomb = await written(zip([manifest, { path: 'bomb', content: Buffer.alloc(64 * 1024 * 1024) }]))
  const archive = join(directory, 'package.tgz')
  expect(await codeOf(packBundle(bomb, archive))).toBe('TREE_BOMB')
  expect((await stat(archive)).size).toBeLessThan(1000)
})

test('limits hold: entries, and bytes', async () => {
  const many = zip(Array.from({ length: 20 }, (_, at) => ({ path: `file-${at}` })))
  expect(await codeOf(unpacked(many, { entries: 10 }))).toBe('TREE_TOO_MANY_FILES')
  expect(await codeOf(unpacked(zip([{ path: 'a', content: 'x'.repeat(100) }]), { bytes: 50 }))).toBe('TREE_TOO_LARGE')
})

test('cut at any byte it is refused', async () => {
  const bytes = zip([manifest, { path: 'a', content: 'some content' }])
  for (let length = 0; length < bytes.length; length += 1)
    expect(await codeOf(unpacked(bytes.subarray(0, length))), `${length} bytes`).toBe('BUNDLE_INVALID')
})

test('with any bit of it flipped it is refused, or holds what it held', async () => {
  const bytes = zip([manifest, { path: 'a', content: 'some content', method: 0 }])
  for (let at = 0; at < bytes.length; at += 1) {
    const flipped = Buffer.from(bytes)
    flipped[at]! ^= 1 << (at % 8)
    await rm(join(directory, 'tree'), { recursive: true, force: true })
    const tree = await unpacked(flipped).catch((error) => {
      expect(['BUNDLE_INVALID', 'TREE_UNSAFE', 'TREE_TOO_LARGE', 'TREE_BOMB'], `byte ${at}: ${error}`).toContain(
        error.code,
      )
      return null
    })
    if (tree === null) continue
    const contents = await Promise.all((await readdir(tree)).map((name) => readFile(join(tree, name), 'utf8')))
    expect(contents.sort(), `byte ${at}`).toEqual([manifest.content, 'some content'].sort())
  }
})

test('a signature behind it is passed over, whether or not it is said to be its comment', async () => {
  const signature = Buffer.concat([
    Buffer.from('MCPB_SIG_V1'),
    Buffer.from([5, 0, 0, 0]),
    Buffer.from('12345'),
    Buffer.from('MCPB_SIG_END'),
  ])
  for (const end of [{ after: signature }, { comment: signature }]) {
    expect(await readdir(await unpacked(zip([manifest], end)))).toEqual(['manifest.json'])
    await rm(join(directory, 'tree'), { recursive: true })
  }
})

test('it is known by what it is called, or by what it is, and says its name itself', async () => {
  const bytes = zip([{ path: 'server/', mode: 0o040755 }, manifest])
  const bundle = await written(bytes)
  expect(await isBundle(bundle)).toBe(true)
  expect(await bundleIdentity(bundle)).toEqual({ name: 'notes', version: '1.0.0' })
  await writeFile(join(directory, 'other'), bytes)
  expect(await identityOf(join(directory, 'other'), 'app')).toEqual({ name: 'notes', version: '1.0.0', kind: 'bundle' })
  await writeFile(join(directory, 'empty.mcpb'), '')
  expect(await codeOf(identityOf(join(directory, 'empty.mcpb'), 'app'))).toBe('BUNDLE_INVALID')
  expect(await codeOf(identityOf(bundle, 'plugin'))).toBe('PLUGIN_SPEC_INVALID')
})

test.each([
  ['none', [{ path: 'a' }]],
  ['no JSON', [{ path: 'manifest.json', content: '{' }]],
  ['no name', [{ path: 'manifest.json', content: '{"version":"1.0.0"}' }]],
  ['no version', [{ path: 'manifest.json', content: '{"name":"a","version":"one"}' }]],
  ['too large a one', [{ path: 'manifest.json', content: ' '.repeat(2 * 1024 * 1024) }]],
])('a bundle with a manifest that is %s is nobody', async (_, entries) => {
  expect(await codeOf(bundleIdentity(await written(zip(entries))))).toBe('APP_MANIFEST_INVALID')
})
