import { spawnSync } from 'node:child_process'
import { chmod, mkdir, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { differences, digestOf, readTree } from '../../src/releases/tree.ts'
import { newHome, writeTree } from './home.ts'

const files = { 'b.js': 'b', 'a/z.js': 'z', 'a.js': 'a', 'a/deep/e.txt': '' }

async function newTree() {
  const root = join(await newHome(), 'tree')
  await writeTree(root, files)
  return root
}

test('the listing is the documented text and the digest its SHA-256', async () => {
  const root = await newTree()
  await chmod(join(root, 'b.js'), 0o700)
  await mkdir(join(root, 'empty'))
  await symlink('a.js', join(root, 'link'))
  const tree = await readTree(root)
  expect(tree.listing).toBe(
    [
      'instar-tree 1',
      'd - "a"',
      `- ${digestOf('a')} "a.js"`,
      'd - "a/deep"',
      `- ${digestOf('')} "a/deep/e.txt"`,
      `- ${digestOf('z')} "a/z.js"`,
      `x ${digestOf('b')} "b.js"`,
      'd - "empty"',
      `l ${digestOf('a.js')} "link"`,
      '',
    ].join('\n'),
  )
  expect(tree).toMatchObject({ digest: digestOf(tree.listing), files: 4, bytes: 3 })
})

test('times, and permissions other than the owner’s right to execute, do not matter', async () => {
  const root = await newTree()
  const { digest } = await readTree(root)
  await utimes(join(root, 'a.js'), 1, 1)
  await chmod(join(root, 'a.js'), 0o644)
  expect((await readTree(root)).digest).toBe(digest)
})

test('the order in which files were written does not matter', async () => {
  const root = await newTree()
  const other = join(await newHome(), 'tree')
  await writeTree(other, Object.fromEntries(Object.entries(files).reverse()))
  expect((await readTree(other)).digest).toBe((await readTree(root)).digest)
})

test.each<[string, (root: string) => Promise<unknown>, string[]]>([
  ['a byte', (root) => writeFile(join(root, 'a.js'), 'x'), ['"a.js" was altered']],
  ['a missing file', (root) => unlink(join(root, 'a/deep/e.txt')), ['"a/deep/e.txt" is missing']],
  ['an added file', (root) => writeFile(join(root, 'new'), ''), ['"new" was added']],
  ['the executable bit', (root) => chmod(join(root, 'b.js'), 0o700), ['"b.js" was altered']],
  ['an empty folder', (root) => mkdir(join(root, 'empty')), ['"empty" was added']],
  [
    'a folder in the place of a file',
    async (root) => {
      await rm(join(root, 'b.js'))
      await mkdir(join(root, 'b.js'))
    },
    ['"b.js" was altered'],
  ],
])('%s makes another digest and is named', async (_what, change, named) => {
  const root = await newTree()
  const before = await readTree(root)
  await change(root)
  const after = await readTree(root)
  expect(after.digest).not.toBe(before.digest)
  expect(differences(before.listing, after.listing)).toEqual(named)
})

test('many differences are counted, not all told', async () => {
  const root = await newTree()
  const before = await readTree(root)
  for (let at = 0; at < 15; at += 1) await writeFile(join(root, `new-${at}`), '')
  const told = differences(before.listing, (await readTree(root)).listing)
  expect(told).toHaveLength(11)
  expect(told.at(-1)).toBe('and 5 more')
})

test.each<[string, (root: string) => Promise<unknown>]>([
  ['leads outside', (root) => symlink('../..', join(root, 'out'))],
  ['is absolute, even if it stays inside', (root) => symlink(join(root, 'a.js'), join(root, 'abs'))],
  ['leads nowhere', (root) => symlink('nothing', join(root, 'dangling'))],
  [
    'leads outside by way of another symlink',
    async (root) => {
      await writeFile(join(root, '../b'), 'outside')
      await symlink('../..', join(root, 'a/deep/up'))
      await symlink('a/deep/up/../b', join(root, 'sly'))
    },
  ],
])('a symlink that %s is refused', async (_what, plant) => {
  const root = await newTree()
  await plant(root)
  await expect(readTree(root)).rejects.toMatchObject({ code: 'RELEASE_UNSAFE' })
})

test('a pipe is refused and not waited for', async () => {
  const root = await newTree()
  expect(spawnSync('mkfifo', [join(root, 'pipe')]).status).toBe(0)
  await expect(readTree(root)).rejects.toMatchObject({ code: 'RELEASE_UNSAFE' })
})

test('a path with a line feed cannot pass for two lines', async () => {
  const root = await newTree()
  await writeFile(join(root, 'x"\n- 0 "y'), '')
  const { listing } = await readTree(root)
  expect(listing.trimEnd().split('\n')).toHaveLength(1 + 6 + 1)
})

test('reading stops when it is aborted', async () => {
  await expect(readTree(await newTree(), AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough')
})
