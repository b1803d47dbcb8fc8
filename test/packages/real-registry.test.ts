import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fetchTarball, type Progress } from '../../src/packages/fetch-tarball.ts'
import { readManifest } from '../../src/packages/read-manifest.ts'
import { resolve } from '../../src/packages/resolve.ts'
import { unpack } from '../../src/packages/unpack.ts'
import { verifySignatures } from '../../src/packages/verify-signatures.ts'
import { listing, scratch } from './support.ts'

// With the machine's own npm configuration and the registry it names, so nothing here says which versions there are.
test.each([
  { name: 'kanban', entry: 'dist/cli.js' },
  { name: 'semver', entry: 'index.js' },
])(
  '$name comes from the registry that npm uses here, is what was promised, and unpacks whole',
  async (expected) => {
    await using directory = await scratch()
    const resolved = await resolve({ package: expected.name, channel: 'latest' })
    if ('notModified' in resolved) throw new Error('no etag was sent')
    const file = join(directory.path, 'package.tgz')
    const tree = join(directory.path, 'tree')
    const heard: Progress[] = []
    await fetchTarball(resolved, { file, onProgress: (progress) => heard.push(progress) })
    expect(heard.at(-1)!.bytes).toBeGreaterThan(1_000)
    await verifySignatures(resolved, { policy: 'prefer' }) // not every registry signs; none may sign wrongly

    const { files, bytes } = await unpack(file, tree)
    expect(await listing(tree)).toContain(expected.entry)
    expect(bytes).toBeGreaterThan(files)
    expect(await readManifest(tree, resolved)).toMatchObject({ name: expected.name, version: resolved.version })
    expect((await readdir(directory.path)).sort()).toEqual(['package.tgz', 'tree'])
  },
  300_000,
)
