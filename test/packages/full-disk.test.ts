import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { fetchTarball } from '../../src/packages/fetch-tarball.ts'
import { unpack } from '../../src/packages/unpack.ts'
import { startRegistry } from '../../src/testing/registry.ts'
import { tarball } from '../../src/testing/tarball.ts'
import { failure, listing, npm, offered, scratch } from './support.ts'

/** What the disk does from now on. Everything but space is real. */
const disk = vi.hoisted(() => ({ full: false, freeBytes: null as number | null }))

vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs/promises')>()
  const noSpace = () => Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }))
  return {
    ...real,
    open: async (...args: Parameters<typeof real.open>) => {
      const handle = await real.open(...args)
      if (disk.full) handle.writeFile = noSpace
      return handle
    },
    statfs: async (path: string) => {
      const found = await real.statfs(path)
      return disk.freeBytes === null ? found : { ...found, bsize: 1, bavail: disk.freeBytes }
    },
  }
})

test('a disk that fills while a tarball arrives is DISK_FULL, and leaves no file', async () => {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('tool', '1.0.0', { 'index.js': 'export {}' })
  const resolved = await offered(registry, 'tool')
  const options = { file: join(directory.path, 'tool.tgz'), npm }
  disk.full = true
  expect(await failure(fetchTarball(resolved, options))).toMatchObject({ code: 'DISK_FULL', retry: true })
  expect(await listing(directory.path)).toEqual([])
  disk.full = false
  await fetchTarball(resolved, options)
})

test('a disk that fills while a package is unpacked is DISK_FULL, and nothing of the package stays', async () => {
  await using directory = await scratch()
  const file = join(directory.path, 'in.tgz')
  const large = { path: 'package/large', content: Buffer.alloc(1_000_000, 'large file ') }
  await writeFile(file, tarball([{ path: 'package/package.json', content: '{}' }, large]))
  await mkdir(join(directory.path, 'there'))
  disk.full = true
  for (const tree of ['there', 'new', 'new/below'])
    expect(await failure(unpack(file, join(directory.path, tree)))).toMatchObject({ code: 'DISK_FULL', retry: true })
  disk.full = false
  expect(await listing(directory.path)).toEqual(['in.tgz', 'there/'])
})

test('a package that cannot fit is not begun, and the error says what is missing', async () => {
  await using directory = await scratch()
  const file = join(directory.path, 'in.tgz')
  await writeFile(file, tarball([{ path: 'package/large', content: Buffer.alloc(5_000) }]))
  disk.freeBytes = 4_999
  const error = await failure(unpack(file, join(directory.path, 'tree')))
  disk.freeBytes = null
  expect(error).toMatchObject({ code: 'DISK_FULL', retry: true, details: { needed: 5_000, free: 4_999 } })
  expect(await listing(directory.path)).toEqual(['in.tgz'])
})
