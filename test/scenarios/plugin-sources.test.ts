import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { Host } from '../support/host.ts'
import { systemProgram } from '../support/system-program.ts'

// Where a plugin may come from, beside the registry: real repositories, folders and archives.

const run = promisify(execFile)

let host: Host
beforeAll(() => systemProgram('git').then(() => {}), 300_000)
beforeEach(async () => {
  host = await Host.make()
})
afterEach(() => host[Symbol.asyncDispose]())

/** A folder with a package in it. */
async function folder(name: string, manifest: object, files: Record<string, string> = {}): Promise<string> {
  const path = join(host.directory, name)
  await rm(path, { recursive: true, force: true })
  await mkdir(path)
  for (const [file, text] of Object.entries({ 'package.json': JSON.stringify(manifest), ...files }))
    await writeFile(join(path, file), text)
  return path
}

/** A repository of `tint`, with a tag for each version, the last one on top. */
class Origin {
  private constructor(readonly path: string) {}

  static async make(...versions: string[]): Promise<Origin> {
    const origin = new Origin(await folder('origin', {}))
    await origin.git('init', '--quiet', '--initial-branch=main')
    for (const version of versions) await origin.commit({ version }, `v${version}`)
    return origin
  }

  spec(ref = ''): string {
    return `tint@git+file://${this.path}${ref}`
  }

  async commit(manifest: object, tag?: string): Promise<string> {
    await writeFile(join(this.path, 'package.json'), JSON.stringify({ name: 'tint', version: '0.0.1', ...manifest }))
    await writeFile(join(this.path, 'index.js'), `export default ${JSON.stringify(manifest)}`)
    await this.git('add', '--all')
    await this.git('-c', 'user.name=t', '-c', 'user.email=t@localhost', 'commit', '--quiet', '--message=more')
    if (tag !== undefined) await this.git('tag', tag)
    return (await this.git('rev-parse', 'HEAD')).trim()
  }

  async git(...args: string[]): Promise<string> {
    return (await run('git', ['-C', this.path, ...args])).stdout
  }
}

const live = () => readFile(join(host.home, 'plugins', 'tint', 'index.js'), 'utf8')

test('a repository is a source: what it shows first, a branch, a tag, a commit, a range of tags', async () => {
  const origin = await Origin.make('1.0.0', '1.2.0', '2.0.0')
  await using controller = await host.open()
  const installed = async (ref?: string) => {
    const { outcome, version } = await controller.plugins.install(origin.spec(ref))
    expect(await live()).toContain(`"${version}"`)
    return `${outcome} ${version}`
  }
  expect(await installed()).toBe('installed 2.0.0')
  expect(await installed('#v1.0.0')).toBe('installed 1.0.0')
  expect(await installed('#semver:^1')).toBe('installed 1.2.0')
  expect(await installed('#main')).toBe('installed 2.0.0')
  const first = (await origin.git('rev-parse', 'v1.0.0')).trim()
  expect(await installed(`#${first}`)).toBe('installed 1.0.0')
  expect(await host.residue()).toEqual([])
})

test('a branch that moved is installed anew, also where its version is the same', async () => {
  const origin = await Origin.make('1.0.0')
  await using controller = await host.open()
  const { plugins } = controller
  await plugins.install(origin.spec('#main'))
  expect(await plugins.install(origin.spec('#main'))).toMatchObject({ outcome: 'current' })
  await origin.commit({ version: '1.0.0', fixed: true })
  expect(await plugins.install(origin.spec('#main'))).toMatchObject({ outcome: 'installed', version: '1.0.0' })
  expect(await live()).toContain('"fixed":true')
})

test('filters and submodules of a repository play no part, and what it does not export is left out', async () => {
  const origin = await Origin.make('1.0.0')
  await writeFile(join(origin.path, '.gitattributes'), 'secret.txt export-ignore\nindex.js filter=evil\n')
  await writeFile(join(origin.path, '.gitmodules'), '[submodule "m"]\n\tpath = m\n\turl = file:///nowhere\n')
  await writeFile(join(origin.path, 'secret.txt'), 'not for users')
  await origin.commit({ version: '1.1.0' })
  await using controller = await host.open()
  expect(await controller.plugins.install(origin.spec())).toMatchObject({ outcome: 'installed', version: '1.1.0' })
  await expect(readFile(join(host.home, 'plugins', 'tint', 'secret.txt'))).rejects.toMatchObject({ code: 'ENOENT' })
})

test.each([
  ['nobody', '#nobody', 'failed', 'VERSION_NOT_FOUND'],
  ['a commit that is not there', `#${'1'.repeat(40)}`, 'failed', 'VERSION_NOT_FOUND'],
  ['a range without a tag', '#semver:^9', 'failed', 'VERSION_NOT_FOUND'],
])('a repository has no such %s: what was live is live, and nothing is left', async (_, ref, outcome, code) => {
  const origin = await Origin.make('1.0.0')
  await using controller = await host.open()
  await controller.plugins.install(origin.spec())
  expect(await controller.plugins.install(origin.spec(ref))).toMatchObject({ outcome, code })
  expect(await live()).toContain('1.0.0')
  expect(await host.residue()).toEqual([])
})

test('a repository that is not there, holds another plugin, or a symlink, is refused by name', async () => {
  const origin = await Origin.make('1.0.0')
  await using controller = await host.open()
  const { plugins } = controller
  const refused = async (spec: string) => (await plugins.install(spec)).code
  expect(await refused('tint@git+file:///no/such/repository')).toBe('GIT_FAILED')
  expect(await refused(origin.spec().replace('tint@', 'shade@'))).toBe('MANIFEST_MISMATCH')
  await symlink('/etc/passwd', join(origin.path, 'link'))
  await origin.commit({ version: '1.1.0' })
  expect(await refused(origin.spec())).toBe('TREE_UNSAFE')
  await expect(readFile(join(host.home, 'plugins', 'tint'))).rejects.toMatchObject({ code: 'ENOENT' })
  expect(await host.residue()).toEqual([])
})

test.each([
  'git+file:///x',
  'tint@git+http://host/x.git',
  'tint@git://host/x.git',
  'tint@git+https://user:secret@host/x.git',
  'tint@git+https://secret@host/x.git',
  'tint@git+file:///x#--upload-pack=touch',
  'tint@git+file:///x#a..b',
  'tint@git+file:///x#+refs/heads/a:refs/heads/b',
  'tint@git+ext::sh -c touch% /tmp/x',
  'tint@github:owner/name#path:sub',
])('%s is refused before anything is asked, written down or shown', async (spec) => {
  await using controller = await host.open()
  const before = controller.journal.lastSeq
  const error = await controller.plugins.install(spec).catch((caught) => caught)
  expect(error.code).toMatch(/^(GIT|PLUGIN)_SPEC_INVALID$/)
  expect(`${error.message} ${error.cause ?? ''}`).not.toContain('secret')
  expect(controller.journal.lastSeq).toBe(before)
})

test.each(['a/b', '../x', '..', '-rf', '@-x/y', '@x/-y', 'Tint', 'tint/../x', '.hidden', 'x y', ''])(
  'a plugin cannot be called "%s", wherever its name stands',
  async (name) => {
    await using controller = await host.open()
    const { plugins } = controller
    const refusal = expect.objectContaining({ code: expect.stringMatching(/^PLUGIN_(NAME|SPEC)_INVALID$/) })
    await expect(plugins.install(`${name}@1.0.0`)).rejects.toEqual(refusal)
    await expect(plugins.install(await folder('misnamed', { name, version: '1.0.0' }))).rejects.toEqual(refusal)
    for (const verb of ['rollback', 'remove', 'verify'] as const)
      await expect(plugins[verb](name)).rejects.toEqual(refusal)
    expect(await plugins.list()).toEqual([])
    expect(await host.residue()).toEqual([])
  },
)

test('a folder without a manifest, an empty one and an empty archive are none', async () => {
  await using controller = await host.open()
  const { plugins } = controller
  const empty = join(host.directory, 'empty')
  await mkdir(empty)
  await expect(plugins.install(empty)).rejects.toMatchObject({ code: 'MANIFEST_INVALID' })
  await run('mkfifo', [join(empty, 'package.json')])
  await expect(plugins.install(empty)).rejects.toMatchObject({ code: 'MANIFEST_INVALID' })
  await writeFile(join(host.directory, 'empty.tgz'), '')
  await expect(plugins.install(join(host.directory, 'empty.tgz'))).rejects.toMatchObject({ code: 'TARBALL_INVALID' })
  expect(await plugins.list()).toEqual([])
})

test('what is neither a file nor a folder is refused in a folder, before anything is packed', async () => {
  await using controller = await host.open()
  const path = await folder('piped', { name: 'tint', version: '1.0.0' })
  await run('mkfifo', [join(path, 'pipe')])
  expect(await controller.plugins.install(path)).toMatchObject({ outcome: 'rejected', code: 'TREE_UNSAFE' })
  expect(await host.residue()).toEqual([])
})

test('a version that was tried from a folder or a repository may have other bytes when it is published', async () => {
  const origin = await Origin.make('1.0.0')
  await using controller = await host.open()
  const { plugins } = controller
  await plugins.install(await folder('own', { name: 'tint', version: '1.0.0' }))
  await plugins.install(origin.spec())
  host.registry.publish('tint', '1.0.0', { 'index.js': 'published' })
  expect(await plugins.install('tint@1.0.0')).toMatchObject({ outcome: 'installed' })
  expect(await live()).toBe('published')
})

test('what plugins run in is what their `engines` are compared with', async () => {
  const at = (acme: string) => parseConfig({ ...host.rawConfig(), plugins: { engines: { acme } } }, host.directory)
  const path = await folder('own', { name: 'tint', version: '1.0.0', engines: { acme: '^3', node: '>=900' } })
  const install = async (acme: string) => {
    await using controller = await host.open({ config: at(acme) })
    const { outcome, code } = await controller.plugins.install(path)
    return code ?? outcome
  }
  expect(await install('2.9.0')).toBe('ENGINES_UNMET')
  expect(await install('3.1.0')).toBe('installed')
})

test('one that was proven before is refused where it no longer fits', async () => {
  host.registry.publish('tint', '1.0.0', {
    'package.json': JSON.stringify({ name: 'tint', version: '1.0.0', engines: { acme: '^3' } }),
  })
  host.registry.publish('tint', '2.0.0', {})
  const at = (acme: string) => parseConfig({ ...host.rawConfig(), plugins: { engines: { acme } } }, host.directory)
  {
    await using controller = await host.open({ config: at('3.0.0') })
    expect(await controller.plugins.install('tint@1.0.0')).toMatchObject({ outcome: 'installed' })
    expect(await controller.plugins.install('tint@2.0.0')).toMatchObject({ outcome: 'installed' })
  }
  await using controller = await host.open({ config: at('4.0.0') })
  expect(await controller.plugins.install('tint@1.0.0')).toMatchObject({ outcome: 'rejected', code: 'ENGINES_UNMET' })
})

test('what a plugin contributes has a shape, and is listed', async () => {
  await using controller = await host.open()
  const good = await folder('good', { name: 'shade', version: '1.0.0', contributes: { themes: [], keys: {} } })
  await controller.plugins.install(good)
  expect(await controller.plugins.list()).toMatchObject([{ name: 'shade', contributes: ['themes', 'keys'] }])
  const path = await folder('own', { name: 'tint', version: '1.0.0', contributes: ['themes'] })
  expect(await controller.plugins.install(path)).toMatchObject({ outcome: 'rejected', code: 'MANIFEST_INVALID' })
})
