import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Controller } from '../../src/controller.ts'
import { listPlugins } from '../../src/plugins/index.ts'
import { type HostileTree, tarball } from '../../src/testing/tarball.ts'
import { GoBetween } from '../support/go-between.ts'
import { Ground, type GroundKind, type Place } from '../support/grounds.ts'
import { cli, Host } from '../support/host.ts'

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

  /** Where the trees of a plugin lie. */
  shelf(name = 'tint'): string {
    return join(this.plugins, '.instar', name)
  }

  /** The built command line on a home, in a process that can be killed. */
  run(home: string, ...args: string[]): ChildProcess {
    const words = [cli, '--json', '--home', home, '--config', this.host.configFile, 'plugin', ...args]
    return spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'ignore'] })
  }

  async live(controller: Controller, name = 'tint'): Promise<string | null> {
    return (await controller.plugins.list(this.on)).find((plugin) => plugin.name === name)?.version ?? null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]()
  }
}

/**
 * The scenarios *Plugins*, by number, on one kind of target. Real controllers, real trees, a real registry on loopback, a
 * real sshd, and a root with nothing but BusyBox in namespaces of its own.
 */
export function pluginScenarios(kind: GroundKind): void {
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
    // Far away, each takes a while; a thousand swaps are made on this machine (`plugin-swaps`).
    for (let round = 0; round < (kind === 'this machine' ? 20 : 8); round += 1) {
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

    test('a damaged version that is installed again is not what a rollback leads to', async () => {
      await using scene = await Scene.make(ground)
      const { host, on } = scene
      for (const version of ['1.0.0', '2.0.0']) scene.publish(version)
      await using controller = await host.open()
      for (const version of ['1.0.0', '2.0.0']) await controller.plugins.install(`tint@${version}`, on)
      await writeFile(scene.entry(), 'altered')
      expect(await controller.plugins.install('tint@2.0.0', on)).toMatchObject({
        outcome: 'installed',
        from: '2.0.0',
        change: 'restart',
      })
      expect(await controller.plugins.rollback('tint', on)).toMatchObject({ outcome: 'installed', version: '1.0.0' })
      expect(await readFile(scene.entry(), 'utf8')).toBe("export default '1.0.0'")
      expect(await controller.plugins.rollback('tint', on)).toMatchObject({ outcome: 'installed', version: '2.0.0' })
      expect(await controller.plugins.verify('tint', on)).toMatchObject([{ whole: true }])
    })

    test('a live tree that is gone, and the whole shelf: it is said so, and installing again repairs it', async () => {
      await using scene = await Scene.make(ground)
      const { host, on } = scene
      for (const version of ['1.0.0', '2.0.0']) scene.publish(version)
      await using controller = await host.open()
      for (const version of ['1.0.0', '2.0.0']) await controller.plugins.install(`tint@${version}`, on)
      const [live] = (await readdir(scene.shelf())).filter((name) => name.startsWith('2.0.0'))
      await rm(join(scene.shelf(), live!), { recursive: true })
      const gone = [{ name: 'tint', whole: false, problems: ['it leads to nowhere'] }]
      expect(await controller.plugins.verify(undefined, on)).toMatchObject(gone)
      expect(await controller.plugins.install('tint@2.0.0', on)).toMatchObject({ outcome: 'installed', from: null })
      expect(await controller.plugins.rollback('tint', on)).toMatchObject({ outcome: 'installed', version: '1.0.0' })

      await rm(scene.shelf(), { recursive: true })
      expect(await controller.plugins.verify('tint', on)).toMatchObject(gone)
      expect(await controller.plugins.install('tint@2.0.0', on)).toMatchObject({ outcome: 'installed', from: null })
      expect(await controller.plugins.verify(undefined, on)).toMatchObject([{ whole: true }])
      expect(await scene.litter()).toEqual([])
    })

    describe('at each step', () => {
      test('a step that is refused: what was live is live, and nothing is left', async () => {
        // Look, put, note what to go back to, swap, read back; and then the way back, which begins with another look.
        const cases = [
          { refused: 1, outcome: 'failed', knows: false, steps: 1 },
          { refused: 2, outcome: 'failed', knows: true, steps: 3 },
          { refused: 3, outcome: 'rolled-back', knows: true, steps: 8 },
          { refused: 4, outcome: 'rolled-back', knows: true, steps: 10 },
          { refused: 5, outcome: 'rolled-back', knows: true, steps: 12 },
        ]
        await using host = await Host.make()
        await using between = await GoBetween.make(ground, host.directory)
        const versions = Array.from({ length: cases.length + 2 }, (_, minor) => `1.${minor}.0`)
        for (const version of versions) host.registry.publish('tint', version, { 'index.js': version })
        await using controller = await host.open()
        const { plugins } = controller
        const on = { target: between.target }
        for (const version of versions.slice(0, 2)) await plugins.install(`tint@${version}`, on)
        for (const [at, { refused, outcome, knows, steps }] of cases.entries()) {
          const [previous, live, next] = versions.slice(at) as [string, string, string]
          await between.spoil({ refused: [refused] })
          expect(await plugins.install(`tint@${next}`, on)).toMatchObject({
            outcome,
            from: knows ? live : null,
            code: 'TARGET_UNREACHABLE',
            reason: expect.stringContaining(`step ${refused} is refused`),
            hint: expect.stringContaining('by hand'),
          })
          expect(await between.steps()).toBe(steps)
          expect(await plugins.list(on)).toMatchObject([
            { version: live, previous, kept: expect.not.arrayContaining([next]) },
          ])
          expect(await readFile(join(between.folder, 'tint', 'index.js'), 'utf8')).toBe(live)
          expect(await readdir(join(between.folder, '.instar', 'tint'))).not.toContainEqual(
            expect.stringMatching(/^\./),
          )
          expect(await plugins.install(`tint@${next}`, on)).toMatchObject({ outcome: 'installed', from: live })
        }
      })

      test('and the way back too: both are named, and what to type', async () => {
        await using host = await Host.make()
        await using between = await GoBetween.make(ground, host.directory)
        for (const version of ['1.0.0', '2.0.0']) host.registry.publish('tint', version, { 'index.js': version })
        host.registry.publishHostile('shade', '1.0.0', 'symlink')
        const on = ['--target', between.target]
        await host.instar('plugin', 'install', ...on, 'tint@1.0.0')
        await between.spoil({ refused: [5, 6] })
        // The other one is only refused, and that is not the worst of it.
        const { code, stdout } = await host.instar('plugin', 'install', ...on, 'tint@2.0.0', 'shade')
        expect(code).toBe(1)
        const shown = kind === 'a host over ssh' ? on.join(' ') : `--target '${between.target}'`
        expect(stdout).toMatch(/^tint: blocked 2\.0\.0 \(live: 1\.0\.0\): .*step 5.*put back either: .*step 6/)
        const [, hint, refusal, hintOfRefusal] = stdout.split('\n')
        const [verify, repair] = [`plugin verify tint ${shown}`, `plugin install tint@1.0.0 ${shown}`]
        expect(hint).toBe(`  hint: See what is live with \`instar ${verify}\`, then type \`instar ${repair}\`.`)
        expect(refusal).toMatch(/^shade: rejected 1\.0\.0: .* \[TREE_UNSAFE\]$/)
        expect(hintOfRefusal).toMatch(/^ {2}hint: .*Do not use it/)
        await using controller = await host.open()
        const at = { target: between.target }
        expect(await controller.plugins.verify(undefined, at)).toMatchObject([{ version: '2.0.0', whole: true }])
        expect(await controller.plugins.install('tint@1.0.0', at)).toMatchObject({
          outcome: 'installed',
          from: '2.0.0',
        })
      })
    })
  })

  test('4: the same plugin installed twice at once, by two processes with two homes: both end complete, one whole version is live', async () => {
    await using host = await Host.make()
    await using between = await GoBetween.make(ground, host.directory)
    for (const version of ['1.0.0', '2.0.0']) host.registry.publish('tint', version, { 'index.js': version })
    const { target, folder } = between
    const installed = async (home: string, version: string) => {
      const { code, stdout } = await host.instar(
        '--home',
        home,
        'plugin',
        'install',
        '--target',
        target,
        `tint@${version}`,
      )
      return `${code} ${stdout}`
    }
    const homes = ['one', 'other'].map((name) => join(host.directory, name)) as [string, string]
    for (let round = 0; round < 2; round += 1) {
      const told = await Promise.all([installed(homes[0], '1.0.0'), installed(homes[1], '2.0.0')])
      for (const each of told)
        expect(each).toMatch(/^(0 tint: (installed|current) |1 tint: failed .*\[PLUGIN_OVERTAKEN\])/)
      const live = await readFile(join(folder, 'tint', 'index.js'), 'utf8')
      expect(told[live === '1.0.0' ? 0 : 1]).toMatch(/^0 /)
      expect((await readdir(join(folder, 'tint'))).sort()).toEqual(['.complete', 'index.js', 'package.json'])
      expect((await readdir(join(folder, '.instar', 'tint'))).filter((name) => name.startsWith('.'))).toEqual([])
      expect(await listPlugins(folder)).toMatchObject({ plugins: [{ name: 'tint', version: live }], leftOut: [] })
    }
  })

  describe('6: a hostile tree is refused, nothing is written outside, nothing remains', () => {
    let scene: Scene
    let controller: Controller
    let canaries: Record<string, string>
    let minor = 0

    /** Files as the hostile trees would write them, wherever they are around the home and the target. */
    const outside = async () => {
      const found: Record<string, string> = {}
      for (const folder of new Set([scene.host.directory, dirname(scene.plugins)]))
        for (const path of await readdir(folder, { recursive: true }))
          if (/(^|\/)outside\.txt$/.test(path)) found[join(folder, path)] = await readFile(join(folder, path), 'utf8')
      return { ...found, '/tmp/instar-outside.txt': existsSync('/tmp/instar-outside.txt') ? 'written' : 'absent' }
    }

    beforeAll(async () => {
      scene = await Scene.make(ground)
      scene.publish('1.0.0')
      controller = await scene.host.open()
      await controller.plugins.install('tint', scene.on)
      // Where a step or two up would lead to.
      const { directory, home } = scene.host
      for (const folder of [directory, join(home, 'releases', 'plugin', 'tint'), scene.plugins, scene.shelf()])
        await writeFile(join(folder, 'outside.txt'), 'a canary')
      canaries = await outside()
      expect(Object.values(canaries).filter((text) => text === 'a canary')).toHaveLength(4)
    })

    afterAll(() => scene?.[Symbol.asyncDispose]())

    const kinds: HostileTree[] = [
      ...(['symlink', 'hard-link', 'parent-path', 'absolute-path', 'device', 'fifo', 'case-collision'] as const),
      ...(['many-files', 'bomb', 'reserved-name', 'wrong-name', 'wrong-version', 'no-manifest'] as const),
    ]
    test.each(kinds)('%s', async (kind) => {
      minor += 1
      const version = `1.${minor}.0`
      scene.host.registry.publishHostile('tint', version, kind)
      expect(await controller.plugins.install('tint', scene.on)).toMatchObject({
        outcome: 'rejected',
        version,
        from: '1.0.0',
        code: expect.stringMatching(/^(TREE|MANIFEST)_/),
      })
      expect(await scene.live(controller)).toBe('1.0.0')
      expect(await scene.litter()).toEqual([])
      expect(await outside()).toEqual(canaries)
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

  test('9: a target that reports success and has written elsewhere is found out by reading back', async () => {
    await using host = await Host.make()
    await using between = await GoBetween.make(ground, host.directory)
    for (const version of ['1.0.0', '2.0.0']) host.registry.publish('tint', version, { 'index.js': version })
    await using controller = await host.open()
    const on = { target: between.target }
    await controller.plugins.install('tint@1.0.0', on)
    const { folder, other } = between
    await cp(folder, other, { recursive: true, verbatimSymlinks: true })
    await between.spoil({ elsewhere: [2, 3, 4] })
    expect(await controller.plugins.install('tint@2.0.0', on)).toMatchObject({
      outcome: 'rolled-back',
      from: '1.0.0',
      code: 'PLUGIN_NOT_LIVE',
      reason: expect.stringMatching(/1\.0\.0-\w+ is live, where 2\.0\.0-\w+ should be/),
    })
    const entries = [folder, other].map((one) => readFile(join(one, 'tint', 'index.js'), 'utf8'))
    expect(await Promise.all(entries)).toEqual(['1.0.0', '2.0.0'])
    expect(await controller.plugins.verify(undefined, on)).toMatchObject([{ version: '1.0.0', whole: true }])
    await rm(other, { recursive: true })
    expect(await controller.plugins.install('tint@2.0.0', on)).toMatchObject({ outcome: 'installed', from: '1.0.0' })
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
    expect(await controller.plugins.verify(undefined, on)).toMatchObject([{ name: 'shade', whole: true }])
    await expect(controller.plugins.remove('tint', on)).rejects.toMatchObject({ code: 'PLUGIN_UNKNOWN' })
    expect((await listPlugins(scene.plugins)).plugins.map(({ name }) => name)).toEqual(['shade'])
  })

  test('10: a controller killed in the middle of an install: the next one finishes or undoes it, a sweep leaves no rest', async () => {
    await using scene = await Scene.make(ground)
    const { host, on } = scene
    scene.publish('1.0.0')
    await host.instar('plugin', 'install', '--target', on.target, 'tint@1.0.0')
    let killed = 0
    for (const [at, phase] of ['fetching', 'staging', 'placed'].entries()) {
      // One that was proven before would not be fetched.
      const version = `2.${at}.0`
      scene.publish(version, { 'large.bin': randomBytes(1_000_000).toString('hex') })
      const child = scene.run(host.home, 'install', '--target', on.target, `tint@${version}`)
      const ended = once(child, 'exit')
      child.stdout!.on('data', (lines: Buffer) => {
        if (lines.includes(`"phase":"${phase}"`)) child.kill('SIGKILL')
      })
      // No progress tells of what comes after.
      while (phase === 'placed' && child.exitCode === null && child.signalCode === null) {
        if ((await readdir(scene.shelf())).some((name) => name.startsWith(version))) child.kill('SIGKILL')
        await sleep(1)
      }
      await ended
      if (child.signalCode === 'SIGKILL') killed += 1
      await using controller = await host.open()
      while (controller.state().runs.length > 0) await sleep(10)
      expect(['1.0.0', version]).toContain(await scene.live(controller))
      expect(await controller.plugins.verify('tint', on)).toMatchObject([{ whole: true }])
      await controller.plugins.sweep(on)
      expect(await scene.litter()).toEqual([])
      await controller.plugins.install('tint@1.0.0', on)
      await controller.close()
    }
    expect(killed).toBeGreaterThan(0)
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
}
