import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Controller } from '../../src/controller.ts'
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
    host.registry.publish('tint', version, Object.fromEntries(names.map((name) => [name, `export default '${version}'`])))
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
      const swapping = swap % 5 === 0 ? plugins.install(`tint@${version}`) : plugins.rollback('tint')
      expect(await swapping).toMatchObject({ outcome: 'installed', version })
    }
    const { looks, changes, failures, mixtures } = await reader.stop()
    expect({ failures, mixtures }).toEqual({ failures: [], mixtures: 0 })
    expect(looks).toBeGreaterThan(1_000)
    expect(changes).toBeGreaterThan(100)
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
    const reader = async () => {
      const { plugins, leftOut } = await listPlugins(folder)
      return { listed: plugins.map(({ name, version }) => `${name} ${version}`), leftOut }
    }
    const outcomes = new Map<string, number>()
    for (let round = 0; round < 100; round += 1) {
      const [first, second] = [`${1 + (round % 3)}.0.0`, `${1 + ((round >> 1) % 3)}.0.0`]
      const results = await Promise.all([one.install(`tint@${first}`, target), other.install(`tint@${second}`, target)])
      for (const { outcome } of results) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      const about = `round ${round}: ${first} and ${second}: ${JSON.stringify(results)}`
      const { listed, leftOut } = await reader()
      expect(leftOut, about).toEqual([])
      expect(listed, about).toHaveLength(1)
      const [verdict] = await judge.plugins.verify('tint', { target })
      expect(verdict, about).toMatchObject({ whole: true, problems: [] })
      const live = join(folder, 'tint')
      expect((await readdir(live)).sort(), about).toEqual(['.complete', 'index.js', 'lib', 'package.json'])
      const said = await Promise.all(names.map((name) => readFile(join(live, name), 'utf8')))
      expect(new Set(said), about).toEqual(new Set([`export default '${verdict!.version}'`]))
    }
    expect(await litterIn(folder)).toEqual([])
    expect(Object.fromEntries(outcomes)).toEqual({})
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
