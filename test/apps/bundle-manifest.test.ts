import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bundleManifest, knownVersions } from '../../src/apps/bundle-manifest.ts'
import { commandOf } from '../../src/apps/command.ts'
import type { AppManifest } from '../../src/apps/manifest.ts'
import { bundleManifest as manifestOf } from '../support/apps/bundle.ts'

let root: string
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'instar-manifest-')))
})
afterEach(() => rm(root, { recursive: true, force: true }))

const expected = { name: 'notes', version: '1.0.0' }

async function read(manifest: unknown): Promise<AppManifest> {
  await writeFile(join(root, 'manifest.json'), typeof manifest === 'string' ? manifest : JSON.stringify(manifest))
  return bundleManifest(root, expected)
}

/** A good manifest with these fields instead. */
const changed = (fields: object) => read({ ...manifestOf('1.0.0'), ...fields })

const setting = { type: 'string', title: 'A setting', description: 'd' }

test('the schemas are those that the makers of the format publish, every one of them', async () => {
  const ours = fileURLToPath(new URL('../../schema/mcpb/', import.meta.url))
  const theirs = dirname(createRequire(import.meta.url).resolve('@anthropic-ai/mcpb'))
  const published = (await readdir(theirs)).filter((name) => /^mcpb-manifest-v[\d.]+\.schema\.json$/.test(name))
  expect(await readdir(ours)).toEqual(published.sort())
  expect(published.map((name) => /v([\d.]+)\.schema/.exec(name)![1])).toEqual([...knownVersions])
  for (const name of published)
    expect(await readFile(join(ours, name), 'utf8'), name).toBe(await readFile(join(theirs, name), 'utf8'))
})

test.each([...knownVersions])(
  'a manifest of version %s is read, under its new name and its old one',
  async (version) => {
    const { manifest_version: _, ...rest } = manifestOf('1.0.0')
    for (const name of ['manifest_version', 'dxt_version'])
      expect(await read({ [name]: version, ...rest })).toMatchObject({
        ...expected,
        root,
        command: 'node',
        entry: 'server/index.mjs',
        args: ['${__dirname}/server/index.mjs'],
        exclusive: false,
        requires: [],
        settings: {},
        platforms: null,
      })
  },
)

test.each<[at: string, fields: object]>([
  ['manifest_version', { manifest_version: '9.9' }],
  ['manifest_version', { manifest_version: undefined }],
  ['dxt_version', { manifest_version: undefined, dxt_version: '0.0' }],
  ['dxt_version', { dxt_version: '0.1' }],
  ['description', { description: undefined }],
  ['author.name', { author: {} }],
  ['author.email', { author: { name: 'a', email: 'nowhere' } }],
  ['homepage', { homepage: 'not a place' }],
  ['server', { server: undefined }],
  ['server.type', { server: { ...manifestOf('1.0.0').server, type: 'ruby' } }],
  ['server.mcp_config', { server: { type: 'node', entry_point: 'a' } }],
  ['wings', { wings: true }],
  ['user_config.a.type', { user_config: { a: { ...setting, type: 'colour' } } }],
  ['user_config.a.default', { user_config: { a: { ...setting, type: 'number', default: 'many' } } }],
  ['user_config.a.default', { user_config: { a: { ...setting, type: 'number', max: 3, default: 4 } } }],
  ['user_config.a.default', { user_config: { a: { ...setting, default: ['one', 'two'] } } }],
  ['user_config.a.default', { user_config: { a: { ...setting, default: '${data}' } } }],
  ['compatibility.platforms.0', { compatibility: { platforms: ['amiga'] } }],
  ['version', { version: 'one' }],
  ['_meta.instar.exclusive', { _meta: { instar: { exclusive: 'yes' } } }],
])('a manifest that is wrong at %s is refused, and the place is named', async (at, fields) => {
  await expect(changed(fields)).rejects.toMatchObject({
    code: 'APP_MANIFEST_INVALID',
    message: expect.stringMatching(new RegExp(`^${at}: `)),
    details: { at },
  })
})

test('a version of the format that is not known is answered with those that are', async () => {
  await expect(changed({ manifest_version: '9.9' })).rejects.toThrow(
    '"9.9" is not known here; known are 0.1, 0.2, 0.3, 0.4',
  )
})

const config = (fields: object) => ({
  server: { type: 'node', entry_point: 'a', mcp_config: { command: 'node', ...fields } },
})

test.each<[at: string, fields: object]>([
  ['server.mcp_config.args.1', config({ args: ['a', '${user_config.none}'] })],
  ['server.mcp_config.env.A', config({ env: { A: 'x ${HOMES}' } })],
  ['server.mcp_config.command', config({ command: '../up' })],
  ['server.mcp_config.command', config({ command: '/bin/sh' })],
  ['server.mcp_config.command', config({ command: '${user_config.a}/x' })],
  ['server.mcp_config.command', config({ command: 'C:\\windows\\x' })],
])('nothing is filled in, or run, that is not known: %s', async (at, fields) => {
  await expect(changed(fields)).rejects.toMatchObject({ code: 'APP_MANIFEST_INVALID', details: { at } })
})

test('a secret is never an argument, which everybody on the machine could read', async () => {
  const user_config = { key: { ...setting, sensitive: true } }
  await expect(changed({ user_config, ...config({ args: ['--key=${user_config.key}'] }) })).rejects.toMatchObject({
    code: 'APP_MANIFEST_INVALID',
    details: { at: 'server.mcp_config.args.0' },
  })
  const manifest = await changed({ user_config, ...config({ env: { KEY: '${user_config.key}' } }) })
  const install = { args: ['a'], env: {}, credentials: { key: 'name' }, config: {} }
  expect(await commandOf(manifest, install, root, { key: 'secret' })).toMatchObject({
    args: ['a'],
    env: { KEY: 'secret' },
  })
  // Nor one that an install makes of it.
  for (const arg of ['${user_config.key}', '--key=${user_config.key}'])
    await expect(commandOf(manifest, { ...install, args: [arg] }, root, { key: 'secret' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.not.stringContaining('secret'),
    })
})

test.each([
  ['no JSON', '{'],
  ['a list', '[]'],
  ['null', 'null'],
])('a manifest that is %s is refused', async (_, text) => {
  await expect(read(text)).rejects.toMatchObject({ code: 'APP_MANIFEST_INVALID' })
})

test('one that is missing, too large, or of another app is refused', async () => {
  await expect(bundleManifest(root, expected)).rejects.toMatchObject({ code: 'APP_MANIFEST_INVALID' })
  await expect(read(' '.repeat(2 * 1024 * 1024))).rejects.toMatchObject({ code: 'APP_MANIFEST_INVALID' })
  await expect(changed({ name: 'other' })).rejects.toMatchObject({ code: 'MANIFEST_MISMATCH' })
  await expect(changed({ version: '1.0.1' })).rejects.toMatchObject({ code: 'MANIFEST_MISMATCH' })
})

test('what stands for this system is taken instead, field by field', async () => {
  const overrides = { [process.platform]: { command: '${__dirname}/bin/notes' }, other: { command: 'x' } }
  const manifest = await changed(config({ args: ['a'], env: { A: 'b' }, platform_overrides: overrides }))
  expect(manifest).toMatchObject({ command: './bin/notes', args: ['a'], env: { A: 'b' } })
})

test('a program of the host is something that the host has to be able to do', async () => {
  const asked = { _meta: { instar: { requires: ['browser'], exclusive: true } } }
  expect(await changed({ ...config({ command: 'uv' }), ...asked })).toMatchObject({
    command: 'uv',
    requires: ['browser', 'uv'],
    exclusive: true,
  })
})

test('values of several become an argument each, and one text where they are part of one', async () => {
  const user_config = {
    dirs: { ...setting, type: 'directory', multiple: true, default: ['${DESKTOP}', '${DOCUMENTS}'] },
  }
  const manifest = await changed({
    user_config,
    ...config({ args: ['${user_config.dirs}', 'all:${user_config.dirs}'] }),
  })
  const data = join(root, 'data')
  await mkdir(data)
  const nothing = { args: ['${data}'], env: { A: '${data}' }, credentials: {}, config: {} }
  const places = [join(homedir(), 'Desktop'), join(homedir(), 'Documents')]
  expect(await commandOf(manifest, nothing, data, {})).toEqual({
    executable: process.execPath,
    args: [...places, `all:${places.join(',')}`, data],
    env: { A: '${data}', INSTAR_APP_DATA: data },
  })
  // What somebody gives stands as it is.
  const given = { ...nothing, args: [], config: { dirs: [data] } }
  expect((await commandOf(manifest, given, data, {})).args).toEqual([data, `all:${data}`])
})
