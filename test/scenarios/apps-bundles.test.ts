import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import type { Controller, ControllerOptions } from '../../src/controller.ts'
import { appCode } from '../support/apps/app-code.ts'
import { type BundleOptions, bundle, bundleManifest, mcpb } from '../support/apps/bundle.ts'
import { shellServer } from '../support/apps/shell-server.ts'
import { Host } from '../support/host.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { systemProgram } from '../support/system-program.ts'
import { zip } from '../support/zip.ts'

// Apps that do not come from a registry: MCP bundles made by the official tool, and folders. Real controllers, real processes.

let host: Host
beforeEach(async () => {
  host = await Host.make({ bundled: null })
})
afterEach(() => host[Symbol.asyncDispose]())

const made = (version: string, options?: BundleOptions) => bundle(host.directory, version, options)

async function open(apps: object = {}, options: Partial<ControllerOptions> = {}): Promise<Controller> {
  const { registry } = host.rawConfig() as { registry: string }
  const config = parseConfig({ registry, apps: { handshakeTimeoutMs: 10_000, ...apps } }, host.directory)
  return host.open({ config, ...options })
}

/** An organisation with these workspaces. */
async function organisation(workspaces: readonly string[], apps: object = {}, options?: Partial<ControllerOptions>) {
  const controller = await open(apps, options)
  for (const workspace of workspaces) await controller.workspaces.add(workspace)
  return controller
}

async function said({ apps }: Controller, workspace: string, tool = 'version', args: object = {}) {
  const answer = await apps.call({ workspace, app: 'notes' }, tool, { ...args })
  return (answer as { content: { text: string }[] }).content[0]!.text
}

const facts = async (controller: Controller, workspace: string) =>
  JSON.parse(await said(controller, workspace, 'facts'))

const outcomes = ({ workspaces }: { readonly workspaces: readonly { id: string; outcome: string }[] }) =>
  workspaces.map(({ id, outcome }) => `${id} ${outcome}`)

const versions = (controller: Controller, ...workspaces: string[]) =>
  Promise.all(workspaces.map((workspace) => said(controller, workspace)))

async function releases(): Promise<string[]> {
  const folders = await readdir(join(host.home, 'releases', 'app', 'notes')).catch(() => [])
  return folders.filter((name) => !name.startsWith('.')).map((name) => name.replace(/-[0-9a-f]{12}$/, ''))
}

const failure = { message: expect.any(String) }

test('a bundle is installed, called, upgraded in two workspaces, taken back and removed, and no registry is asked', async () => {
  const [first, second] = [await made('1.0.0'), await made('2.0.0')]
  const controller = await organisation(['a', 'b'])
  const { apps } = controller
  for (const workspace of ['a', 'b'])
    expect(await apps.install(first, { workspace })).toEqual({ app: 'notes', workspace, version: '1.0.0' })
  await said(controller, 'a', 'keep', { text: 'of a' })
  const phases = new Set<unknown>()
  const onProgress = (progress: unknown) => phases.add((progress as { phase: unknown }).phase)
  const upgraded = await apps.upgrade('notes', { to: `./${relative(process.cwd(), second)}`, onProgress })
  expect([...phases]).toEqual(['verifying', 'sealing', 'rolling'])
  expect(upgraded).toMatchObject({ outcome: 'upgraded', from: '1.0.0', to: '2.0.0' })
  expect(outcomes(upgraded)).toEqual(['a upgraded', 'b upgraded'])
  expect(await versions(controller, 'a', 'b')).toEqual(['2.0.0', '2.0.0'])
  expect(await said(controller, 'a', 'kept')).toBe('of a')
  expect((await apps.rollback('notes')).outcome).toBe('upgraded')
  expect(await versions(controller, 'a', 'b')).toEqual(['1.0.0', '1.0.0'])
  await apps.remove('notes', { workspace: 'a' })
  expect(controller.workspaces.list()[0]).toEqual({ id: 'a', apps: [] })
  expect(await said(controller, 'b')).toBe('1.0.0')
  expect(host.registry.requests).toEqual([])
  expect(await host.residue()).toEqual([])
})

test('its seal names the file it came from and the digest of that, and its files lie in a folder of their own', async () => {
  const file = await made('1.0.0')
  const controller = await organisation(['a'])
  await controller.apps.install(`notes@file:${file}`, { workspace: 'a' })
  const [folder] = await readdir(join(host.home, 'releases', 'app', 'notes'))
  const release = join(host.home, 'releases', 'app', 'notes', folder!)
  const digest = createHash('sha512')
    .update(await readFile(file))
    .digest('base64')
  expect(JSON.parse(await readFile(join(release, 'release.json'), 'utf8'))).toMatchObject({
    source: file,
    published: false,
    integrity: `sha512-${digest}`,
  })
  expect(await readdir(join(release, 'content'))).toEqual(['bundle'])
})

test('a version of a bundle that does not come up is kept out, and one that is refused never reaches a workspace', async () => {
  const controller = await organisation(['a', 'b'])
  const { apps } = controller
  const first = await made('1.0.0')
  for (const workspace of ['a', 'b'])
    await apps.install(first, { workspace, env: workspace === 'b' ? { BROKEN: 'yes' } : {} })
  const second = await made('2.0.0', { behaviour: { first: 'if (process.env.BROKEN) process.exit(1)' } })
  expect(outcomes(await apps.upgrade('notes', { to: second }))).toEqual(['a upgraded', 'b kept'])
  const third = await made('3.0.0', { manifest: { compatibility: { platforms: ['win32'] } } })
  expect(await apps.upgrade('notes', { to: third })).toMatchObject({
    outcome: 'rejected',
    code: 'PLATFORM_UNSUPPORTED',
    workspaces: [],
  })
  expect(await versions(controller, 'a', 'b')).toEqual(['2.0.0', '1.0.0'])
  expect(await host.residue()).toEqual([])
})

test('one that was signed by the official tool is read as well', async () => {
  const file = await made('1.0.0')
  const [key, cert] = [join(host.directory, 'key.pem'), join(host.directory, 'cert.pem')]
  const subject = ['-subj', '/CN=Somebody', '-days', '2', '-nodes']
  await promisify(execFile)('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-keyout',
    key,
    '-out',
    cert,
    ...subject,
  ])
  await mcpb('sign', file, '--cert', cert, '--key', key)
  expect((await readFile(file)).toString('latin1')).toContain('MCPB_SIG_END')
  const controller = await organisation(['a'])
  await controller.apps.install(file, { workspace: 'a' })
  expect(await said(controller, 'a')).toBe('1.0.0')
})

test.each([
  ['Node that is another', { manifest: { compatibility: { runtimes: { node: '>=900' } } } }, 'ENGINES_UNMET'],
  ['a file that is not there', { config: { command: '${__dirname}/server/none' } }, 'ENTRY_MISSING'],
  ['a program that may not be executed', { config: { command: 'server/index.mjs' } }, 'APP_MANIFEST_INVALID'],
  ['a program elsewhere', { config: { command: '/bin/sh' } }, 'APP_MANIFEST_INVALID'],
  ['a program above it', { config: { command: '${__dirname}/../x' } }, 'APP_MANIFEST_INVALID'],
  ['Python', { type: 'python', config: { command: 'python3' } }, 'APP_CAPABILITY_MISSING'],
  ['something that nobody knows', { config: { args: ['${nothing}'] } }, 'APP_MANIFEST_INVALID'],
  ['what its host has not', { manifest: { _meta: { instar: { requires: ['wings'] } } } }, 'APP_CAPABILITY_MISSING'],
  ['an unknown word for its host', { manifest: { _meta: { instar: { wings: true } } } }, 'APP_MANIFEST_INVALID'],
] as [string, BundleOptions, string][])(
  'a bundle that needs %s is refused, and nothing is installed',
  async (_, options, code) => {
    const controller = await organisation(['a'])
    await expect(controller.apps.install(await made('1.0.0', options), { workspace: 'a' })).rejects.toMatchObject({
      code,
    })
    expect(await releases()).toEqual([])
    expect(controller.workspaces.list()).toEqual([{ id: 'a', apps: [] }])
    expect(controller.state().runs).toEqual([])
    expect(await host.residue()).toEqual([])
  },
)

test('a hostile bundle is refused, and nothing of it stays', async () => {
  const file = join(host.directory, 'evil.mcpb')
  const manifest = { path: 'manifest.json', content: JSON.stringify(bundleManifest('1.0.0')) }
  await writeFile(file, zip([manifest, { path: 'link', content: '/etc/passwd', mode: 0o120777 }]))
  const controller = await organisation(['a'])
  await expect(controller.apps.install(file, { workspace: 'a' })).rejects.toMatchObject({ code: 'TREE_UNSAFE' })
  await writeFile(file, zip([manifest], { after: Buffer.from('more') }))
  await expect(controller.apps.install(file, { workspace: 'a' })).rejects.toMatchObject({ code: 'BUNDLE_INVALID' })
  expect(await releases()).toEqual([])
  expect(await host.residue()).toEqual([])
})

test('a bundle with a program of its own runs that, and nothing of the host', async () => {
  const file = await made('1.0.0', {
    type: 'binary',
    manifest: {
      server: {
        type: 'binary',
        entry_point: 'bin/notes',
        mcp_config: {
          command: '${__dirname}/bin/other',
          platform_overrides: {
            [process.platform]: { command: 'bin/notes', args: ['${__dirname}'], env: { GREETING: 'from' } },
          },
        },
      },
    },
    files: { 'bin/notes': { content: shellServer('$GREETING $1'), mode: 0o755 } },
  })
  const controller = await organisation(['a'])
  await controller.apps.install(file, { workspace: 'a' })
  expect(await said(controller, 'a')).toMatch(/^from .*\/content\/bundle$/)
})

test('a program of the host is used where the configuration says that the host has it', async () => {
  // Called as Python is, and no more than a server for these tests.
  const programs = join(host.directory, 'programs')
  await mkdir(programs)
  await writeFile(join(programs, 'python3'), shellServer('$GREETING $1'), { mode: 0o755 })
  const path = process.env.PATH
  process.env.PATH = `${programs}:${path}`
  try {
    const controller = await organisation(['a'], { capabilities: ['python3'] })
    const options = { type: 'python', config: { command: 'python3', args: ['it'], env: { GREETING: 'this is' } } }
    const file = await made('1.0.0', options)
    await controller.apps.install(file, { workspace: 'a' })
    expect(await said(controller, 'a')).toBe('this is it')
    await rm(programs, { recursive: true })
    await controller.workspaces.add('b')
    const missing = { code: 'APP_CAPABILITY_MISSING', message: 'there is no program python3 here' }
    process.env.PATH = programs
    await expect(controller.apps.install('notes', { workspace: 'b' })).rejects.toMatchObject(missing)
  } finally {
    process.env.PATH = path
  }
})

const settings = (more: object = {}) => ({
  manifest: {
    user_config: {
      word: { type: 'string', title: 'A word', description: 'd', required: true },
      folders: { type: 'directory', title: 'Folders', description: 'd', multiple: true, default: ['${HOME}/Desktop'] },
      count: { type: 'number', title: 'How many', description: 'd', min: 1, max: 10, default: 5 },
      loud: { type: 'boolean', title: 'Loud', description: 'd', default: false },
      file: { type: 'file', title: 'A file', description: 'd' },
      key: { type: 'string', title: 'A key', description: 'd', sensitive: true },
      ...more,
    },
  },
  config: {
    args: [
      '${__dirname}/server/index.mjs',
      '--word=${user_config.word}',
      '${user_config.folders}',
      '--count',
      '${user_config.count}',
      '${user_config.file}',
      '--data=${data}',
      'a${/}b${pathSeparator}c',
    ],
    env: { LOUD: '${user_config.loud}', KEY: '${user_config.key}', FOLDERS: '${user_config.folders}', HERE: '${HOME}' },
  },
})

test('what an install sets reaches the arguments and the environment of every version, and a secret only the latter', async () => {
  const file = await made('1.0.0', settings())
  const controller = await organisation(['a'], {}, { apps: { credential: async (name) => `secret of ${name}` } })
  const { apps } = controller
  const folders = ['one', 'other'].map((name) => join(host.directory, name))
  for (const folder of folders) await mkdir(folder)
  await apps.install(file, {
    workspace: 'a',
    args: ['last'],
    config: { word: ['${HOME}'], folders, loud: ['true'], count: ['7.5'], file: [file] },
    credentials: { key: 'notes-key', OTHER: 'other-key' },
  })
  const before = await facts(controller, 'a')
  expect(before.args).toEqual([
    '--word=${HOME}',
    ...folders,
    '--count',
    '7.5',
    file,
    `--data=${before.cwd}`,
    'a/b/c',
    'last',
  ])
  expect(before.env).toMatchObject({
    LOUD: 'true',
    KEY: 'secret of notes-key',
    OTHER: 'secret of other-key',
    FOLDERS: folders.join(','),
    HERE: process.env.HOME,
  })
  expect(before.env).not.toHaveProperty('key')
  await apps.upgrade('notes', { to: await made('2.0.0', settings()) })
  const { args, env } = await facts(controller, 'a')
  expect([args, env.KEY]).toEqual([before.args, before.env.KEY])
})

test('defaults stand where nothing is set, and what is optional and not set is not there', async () => {
  const controller = await organisation(['a'])
  await controller.apps.install(await made('1.0.0', settings()), { workspace: 'a', config: { word: ['w'] } })
  const { args, env, cwd } = await facts(controller, 'a')
  const desktop = join(process.env.HOME!, 'Desktop')
  expect(args).toEqual(['--word=w', desktop, '--count', '5', `--data=${cwd}`, 'a/b/c'])
  expect(env).toMatchObject({ LOUD: 'false', KEY: '', FOLDERS: desktop })
})

test.each<[what: string, config: Record<string, string[]>, key: string]>([
  ['nothing that is needed', {}, 'word'],
  ['nothing in what is needed', { word: [''] }, 'word'],
  ['what the app does not know', { word: ['w'], wrod: ['w'] }, 'wrod'],
  ['two of one', { word: ['w', 'x'] }, 'word'],
  ['no number', { word: ['w'], count: ['many'] }, 'count'],
  ['too small a number', { word: ['w'], count: ['0'] }, 'count'],
  ['too large a number', { word: ['w'], count: ['11'] }, 'count'],
  ['neither true nor false', { word: ['w'], loud: ['yes'] }, 'loud'],
  ['a relative path', { word: ['w'], folders: ['here'] }, 'folders'],
  ['a folder that is not there', { word: ['w'], folders: ['/nowhere/at/all'] }, 'folders'],
  ['a folder for a file', { word: ['w'], file: ['/'] }, 'file'],
  ['a secret', { word: ['w'], key: ['a secret'] }, 'key'],
])('an install that sets %s is refused before anything runs, and the setting is named', async (_, config, key) => {
  const controller = await organisation(['a'])
  const file = await made('1.0.0', settings())
  await expect(controller.apps.install(file, { workspace: 'a', config })).rejects.toMatchObject({
    code: 'APP_CONFIG_INVALID',
    message: expect.stringMatching(new RegExp(`^${key}: `)),
    details: { key },
  })
  expect(controller.workspaces.list()).toEqual([{ id: 'a', apps: [] }])
  expect(controller.runs().some(({ machine }) => machine.startsWith('app-instance'))).toBe(false)
})

test('a version that asks for something new is kept out where that is not set, before anything is paused for it', async () => {
  const exclusive = { _meta: { instar: { exclusive: true } } }
  const controller = await organisation(['a'])
  await controller.apps.install(await made('1.0.0', { manifest: exclusive }), { workspace: 'a' })
  const { pid } = await facts(controller, 'a')
  const needed = { city: { type: 'string', title: 'A city', description: 'd', required: true } }
  const result = await controller.apps.upgrade('notes', {
    to: await made('2.0.0', { manifest: { ...exclusive, user_config: needed } }),
  })
  expect(result).toMatchObject({ outcome: 'returned', workspaces: [{ id: 'a', outcome: 'kept' }] })
  expect(result.workspaces[0]!.error).toMatchObject({
    ...failure,
    code: 'APP_CONFIG_INVALID',
    details: { key: 'city' },
  })
  expect((await facts(controller, 'a')).pid).toBe(pid)
})

test('7: what did not come from a registry is never listed or upgraded as if it had', async () => {
  const file = await made('1.0.0')
  const controller = await organisation(['a'])
  const { apps } = controller
  await apps.install(file, { workspace: 'a' })
  // Somebody else's, under the same name.
  host.registry.publish('notes', '9.0.0', { 'index.mjs': appCode('9.0.0') }, { bin: 'index.mjs' })
  expect(await apps.check()).toEqual([{ app: 'notes', version: '1.0.0', offered: null, standing: 'local' }])
  expect(await apps.list()).toMatchObject([{ app: 'notes', version: '1.0.0', origin: 'local', source: file }])
  for (const to of [undefined, 'latest', '9.0.0', '^9'])
    await expect(apps.upgrade('notes', { to })).rejects.toMatchObject({
      code: 'APP_LOCAL',
      hint: expect.stringContaining('--to ./'),
    })
  expect(host.registry.requests).toEqual([])
  expect(await said(controller, 'a')).toBe('1.0.0')
  await controller.workspaces.add('b')
  expect(await apps.install('notes', { workspace: 'b' })).toMatchObject({ version: '1.0.0' })
  expect(host.registry.requests).toEqual([])
})

test('7: a registry app is replaced by what lies at a path only where that path is given, and comes back', async () => {
  host.registry.publish('notes', '1.0.0', { 'index.mjs': appCode('1.0.0') }, { bin: 'index.mjs' })
  const controller = await organisation(['a', 'b'])
  const { apps } = controller
  await apps.install('notes', { workspace: 'a' })
  expect(await apps.list()).toMatchObject([{ origin: 'registry', source: host.registry.url }])
  const file = await made('2.0.0')
  expect(await apps.install(file, { workspace: 'b' })).toMatchObject({ version: '1.0.0' })
  expect(await versions(controller, 'a', 'b')).toEqual(['1.0.0', '1.0.0'])
  expect(outcomes(await apps.upgrade('notes', { to: file }))).toEqual(['a upgraded', 'b upgraded'])
  expect(await apps.check()).toMatchObject([{ version: '2.0.0', standing: 'local' }])
  await apps.rollback('notes')
  expect(await apps.check()).toMatchObject([{ version: '1.0.0', offered: '1.0.0', standing: 'current' }])
  expect(await versions(controller, 'a', 'b')).toEqual(['1.0.0', '1.0.0'])
})

test('7: one that is damaged is not made whole by what a registry has under its name', async () => {
  const controller = await organisation(['a'])
  await controller.apps.install(await made('1.0.0'), { workspace: 'a' })
  await controller.close()
  host.registry.publish('notes', '1.0.0', { 'index.mjs': appCode('1.0.0') }, { bin: 'index.mjs' })
  const [folder] = await readdir(join(host.home, 'releases', 'app', 'notes'))
  const entry = join(host.home, 'releases', 'app', 'notes', folder!, 'content', 'bundle', 'server', 'index.mjs')
  await writeFile(entry, appCode('evil'))
  const { apps } = await open()
  await eventually(async () => (await apps.list())[0]!.workspaces[0]!.failure !== null, 'the reason')
  expect((await apps.list())[0]!.workspaces[0]!.failure).toMatchObject({ code: 'RELEASE_DAMAGED' })
  expect(host.registry.requests).toEqual([])
})

test('settings are changed while it runs; wrong ones leave what runs as it is', async () => {
  const controller = await organisation(['a'])
  const { apps } = controller
  await apps.install(await made('1.0.0', settings()), { workspace: 'a', config: { word: ['one'] } })
  await apps.configure('notes', { workspace: 'a', config: { word: ['two'], count: ['3'] } })
  const { args, pid } = await facts(controller, 'a')
  expect([args[0], args[3]]).toEqual(['--word=two', '3'])
  const wrong: Record<string, string[]>[] = [{}, { word: ['x'], count: ['99'] }, { word: ['x'], key: ['a secret'] }]
  for (const config of wrong)
    await expect(apps.configure('notes', { workspace: 'a', config })).rejects.toMatchObject({
      code: 'APP_CONFIG_INVALID',
    })
  expect((await facts(controller, 'a')).pid).toBe(pid)
})

test('a bundle of another app is not taken for it', async () => {
  const controller = await organisation(['a'])
  const file = await made('1.0.0')
  await controller.apps.install(file, { workspace: 'a' })
  const other = await made('2.0.0', { manifest: { name: 'other' } })
  expect(await controller.apps.upgrade('notes', { to: other })).toMatchObject({
    outcome: 'rejected',
    code: 'MANIFEST_MISMATCH',
  })
})

test('a folder is an app, too: what it depends on is fetched, and its own node_modules are left where they are', async () => {
  host.registry.publish('greeting', '1.0.0', { 'index.js': "module.exports = 'hello'" })
  const folder = join(host.directory, 'own')
  await mkdir(join(folder, 'node_modules', 'greeting'), { recursive: true })
  await writeFile(join(folder, 'node_modules', 'greeting', 'index.js'), "module.exports = 'not this one'")
  const installed = { name: 'greeting', version: '1.0.0' }
  await writeFile(join(folder, 'node_modules', 'greeting', 'package.json'), JSON.stringify(installed))
  const first = "import greeting from 'greeting'"
  await writeFile(
    join(folder, 'index.mjs'),
    appCode('1.0.0', { first }).replace('version: () => "1.0.0"', 'version: () => greeting'),
  )
  const manifest = { name: 'notes', version: '1.0.0', bin: 'index.mjs', dependencies: { greeting: '^1.0.0' } }
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest))
  const controller = await organisation(['a'])
  await controller.apps.install(folder, { workspace: 'a' })
  expect(await said(controller, 'a')).toBe('hello')
  expect(host.registry.requestsFor('tarball')).toHaveLength(1)
  expect(await controller.apps.check()).toMatchObject([{ standing: 'local' }])
})

test('a repository is an app, too', async () => {
  await systemProgram('git')
  const origin = join(host.directory, 'origin')
  await mkdir(origin)
  await writeFile(join(origin, 'index.mjs'), appCode('1.0.0'))
  await writeFile(join(origin, 'package.json'), JSON.stringify({ name: 'notes', version: '1.0.0', bin: 'index.mjs' }))
  const git = (...args: string[]) => promisify(execFile)('git', ['-C', origin, ...args])
  await git('init', '--quiet')
  await git('add', '--all')
  await git('-c', 'user.name=t', '-c', 'user.email=t@localhost', 'commit', '--quiet', '--message=first')
  const controller = await organisation(['a'])
  await controller.apps.install(`notes@git+file://${origin}`, { workspace: 'a' })
  expect(await said(controller, 'a')).toBe('1.0.0')
  expect(await controller.apps.list()).toMatchObject([
    { origin: 'local', source: expect.stringMatching(/#[0-9a-f]{40}$/) },
  ])
})

test('who manages the organisation over MCP raises it to what a registry has, and to nothing else', async () => {
  const controller = await organisation(['a'])
  await controller.apps.install(await made('1.0.0'), { workspace: 'a' })
  const next = await made('2.0.0')
  const endpoint = await controller.apps.endpoint()
  const [ours, theirs] = InMemoryTransport.createLinkedPair()
  const over = endpoint.connect(ours)
  const client = new Client({ name: 'test', version: '1' })
  await client.connect(theirs)
  const manage = async (args: Record<string, unknown>) =>
    (await client.callTool({ name: 'manage_apps', arguments: args })) as {
      isError?: boolean
      content: { text: string }[]
    }
  for (const version of [next, './x.mcpb', `file:${next}`, 'git+file:///x'])
    expect(await manage({ action: 'upgrade', app: 'notes', version })).toMatchObject({ isError: true })
  expect((await manage({ action: 'upgrade', app: 'notes' })).content[0]!.text).toContain('APP_LOCAL')
  expect((await manage({ action: 'check_updates' })).content[0]!.text).toContain('"standing":"local"')
  await client.close()
  await over
  expect(await said(controller, 'a')).toBe('1.0.0')
})

test('on the command line a path is one of the folder that one is in', async () => {
  const file = await made('1.0.0', settings())
  const next = await made('2.0.0', settings())
  await host.writeConfig()
  expect((await host.instar('workspace', 'add', 'a')).code).toBe(0)
  const here = (path: string) => `./${relative(process.cwd(), path)}`
  const install = ['app', 'install', here(file), '--workspace', 'a', '--json']
  const missing = await host.instar(...install)
  expect(missing.code).toBe(2)
  expect(missing.stderr).toMatch(/"code":"APP_CONFIG_INVALID".*--set KEY=VALUE/)
  const folders = [host.directory, '/'].flatMap((folder) => ['--set', `folders=${folder}`])
  expect((await host.instar(...install, '--set', 'word=w=x', ...folders)).code).toBe(0)
  const listed = await host.instar('app', 'list')
  expect(listed.stdout).toContain(file)
  expect((await host.instar('app', 'check')).stdout).toMatch(/notes +1\.0\.0 +- +local/)
  const refused = await host.instar('app', 'upgrade', 'notes')
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('--to ./newer.mcpb')])
  expect((await host.instar('app', 'upgrade', 'notes', '--to', here(next))).code).toBe(0)
  const called = await host.instar('app', 'call', 'a', 'notes', 'facts')
  expect(JSON.parse(called.stdout).args.slice(0, 3)).toEqual(['--word=w=x', host.directory, '/'])
})

test('a package of the registry that looks like a bundle is none', async () => {
  const manifest = JSON.stringify(bundleManifest('1.0.0'))
  const entries = [
    { path: 'package/bundle/manifest.json', content: manifest },
    { path: 'package/bundle/server/index.mjs', content: appCode('1.0.0') },
  ]
  host.registry.publish('notes', '1.0.0', entries)
  const controller = await organisation(['a'])
  await expect(controller.apps.install('notes', { workspace: 'a' })).rejects.toMatchObject({ code: 'MANIFEST_INVALID' })
})
