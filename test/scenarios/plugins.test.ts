import { execFile } from 'node:child_process'
import { chmod, cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Controller } from '../../src/controller.ts'
import { listPlugins } from '../../src/plugins/index.ts'
import { type HostileTree, tarball } from '../../src/testing/tarball.ts'
import { Ground, groundKinds, type Place } from '../support/grounds.ts'
import { Host } from '../support/host.ts'

// The scenarios *Plugins*, by number, each on every kind of target. Real controllers, real trees, a real registry on
// loopback, a real sshd, and a root with nothing but BusyBox in namespaces of its own.

/** A host, and one place for its plugins. */
class Scene implements AsyncDisposable {
  private constructor(
    readonly host: Host,
    readonly on: { readonly target: string },
    /** The folder that loaders read, as the test sees it. */
    readonly plugins: string,
  ) {}

  static async make(ground: Ground): Promise<Scene> {
    const host = await Host.make()
    const { target, folder }: Place = await ground.place()
    return new Scene(host, { target: target ?? 'local' }, folder ?? join(host.home, 'plugins'))
  }

  entry(name = 'tint'): string {
    return join(this.plugins, name, 'index.js')
  }

  publish(version: string, files: Record<string, string> = {}, name = 'tint'): void {
    this.host.registry.publish(name, version, { 'index.js': `export default '${version}'`, ...files })
  }

  /** What only interrupted work leaves on a target and in the home. */
  async litter(): Promise<string[]> {
    const entries = await readdir(this.plugins, { recursive: true }).catch(() => [])
    return [...entries.filter((path) => /\.(staging|link)-/.test(path)), ...(await this.host.residue())]
  }

  async live(controller: Controller, name = 'tint'): Promise<string | null> {
    return (await controller.plugins.list(this.on)).find((plugin) => plugin.name === name)?.version ?? null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]()
  }
}

describe.each(groundKinds)('on %s', (kind) => {
  let ground: Ground

  beforeAll(async () => {
    ground = await Ground.make(kind)
  }, 300_000)

  afterAll(() => ground?.[Symbol.asyncDispose]())

  test('1: a first install is live and sealed, and nothing is left in staging', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0', { 'lib/deep.js': 'export {}' })
    await using controller = await host.open()
    expect(await controller.plugins.install('tint@^1', on)).toEqual({
      plugin: 'tint',
      target: on.target,
      outcome: 'installed',
      version: '1.0.0',
      from: null,
      change: 'restart',
    })
    expect(await readFile(scene.entry(), 'utf8')).toBe("export default '1.0.0'")
    const { plugins, leftOut } = await listPlugins(scene.plugins)
    expect(plugins).toMatchObject([{ name: 'tint', version: '1.0.0' }])
    expect(leftOut).toEqual([])
    expect(await controller.plugins.verify('tint', on)).toMatchObject([{ whole: true, problems: [] }])
    expect(await scene.litter()).toEqual([])
    expect(await controller.plugins.install('tint@^1', on)).toMatchObject({ outcome: 'current', version: '1.0.0' })
  })

  test('2: under a reader that opens files in a tight loop an upgrade is all of the old or all of the new', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    for (const version of ['1.0.0', '2.0.0']) scene.publish(version, { 'other.js': `export default '${version}'` })
    await using controller = await host.open()
    await controller.plugins.install('tint@1.0.0', on)
    const over = new AbortController()
    const folder = join(scene.plugins, 'tint')
    let looks = 0
    const reading = (async () => {
      while (!over.signal.aborted) {
        // As a loader does: the real path first, and then files in it.
        const { plugins } = await listPlugins(scene.plugins)
        const { path } = plugins[0]!
        const both = [await readFile(join(path, 'index.js'), 'utf8'), await readFile(join(path, 'other.js'), 'utf8')]
        expect(both[0]).toBe(both[1])
        await readFile(join(folder, 'index.js'), 'utf8')
        looks += 1
      }
    })()
    for (let round = 0; round < 20; round += 1) {
      const version = round % 2 === 0 ? '2.0.0' : '1.0.0'
      expect(await controller.plugins.install(`tint@${version}`, on)).toMatchObject({ outcome: 'installed', version })
    }
    over.abort()
    await reading
    expect(looks).toBeGreaterThan(20)
  })

  describe('3: a failure leaves the previous version usable', () => {
    test('a target that cannot be written: nothing has changed, and the reason is told', async () => {
      await using scene = await Scene.make(ground)
      const { host, on } = scene
      scene.publish('1.0.0')
      scene.publish('2.0.0')
      await using controller = await host.open()
      await controller.plugins.install('tint@1.0.0', on)
      // A file where the shelf's new tree has to go.
      const shelf = join(scene.plugins, '.instar', 'tint')
      await rename(shelf, `${shelf}.away`)
      await writeFile(shelf, '')
      const result = await controller.plugins.install('tint@2.0.0', on).catch((error) => error)
      expect(result).toMatchObject({ outcome: 'failed', version: '2.0.0' })
      await rm(shelf)
      await rename(`${shelf}.away`, shelf)
      expect(await scene.live(controller)).toBe('1.0.0')
      expect(await controller.plugins.install('tint@2.0.0', on)).toMatchObject({ outcome: 'installed', from: '1.0.0' })
    })

    test('a live tree that is damaged is replaced, and not taken for what it was', async () => {
      await using scene = await Scene.make(ground)
      const { host, on } = scene
      scene.publish('1.0.0')
      await using controller = await host.open()
      await controller.plugins.install('tint', on)
      await writeFile(scene.entry(), 'altered')
      expect(await controller.plugins.verify('tint', on)).toMatchObject([
        { whole: false, problems: ['it is not what was sealed'] },
      ])
      expect(await controller.plugins.install('tint', on)).toMatchObject({ outcome: 'installed', version: '1.0.0' })
      expect(await readFile(scene.entry(), 'utf8')).toBe("export default '1.0.0'")
      expect(await controller.plugins.verify('tint', on)).toMatchObject([{ whole: true }])
    })
  })

  test('4: the same plugin installed twice at once, also by two homes: both end complete, nothing is nested', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0')
    scene.publish('2.0.0')
    await using controller = await host.open()
    const results = await Promise.all(
      ['1.0.0', '2.0.0', '1.0.0'].map((v) => controller.plugins.install(`tint@${v}`, on)),
    )
    expect(results.map(({ outcome }) => outcome)).toEqual(['installed', 'installed', 'installed'])
    expect(await scene.live(controller)).toBe('1.0.0')
    expect((await readdir(join(scene.plugins, 'tint'))).sort()).toEqual(['.complete', 'index.js', 'package.json'])
  })

  describe('6: a hostile tree is refused, nothing is written outside, nothing remains', () => {
    const kinds: HostileTree[] = [
      ...(['symlink', 'hard-link', 'parent-path', 'absolute-path', 'device', 'fifo', 'case-collision'] as const),
      ...(['many-files', 'bomb', 'reserved-name', 'wrong-name', 'wrong-version', 'no-manifest'] as const),
    ]
    test.each(kinds)('%s', async (kind) => {
      await using scene = await Scene.make(ground)
      const { host, on } = scene
      scene.publish('1.0.0')
      await using controller = await host.open()
      await controller.plugins.install('tint', on)
      host.registry.publishHostile('tint', '1.1.0', kind)
      expect(await controller.plugins.install('tint', on)).toMatchObject({
        outcome: 'rejected',
        version: '1.1.0',
        from: '1.0.0',
        code: expect.stringMatching(/^(TREE|MANIFEST)_/),
      })
      expect(await scene.live(controller)).toBe('1.0.0')
      expect(await scene.litter()).toEqual([])
    })

    test('a seal in a folder that is given as a source', async () => {
      await using scene = await Scene.make(ground)
      const { host, on } = scene
      const folder = join(host.directory, 'own')
      await mkdir(folder)
      await writeFile(join(folder, 'package.json'), '{"name":"own","version":"1.0.0"}')
      await writeFile(join(folder, '.complete'), '{}')
      await using controller = await host.open()
      expect(await controller.plugins.install(folder, on)).toMatchObject({ outcome: 'rejected', code: 'TREE_UNSAFE' })
      await rm(join(folder, '.complete'))
      await symlink('/etc/passwd', join(folder, 'link'))
      expect(await controller.plugins.install(folder, on)).toMatchObject({ outcome: 'rejected', code: 'TREE_UNSAFE' })
      expect(await controller.plugins.list(on)).toEqual([])
    })
  })

  test('9: what is in the way of the live path is not written into', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0')
    await using controller = await host.open()
    await mkdir(join(scene.plugins, 'tint'), { recursive: true })
    await writeFile(join(scene.plugins, 'tint', 'mine.txt'), 'mine')
    expect(await controller.plugins.install('tint', on)).toMatchObject({ outcome: 'failed', code: 'PLUGIN_FOREIGN' })
    expect(await readdir(join(scene.plugins, 'tint'))).toEqual(['mine.txt'])

    scene.publish('1.0.0', {}, 'shade')
    await controller.plugins.install('shade', on)
    await rm(join(scene.plugins, 'shade'))
    await mkdir(join(scene.plugins, 'shade'))
    const told = { version: null, problem: expect.stringContaining("none of Instar's") }
    expect(await controller.plugins.list(on)).toMatchObject([{ name: 'shade', ...told }])
  })

  test('11: only documentation changed: a reload; any other change: a restart; generated files: nothing', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    await using controller = await host.open()
    const code = { 'index.js': 'export {}' }
    const change = async (version: string, files: Record<string, string>) => {
      scene.publish(version, files)
      return (await controller.plugins.install('tint', on)).change
    }
    expect(await change('1.0.0', code)).toBe('restart')
    expect(await change('1.0.1', { ...code, 'README.md': 'read this' })).toBe('reload')
    expect(await change('1.0.2', { ...code, 'README.md': 'read this', 'index.js.map': '{}' })).toBe('reload')
    expect(await change('1.1.0', { 'index.js': 'export default 1', 'README.md': 'read this' })).toBe('restart')
    expect(controller.notices().at(-1)).toMatchObject({ type: 'plugin.installed', version: '1.1.0', change: 'restart' })
  })

  test('12: a bad source among good ones in a set: the good ones go live, the previous copy of the bad one stays', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0')
    scene.publish('1.0.0', {}, 'shade')
    scene.publish('1.0.0', {}, '@x/hue')
    await using controller = await host.open()
    await controller.plugins.install('shade', on)
    host.registry.publishHostile('shade', '2.0.0', 'symlink')
    await controller.close()
    const { code, stdout } = await host.instar(
      '--json',
      'plugin',
      'install',
      '--target',
      on.target,
      'tint',
      'shade',
      '@x/hue',
      'Bad Name',
    )
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
    const list = await host.instar('--json', 'plugin', 'list', '--target', on.target)
    expect(JSON.parse(list.stdout).plugins.map(({ name, version }: any) => `${name} ${version}`)).toEqual([
      '@x/hue 1.0.0',
      'shade 1.0.0',
      'tint 1.0.0',
    ])
  })

  test('13: a name in the manifest that differs from the one asked for is refused', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    const folder = join(host.directory, 'own')
    await mkdir(folder)
    await writeFile(join(folder, 'package.json'), '{"name":"own","version":"1.0.0"}')
    await using controller = await host.open()
    expect(await controller.plugins.install(`other@file:${folder}`, on)).toMatchObject({
      outcome: 'rejected',
      code: 'MANIFEST_MISMATCH',
    })
    expect(await controller.plugins.list(on)).toEqual([])
  })

  test('a folder and an archive are sources, too; a relative path is one of the folder of whoever asks', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    const folder = join(host.directory, 'own')
    await mkdir(join(folder, '.git'), { recursive: true })
    await writeFile(join(folder, '.git', 'config'), 'secret')
    await writeFile(join(folder, 'package.json'), '{"name":"own","version":"1.0.0"}')
    await writeFile(join(folder, 'run.sh'), '#!/bin/sh\n')
    await chmod(join(folder, 'run.sh'), 0o755)
    await using controller = await host.open()
    const from = { folder: host.directory, ...on }
    expect(await controller.plugins.install('./own', from)).toMatchObject({ plugin: 'own', outcome: 'installed' })
    expect((await readdir(join(scene.plugins, 'own'))).sort()).toEqual(['.complete', 'package.json', 'run.sh'])
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
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0')
    await using controller = await host.open()
    await controller.plugins.install('tint', on)
    expect(await controller.plugins.rollback('tint', on)).toMatchObject({
      outcome: 'failed',
      code: 'PLUGIN_NOTHING_BEFORE',
    })
    scene.publish('2.0.0')
    await controller.plugins.install('tint', on)
    expect(await controller.plugins.rollback('tint', on)).toMatchObject({
      outcome: 'installed',
      version: '1.0.0',
      from: '2.0.0',
    })
    expect(await readFile(scene.entry(), 'utf8')).toBe("export default '1.0.0'")
    expect(await controller.plugins.rollback('tint', on)).toMatchObject({ version: '2.0.0', from: '1.0.0' })
    await expect(controller.plugins.rollback('tnit', on)).rejects.toMatchObject({ code: 'PLUGIN_UNKNOWN' })
  })

  test('no more than `keep` spare trees remain, and never the one that a rollback leads to is removed', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    await using controller = await host.open()
    for (let minor = 0; minor < 6; minor += 1) {
      scene.publish(`1.${minor}.0`)
      await controller.plugins.install('tint', on)
    }
    const [{ version, previous, kept }] = (await controller.plugins.list(on)) as [any]
    expect({ version, previous }).toEqual({ version: '1.5.0', previous: '1.4.0' })
    expect(kept).toHaveLength(4)
    expect(await scene.litter()).toEqual([])
  })

  test('what was proven before is not fetched again, and what is done to one plugin is done in turns', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0')
    await using controller = await host.open()
    const { plugins } = controller
    const [first, removed, second] = await Promise.all([
      plugins.install('tint', on),
      sleep(0).then(() => plugins.remove('tint', on)),
      sleep(1).then(() => plugins.install('tint', on)),
    ])
    expect([first.outcome, removed.outcome, second.outcome]).toEqual(['installed', 'removed', 'installed'])
    expect(host.registry.requestsFor('tarball')).toHaveLength(1)
    expect(await plugins.verify('tint', on)).toMatchObject([{ whole: true }])
  })

  test('what was proven before and is damaged since is fetched again', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    for (const version of ['1.0.0', '2.0.0']) scene.publish(version)
    await using controller = await host.open()
    for (const version of ['1.0.0', '2.0.0']) await controller.plugins.install(`tint@${version}`, on)
    await controller.plugins.remove('tint', on)
    const releases = join(host.home, 'releases', 'plugin', 'tint')
    for (const folder of (await readdir(releases)).filter((name) => !name.startsWith('.')))
      await writeFile(join(releases, folder, 'content', 'index.js'), 'altered')
    expect(await controller.plugins.install('tint@1.0.0', on)).toMatchObject({ outcome: 'installed' })
    expect(await readFile(scene.entry(), 'utf8')).toBe("export default '1.0.0'")
    expect(await scene.litter()).toEqual([])
  })

  test('removing takes the plugin away and all of its trees; others stay', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0')
    scene.publish('1.0.0', {}, 'shade')
    await using controller = await host.open()
    await controller.plugins.install('tint', on)
    await controller.plugins.install('shade', on)
    expect(await controller.plugins.remove('tint', on)).toMatchObject({ outcome: 'removed', version: '1.0.0' })
    expect((await controller.plugins.list(on)).map(({ name }) => name)).toEqual(['shade'])
    await expect(controller.plugins.remove('tint', on)).rejects.toMatchObject({ code: 'PLUGIN_UNKNOWN' })
    expect((await listPlugins(scene.plugins)).plugins.map(({ name }) => name)).toEqual(['shade'])
  })

  test('10: a controller killed in the middle of an install: the next one finishes or undoes it, a sweep leaves no rest', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0')
    scene.publish('2.0.0', { 'large.bin': 'x'.repeat(4_000_000) })
    await host.instar('plugin', 'install', '--target', on.target, 'tint@1.0.0')
    for (const delayMs of [150, 250, 350, 450]) {
      const { cli } = await import('../support/host.ts')
      const args = [
        cli,
        '--home',
        host.home,
        '--config',
        host.configFile,
        'plugin',
        'install',
        '--target',
        on.target,
        'tint@2.0.0',
      ]
      const run = promisify(execFile)(process.execPath, args).catch((error) => error)
      await sleep(delayMs)
      ;(run as any).child?.kill('SIGKILL')
      await run
      await using controller = await host.open()
      while (controller.state().runs.length > 0) await sleep(10)
      expect(['1.0.0', '2.0.0']).toContain(await scene.live(controller))
      expect(await controller.plugins.verify('tint', on)).toMatchObject([{ whole: true }])
      await controller.plugins.sweep(on)
      expect(await scene.litter()).toEqual([])
      await controller.plugins.install('tint@1.0.0', on)
      await controller.close()
    }
  })

  test('a target that is copied elsewhere still works: nothing in it is absolute', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0', {}, '@x/hue')
    await using controller = await host.open()
    await controller.plugins.install('@x/hue', on)
    const copy = join(host.directory, 'copy')
    await cp(scene.plugins, copy, { recursive: true, verbatimSymlinks: true })
    await rm(scene.plugins, { recursive: true })
    expect((await listPlugins(copy)).plugins).toMatchObject([{ name: '@x/hue', version: '1.0.0' }])
  })
})
