import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import type { PluginStatus } from '../../src/managed-plugins.ts'
import { listPlugins } from '../../src/plugins/index.ts'
import { type Compiled, compile } from '../support/compiled.ts'
import { Ground, groundKinds } from '../support/grounds.ts'
import { Host } from '../support/host.ts'
import { LiveReader } from '../support/live-reader.ts'

// Many swaps: under a reader that never rests, by two homes at once, and by a clock that stands still or goes back.

const names = ['index.js', 'lib/one.js', 'lib/two.js']

/** Versions whose files all say which version they are of. */
function publishAlike(host: Host, ...versions: string[]): void {
  for (const version of versions)
    host.registry.publish(
      'tint',
      version,
      Object.fromEntries(names.map((name) => [name, `export default '${version}'`])),
    )
}

const litterIn = async (plugins: string) =>
  (await readdir(plugins, { recursive: true })).filter((path) => /\.(staging|link)-/.test(path))

describe('many swaps', () => {
  let compiled: Compiled

  beforeAll(async () => {
    compiled = await compile('test/support/live-reader.ts', 'test/support/plugin-installer.ts')
  })

  afterAll(() => compiled?.remove())

  test('a reader that never rests finds all of one version or all of another, through a thousand swaps', async () => {
    await using host = await Host.make()
    publishAlike(host, '1.0.0', '2.0.0')
    await using controller = await host.open()
    const { plugins } = controller
    for (const version of ['1.0.0', '2.0.0']) await plugins.install(`tint@${version}`)
    const live = join(host.home, 'plugins', 'tint')
    const reader = await LiveReader.start(compiled.file('test/support/live-reader.ts'), live, names)
    // Going back is the shorter of the two ways to the same swap.
    for (let swap = 0; swap < 1_000; swap += 1) {
      const version = swap % 2 === 0 ? '1.0.0' : '2.0.0'
      const swapping = swap % 20 === 0 ? plugins.install(`tint@${version}`) : plugins.rollback('tint')
      expect(await swapping).toMatchObject({ outcome: 'installed', version })
    }
    const { looks, changes, failures, mixtures } = await reader.stop()
    expect({ failures, mixtures }).toEqual({ failures: [], mixtures: 0 })
    expect(looks).toBeGreaterThan(1_000)
    expect(changes).toBeGreaterThan(10)
    expect(await litterIn(join(host.home, 'plugins'))).toEqual([])
  })

  test('two homes that install into one directory at once, two hundred times: always one whole winner', async () => {
    await using host = await Host.make()
    publishAlike(host, '1.0.0', '2.0.0', '3.0.0')
    const folder = join(host.directory, 'shared')
    await mkdir(folder)
    const target = `exec:/usr/bin/env#${folder}`
    const program = compiled.file('test/support/plugin-installer.ts')
    await using one = await Installer.start(program, join(host.directory, 'one'), host.registry.url)
    await using other = await Installer.start(program, join(host.directory, 'other'), host.registry.url)
    await using judge = await host.open()
    const live = join(folder, 'tint')
    for (let round = 0; round < 100; round += 1) {
      // Now the same one, now two that differ.
      const [first, second] = [`${1 + (round % 3)}.0.0`, `${1 + ((round >> 1) % 3)}.0.0`]
      const results = await Promise.all([one.install(`tint@${first}`, target), other.install(`tint@${second}`, target)])
      const about = `round ${round}: ${JSON.stringify(results)}`
      for (const { outcome, code } of results)
        expect(['installed', 'current', 'failed PLUGIN_OVERTAKEN'], about).toContain(
          code === undefined ? outcome : `${outcome} ${code}`,
        )
      const winners = results.filter(({ code }) => code === undefined).map(({ version }) => version)
      const [verdict] = await judge.plugins.verify('tint', { target })
      expect(verdict, about).toMatchObject({ whole: true, problems: [] })
      expect(winners, about).toContain(verdict!.version)
      expect(await listPlugins(folder), about).toMatchObject({
        plugins: [{ name: 'tint', version: verdict!.version }],
        leftOut: [],
      })
      expect((await readdir(live)).sort(), about).toEqual(['.complete', 'index.js', 'lib', 'package.json'])
      const said = await Promise.all(names.map((name) => readFile(join(live, name), 'utf8')))
      expect(new Set(said), about).toEqual(new Set([`export default '${verdict!.version}'`]))
    }
    expect(await litterIn(folder)).toEqual([])
  })
})

describe.each(groundKinds)('7: on %s', (kind) => {
  let ground: Ground

  beforeAll(async () => {
    ground = await Ground.make(kind)
  }, 300_000)

  afterAll(() => ground?.[Symbol.asyncDispose]())

  afterEach(() => {
    vi.useRealTimers()
  })

  test('installs within one second, and a clock that goes back: no two trees share a name, and going back leads to what was live', async () => {
    await using host = await Host.make()
    const place = await ground.place()
    const plugins = place.folder ?? join(host.home, 'plugins')
    const on = { target: place.target ?? 'local' }
    const config = parseConfig({ ...host.rawConfig(), plugins: { policy: { keep: 10 } } }, host.directory)
    await using controller = await host.open({ config })
    const source = join(host.directory, 'own')
    await mkdir(source)
    /** One version after the other has the same number, so that nothing but what is in it tells it from the others. */
    const install = async (text: string) => {
      await writeFile(join(source, 'package.json'), '{"name":"own","version":"1.0.0"}')
      await writeFile(join(source, 'index.js'), text)
      expect(await controller.plugins.install(source, on), text).toMatchObject({ outcome: 'installed' })
    }
    const live = () => readFile(join(plugins, 'own', 'index.js'), 'utf8')
    const goBack = async () => {
      expect(await controller.plugins.rollback('own', on)).toMatchObject({ outcome: 'installed' })
      return live()
    }
    const isWhole = async () =>
      expect(await controller.plugins.verify('own', on)).toMatchObject([{ whole: true, problems: [] }])
    const shelf = join(plugins, '.instar', 'own')
    const trees = async () => {
      const folders = (await readdir(shelf)).filter((name) => /^[0-9]/.test(name))
      const texts = await Promise.all(folders.map((folder) => readFile(join(shelf, folder, 'index.js'), 'utf8')))
      return texts.sort()
    }

    const noon = new Date('2026-03-29T12:00:00Z')
    vi.useFakeTimers({ toFake: ['Date'], now: noon })
    for (const text of ['first', 'second', 'third']) await install(text)
    expect(Date.now()).toBe(noon.getTime())
    expect(await trees()).toEqual(['first', 'second', 'third'])
    expect(await goBack()).toBe('second')
    expect(await goBack()).toBe('third')
    await isWhole()

    vi.setSystemTime(noon.getTime() - 3_600_000)
    await install('fourth')
    expect(await goBack()).toBe('third')
    expect(await goBack()).toBe('fourth')
    await writeFile(join(plugins, 'own', 'index.js'), 'altered')
    await install('fourth')
    expect(await live()).toBe('fourth')
    expect(await trees()).toEqual(['altered', 'first', 'fourth', 'second', 'third'])
    await install('fifth')
    expect(await goBack()).toBe('fourth')
    await isWhole()
    expect(await litterIn(plugins)).toEqual([])
  })

  test('a clock that goes back never lets what is live, or would be gone back to, be removed as the oldest', async () => {
    await using host = await Host.make()
    const place = await ground.place()
    const plugins = place.folder ?? join(host.home, 'plugins')
    const on = { target: place.target ?? 'local' }
    await using controller = await host.open()
    vi.useFakeTimers({ toFake: ['Date'] })
    const versions = ['1.0.0', '2.0.0', '3.0.0', '4.0.0', '5.0.0', '6.0.0']
    publishAlike(host, ...versions)
    for (const [at, version] of versions.entries()) {
      vi.setSystemTime(Date.now() - 3_600_000)
      expect(await controller.plugins.install(`tint@${version}`, on)).toMatchObject({ outcome: 'installed', version })
      const [{ version: live, previous }] = (await controller.plugins.list(on)) as [PluginStatus]
      expect({ live, previous }).toEqual({ live: version, previous: versions[at - 1] ?? null })
    }
    expect(await controller.plugins.rollback('tint', on)).toMatchObject({ outcome: 'installed', version: '5.0.0' })
    expect(await readFile(join(plugins, 'tint', 'index.js'), 'utf8')).toBe("export default '5.0.0'")
    expect(await controller.plugins.verify('tint', on)).toMatchObject([{ whole: true }])
  })
})

/** A controller in a process of its own. */
class Installer implements AsyncDisposable {
  private constructor(
    private readonly child: ChildProcess,
    private readonly answers: AsyncIterator<string>,
  ) {}

  static async start(program: string, home: string, registry: string): Promise<Installer> {
    const child = spawn(process.execPath, [program, home, registry], { stdio: ['pipe', 'pipe', 'inherit'] })
    const answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
    const installer = new Installer(child, answers)
    expect(await installer.next()).toBe('ready')
    return installer
  }

  async install(spec: string, target: string): Promise<{ outcome: string; version: string; code?: string }> {
    this.child.stdin!.write(`${JSON.stringify({ spec, target })}\n`)
    return JSON.parse(await this.next())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.child.stdin!.end()
    await once(this.child, 'exit')
  }

  private async next(): Promise<string> {
    const { value, done } = await this.answers.next()
    if (done === true) throw new Error('the installer has ended')
    return value
  }
}
