import { execFile } from 'node:child_process'
import { chmod, cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { Controller } from '../../src/controller.ts'
import { listPlugins } from '../../src/plugins/index.ts'
import { type HostileTree, tarball } from '../../src/testing/tarball.ts'
import { Host } from '../support/host.ts'

// The scenarios *Plugins*, by number, on this machine. Real controllers, real trees, a real registry on loopback.

const pluginsOf = (host: Host) => join(host.home, 'plugins')
const entry = (host: Host, name = 'tint') => join(pluginsOf(host), name, 'index.js')

function publish(host: Host, version: string, files: Record<string, string> = {}, name = 'tint'): void {
  host.registry.publish(name, version, { 'index.js': `export default '${version}'`, ...files })
}

/** What only interrupted work leaves on a target and in the home. */
async function litter(host: Host): Promise<string[]> {
  const entries = await readdir(pluginsOf(host), { recursive: true }).catch(() => [])
  return [...entries.filter((path) => /\.(staging|link)-/.test(path)), ...(await host.residue())]
}

async function live(controller: Controller, name = 'tint'): Promise<string | null> {
  return (await controller.plugins.list()).find((plugin) => plugin.name === name)?.version ?? null
}

test('1: a first install is live and sealed, and nothing is left in staging', async () => {
  await using host = await Host.make()
  publish(host, '1.0.0', { 'lib/deep.js': 'export {}' })
  await using controller = await host.open()
  expect(await controller.plugins.install('tint@^1')).toEqual({
    plugin: 'tint',
    target: 'local',
    outcome: 'installed',
    version: '1.0.0',
    from: null,
    change: 'restart',
  })
  expect(await readFile(entry(host), 'utf8')).toBe("export default '1.0.0'")
  const { plugins, leftOut } = await listPlugins(pluginsOf(host))
  expect(plugins).toMatchObject([{ name: 'tint', version: '1.0.0' }])
  expect(leftOut).toEqual([])
  expect(await controller.plugins.verify('tint')).toMatchObject([{ whole: true, problems: [] }])
  expect(await litter(host)).toEqual([])
  expect(await controller.plugins.install('tint@^1')).toMatchObject({ outcome: 'current', version: '1.0.0' })
})

test('2: under a reader that opens files in a tight loop an upgrade is all of the old or all of the new', async () => {
  await using host = await Host.make()
  for (const version of ['1.0.0', '2.0.0']) publish(host, version, { 'other.js': `export default '${version}'` })
  await using controller = await host.open()
  await controller.plugins.install('tint@1.0.0')
  const over = new AbortController()
  const folder = join(pluginsOf(host), 'tint')
  let looks = 0
  const reading = (async () => {
    while (!over.signal.aborted) {
      // As a loader does: the real path first, and then files in it.
      const { plugins } = await listPlugins(pluginsOf(host))
      const { path } = plugins[0]!
      const both = [await readFile(join(path, 'index.js'), 'utf8'), await readFile(join(path, 'other.js'), 'utf8')]
      expect(both[0]).toBe(both[1])
      await readFile(join(folder, 'index.js'), 'utf8')
      looks += 1
    }
  })()
  for (let round = 0; round < 20; round += 1) {
    const version = round % 2 === 0 ? '2.0.0' : '1.0.0'
    expect(await controller.plugins.install(`tint@${version}`)).toMatchObject({ outcome: 'installed', version })
  }
  over.abort()
  await reading
  expect(looks).toBeGreaterThan(20)
})

describe('3: a failure leaves the previous version usable', () => {
  test('a target that cannot be written: nothing has changed, and the reason is told', async () => {
    await using host = await Host.make()
    publish(host, '1.0.0')
    publish(host, '2.0.0')
    await using controller = await host.open()
    await controller.plugins.install('tint@1.0.0')
    // A file where the shelf's new tree has to go.
    const shelf = join(pluginsOf(host), '.instar', 'tint')
    await rename(shelf, `${shelf}.away`)
    await writeFile(shelf, '')
    const result = await controller.plugins.install('tint@2.0.0').catch((error) => error)
    expect(result).toMatchObject({ outcome: 'failed', version: '2.0.0' })
    await rm(shelf)
    await rename(`${shelf}.away`, shelf)
    expect(await live(controller)).toBe('1.0.0')
    expect(await controller.plugins.install('tint@2.0.0')).toMatchObject({ outcome: 'installed', from: '1.0.0' })
  })

  test('a live tree that is damaged is replaced, and not taken for what it was', async () => {
    await using host = await Host.make()
    publish(host, '1.0.0')
    await using controller = await host.open()
    await controller.plugins.install('tint')
    await writeFile(entry(host), 'altered')
    expect(await controller.plugins.verify('tint')).toMatchObject([
      { whole: false, problems: ['it is not what was sealed'] },
    ])
    expect(await controller.plugins.install('tint')).toMatchObject({ outcome: 'installed', version: '1.0.0' })
    expect(await readFile(entry(host), 'utf8')).toBe("export default '1.0.0'")
    expect(await controller.plugins.verify('tint')).toMatchObject([{ whole: true }])
  })
})

test('4: the same plugin installed twice at once, also by two homes: both end complete, nothing is nested', async () => {
  await using host = await Host.make()
  publish(host, '1.0.0')
  publish(host, '2.0.0')
  await using controller = await host.open()
  const results = await Promise.all(['1.0.0', '2.0.0', '1.0.0'].map((v) => controller.plugins.install(`tint@${v}`)))
  expect(results.map(({ outcome }) => outcome)).toEqual(['installed', 'installed', 'installed'])
  expect(await live(controller)).toBe('1.0.0')
  expect((await readdir(join(pluginsOf(host), 'tint'))).sort()).toEqual(['.complete', 'index.js', 'package.json'])
})

describe('6: a hostile tree is refused, nothing is written outside, nothing remains', () => {
  const kinds: HostileTree[] = [
    ...(['symlink', 'hard-link', 'parent-path', 'absolute-path', 'device', 'fifo', 'case-collision'] as const),
    ...(['many-files', 'bomb', 'reserved-name', 'wrong-name', 'wrong-version', 'no-manifest'] as const),
  ]
  test.each(kinds)('%s', async (kind) => {
    await using host = await Host.make()
    publish(host, '1.0.0')
    await using controller = await host.open()
    await controller.plugins.install('tint')
    host.registry.publishHostile('tint', '1.1.0', kind)
    expect(await controller.plugins.install('tint')).toMatchObject({
      outcome: 'rejected',
      version: '1.1.0',
      from: '1.0.0',
      code: expect.stringMatching(/^(TREE|MANIFEST)_/),
    })
    expect(await live(controller)).toBe('1.0.0')
    expect(await litter(host)).toEqual([])
  })

  test('a seal in a folder that is given as a source', async () => {
    await using host = await Host.make()
    const folder = join(host.directory, 'own')
    await mkdir(folder)
    await writeFile(join(folder, 'package.json'), '{"name":"own","version":"1.0.0"}')
    await writeFile(join(folder, '.complete'), '{}')
    await using controller = await host.open()
    expect(await controller.plugins.install(folder)).toMatchObject({ outcome: 'rejected', code: 'TREE_UNSAFE' })
    await rm(join(folder, '.complete'))
    await symlink('/etc/passwd', join(folder, 'link'))
    expect(await controller.plugins.install(folder)).toMatchObject({ outcome: 'rejected', code: 'TREE_UNSAFE' })
    expect(await controller.plugins.list()).toEqual([])
  })
})

test('9: what is in the way of the live path is not written into', async () => {
  await using host = await Host.make()
  publish(host, '1.0.0')
  await using controller = await host.open()
  await mkdir(join(pluginsOf(host), 'tint'), { recursive: true })
  await writeFile(join(pluginsOf(host), 'tint', 'mine.txt'), 'mine')
  expect(await controller.plugins.install('tint')).toMatchObject({ outcome: 'failed', code: 'PLUGIN_FOREIGN' })
  expect(await readdir(join(pluginsOf(host), 'tint'))).toEqual(['mine.txt'])

  publish(host, '1.0.0', {}, 'shade')
  await controller.plugins.install('shade')
  await rm(join(pluginsOf(host), 'shade'))
  await mkdir(join(pluginsOf(host), 'shade'))
  const told = { version: null, problem: expect.stringContaining("none of Instar's") }
  expect(await controller.plugins.list()).toMatchObject([{ name: 'shade', ...told }])
})

test('11: only documentation changed: a reload; any other change: a restart; generated files: nothing', async () => {
  await using host = await Host.make()
  await using controller = await host.open()
  const code = { 'index.js': 'export {}' }
  const change = async (version: string, files: Record<string, string>) => {
    publish(host, version, files)
    return (await controller.plugins.install('tint')).change
  }
  expect(await change('1.0.0', code)).toBe('restart')
  expect(await change('1.0.1', { ...code, 'README.md': 'read this' })).toBe('reload')
  expect(await change('1.0.2', { ...code, 'README.md': 'read this', 'index.js.map': '{}' })).toBe('reload')
  expect(await change('1.1.0', { 'index.js': 'export default 1', 'README.md': 'read this' })).toBe('restart')
  expect(controller.notices().at(-1)).toMatchObject({ type: 'plugin.installed', version: '1.1.0', change: 'restart' })
})

test('12: a bad source among good ones in a set: the good ones go live, the previous copy of the bad one stays', async () => {
  await using host = await Host.make()
  publish(host, '1.0.0')
  publish(host, '1.0.0', {}, 'shade')
  publish(host, '1.0.0', {}, '@x/hue')
  await using controller = await host.open()
  await controller.plugins.install('shade')
  host.registry.publishHostile('shade', '2.0.0', 'symlink')
  await controller.close()
  const { code, stdout } = await host.instar('--json', 'plugin', 'install', 'tint', 'shade', '@x/hue', 'Bad Name')
  expect(code).toBe(5)
  expect(JSON.parse(stdout.trim().split('\n').at(-1)!)).toMatchObject({
    type: 'result',
    plugins: [
      { spec: 'tint', plugin: 'tint', outcome: 'installed', version: '1.0.0' },
      { spec: 'shade', outcome: 'rejected', version: '2.0.0', from: '1.0.0', code: 'TREE_UNSAFE' },
      { spec: '@x/hue', plugin: '@x/hue', outcome: 'installed' },
      { spec: 'Bad Name', plugin: null, outcome: 'rejected', code: 'PLUGIN_NAME_INVALID' },
    ],
  })
  const list = await host.instar('--json', 'plugin', 'list')
  expect(JSON.parse(list.stdout).plugins.map(({ name, version }: any) => `${name} ${version}`)).toEqual([
    '@x/hue 1.0.0',
    'shade 1.0.0',
    'tint 1.0.0',
  ])
})

test('13: a name in the manifest that differs from the one asked for is refused', async () => {
  await using host = await Host.make()
  const folder = join(host.directory, 'own')
  await mkdir(folder)
  await writeFile(join(folder, 'package.json'), '{"name":"own","version":"1.0.0"}')
  await using controller = await host.open()
  expect(await controller.plugins.install(`other@file:${folder}`)).toMatchObject({
    outcome: 'rejected',
    code: 'MANIFEST_MISMATCH',
  })
  expect(await controller.plugins.list()).toEqual([])
})

test('a folder and an archive are sources, too; a relative path is one of the folder of whoever asks', async () => {
  await using host = await Host.make()
  const folder = join(host.directory, 'own')
  await mkdir(join(folder, '.git'), { recursive: true })
  await writeFile(join(folder, '.git', 'config'), 'secret')
  await writeFile(join(folder, 'package.json'), '{"name":"own","version":"1.0.0"}')
  await writeFile(join(folder, 'run.sh'), '#!/bin/sh\n')
  await chmod(join(folder, 'run.sh'), 0o755)
  await using controller = await host.open()
  const from = { folder: host.directory }
  expect(await controller.plugins.install('./own', from)).toMatchObject({ plugin: 'own', outcome: 'installed' })
  expect((await readdir(join(pluginsOf(host), 'own'))).sort()).toEqual(['.complete', 'package.json', 'run.sh'])
  expect(await controller.plugins.install('./own', from)).toMatchObject({ outcome: 'current' })

  const bytes = tarball([
    { path: 'package/package.json', content: '{"name":"own","version":"1.1.0"}' },
    { path: 'package/new.js', content: '' },
  ])
  await writeFile(join(host.directory, 'own.tgz'), bytes)
  expect(await controller.plugins.install('./own.tgz', from)).toMatchObject({ version: '1.1.0', from: '1.0.0' })
  await expect(controller.plugins.install('./nowhere', from)).rejects.toMatchObject({ code: 'PLUGIN_SPEC_INVALID' })
  await expect(controller.plugins.install('tint', { target: 'web' })).rejects.toMatchObject({
    code: 'PLUGIN_TARGET_UNKNOWN',
  })
})

test('going back makes the version live that was live before, and going back again returns', async () => {
  await using host = await Host.make()
  publish(host, '1.0.0')
  await using controller = await host.open()
  await controller.plugins.install('tint')
  expect(await controller.plugins.rollback('tint')).toMatchObject({ outcome: 'failed', code: 'PLUGIN_NOTHING_BEFORE' })
  publish(host, '2.0.0')
  await controller.plugins.install('tint')
  expect(await controller.plugins.rollback('tint')).toMatchObject({
    outcome: 'installed',
    version: '1.0.0',
    from: '2.0.0',
  })
  expect(await readFile(entry(host), 'utf8')).toBe("export default '1.0.0'")
  expect(await controller.plugins.rollback('tint')).toMatchObject({ version: '2.0.0', from: '1.0.0' })
  await expect(controller.plugins.rollback('tnit')).rejects.toMatchObject({ code: 'PLUGIN_UNKNOWN' })
})

test('no more than `keep` spare trees remain, and never the one that a rollback leads to is removed', async () => {
  await using host = await Host.make()
  await using controller = await host.open()
  for (let minor = 0; minor < 6; minor += 1) {
    publish(host, `1.${minor}.0`)
    await controller.plugins.install('tint')
  }
  const [{ version, previous, kept }] = (await controller.plugins.list()) as [any]
  expect({ version, previous }).toEqual({ version: '1.5.0', previous: '1.4.0' })
  expect(kept).toHaveLength(4)
  expect(await litter(host)).toEqual([])
})

test('what was proven before is not fetched again, and what is done to one plugin is done in turns', async () => {
  await using host = await Host.make()
  publish(host, '1.0.0')
  await using controller = await host.open()
  const { plugins } = controller
  const [first, removed, second] = await Promise.all([
    plugins.install('tint'),
    sleep(0).then(() => plugins.remove('tint')),
    sleep(1).then(() => plugins.install('tint')),
  ])
  expect([first.outcome, removed.outcome, second.outcome]).toEqual(['installed', 'removed', 'installed'])
  expect(host.registry.requestsFor('tarball')).toHaveLength(1)
  expect(await plugins.verify('tint')).toMatchObject([{ whole: true }])
})

test('removing takes the plugin away and all of its trees; others stay', async () => {
  await using host = await Host.make()
  publish(host, '1.0.0')
  publish(host, '1.0.0', {}, 'shade')
  await using controller = await host.open()
  await controller.plugins.install('tint')
  await controller.plugins.install('shade')
  expect(await controller.plugins.remove('tint')).toMatchObject({ outcome: 'removed', version: '1.0.0' })
  expect((await controller.plugins.list()).map(({ name }) => name)).toEqual(['shade'])
  await expect(controller.plugins.remove('tint')).rejects.toMatchObject({ code: 'PLUGIN_UNKNOWN' })
  expect((await listPlugins(pluginsOf(host))).plugins.map(({ name }) => name)).toEqual(['shade'])
})

test('10: a controller killed in the middle of an install: the next one finishes or undoes it, a sweep leaves no rest', async () => {
  await using host = await Host.make()
  publish(host, '1.0.0')
  publish(host, '2.0.0', { 'large.bin': 'x'.repeat(4_000_000) })
  await host.instar('plugin', 'install', 'tint@1.0.0')
  for (const delayMs of [150, 250, 350, 450]) {
    const { cli } = await import('../support/host.ts')
    const args = [cli, '--home', host.home, '--config', host.configFile, 'plugin', 'install', 'tint@2.0.0']
    const run = promisify(execFile)(process.execPath, args).catch((error) => error)
    await sleep(delayMs)
    ;(run as any).child?.kill('SIGKILL')
    await run
    await using controller = await host.open()
    while (controller.state().runs.length > 0) await sleep(10)
    expect(['1.0.0', '2.0.0']).toContain(await live(controller))
    expect(await controller.plugins.verify('tint')).toMatchObject([{ whole: true }])
    await controller.plugins.sweep()
    expect(await litter(host)).toEqual([])
    await controller.plugins.install('tint@1.0.0')
    await controller.close()
  }
})

test('a target that is copied elsewhere still works: nothing in it is absolute', async () => {
  await using host = await Host.make()
  publish(host, '1.0.0', {}, '@x/hue')
  await using controller = await host.open()
  await controller.plugins.install('@x/hue')
  const copy = join(host.directory, 'copy')
  await cp(pluginsOf(host), copy, { recursive: true, verbatimSymlinks: true })
  await rm(pluginsOf(host), { recursive: true })
  expect((await listPlugins(copy)).plugins).toMatchObject([{ name: '@x/hue', version: '1.0.0' }])
})
