import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readManifest } from '../../src/packages/read-manifest.ts'
import { failure, scratch } from './support.ts'

const expected = { name: '@scope/tool', version: '1.2.3' }

async function reading(content: string | Uint8Array | null) {
  await using directory = await scratch()
  if (content !== null) await writeFile(join(directory.path, 'package.json'), content)
  return await readManifest(directory.path, expected)
}

test('the manifest is read from the package itself', async () => {
  const manifest = {
    ...expected,
    type: 'module',
    bin: './tool.js',
    engines: { node: '>=20' },
    dependencies: { a: '^1' },
    optionalDependencies: { b: '*' },
    peerDependencies: { c: '1 - 2' },
    bundleDependencies: ['a'],
    scripts: { postinstall: 'never run' },
  }
  const { scripts, ...kept } = manifest
  expect(await reading(JSON.stringify(manifest))).toEqual({ ...kept, bin: { tool: './tool.js' } })
})

test('what is not said is empty, and `type` is commonjs', async () => {
  expect(await reading(`\ufeff${JSON.stringify(expected)}`)).toEqual({
    ...expected,
    type: 'commonjs',
    bin: {},
    engines: {},
    dependencies: {},
    optionalDependencies: {},
    peerDependencies: {},
    bundleDependencies: [],
  })
})

test('both spellings of bundled dependencies count, and `true` means all', async () => {
  const of = async (more: object) =>
    (await reading(JSON.stringify({ ...expected, dependencies: { a: '1', b: '2' }, ...more }))).bundleDependencies
  expect(await of({ bundledDependencies: ['a'] })).toEqual(['a'])
  expect(await of({ bundleDependencies: true })).toEqual(['a', 'b'])
})

test('a version is compared as the registry lists it', async () => {
  expect((await reading(JSON.stringify({ ...expected, version: 'v1.2.3+build.5' }))).version).toBe('1.2.3')
})

test.each([
  { ...expected, name: 'tool' },
  { ...expected, version: '1.2.4' },
  { ...expected, version: 'one' },
])('another package or version is MANIFEST_MISMATCH: %j', async (manifest) => {
  expect(await failure(reading(JSON.stringify(manifest)))).toMatchObject({ code: 'MANIFEST_MISMATCH', retry: false })
})

test.each<[string, string | Uint8Array | null]>([
  ['missing', null],
  ['cut', '{"name":"@scope/to'],
  ['no object', '[]'],
  ['without a version', '{"name":"@scope/tool"}'],
  ['with dependencies that are no ranges', JSON.stringify({ ...expected, dependencies: { a: 1 } })],
  ['with dependencies as a list', JSON.stringify({ ...expected, dependencies: ['a'] })],
  ['of more than a MiB', JSON.stringify({ ...expected, description: 'd'.repeat(1 << 20) })],
])('a manifest that is %s is MANIFEST_INVALID', async (_, content) => {
  expect(await failure(reading(content))).toMatchObject({ code: 'MANIFEST_INVALID', retry: false })
})
