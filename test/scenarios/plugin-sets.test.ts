import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Controller } from '../../src/controller.ts'
import { Ground } from '../support/grounds.ts'
import { Host } from '../support/host.ts'

// Plugins that belong together: `--all-or-nothing`.

let host: Host
let controller: Controller
beforeEach(async () => {
  host = await Host.make()
  for (const name of ['tint', 'shade', '@x/hue'])
    for (const version of ['1.0.0', '2.0.0']) host.registry.publish(name, version, { 'index.js': version })
  controller = await host.open()
  await controller.plugins.installEach(['tint@1.0.0', 'shade@1.0.0'])
})
afterEach(() => host[Symbol.asyncDispose]())

const names = ['tint', 'shade', '@x/hue']
const together = (specs: readonly string[] = names, more: object = {}) =>
  controller.plugins.installEach(specs, { allOrNothing: true, ...more })
const live = async () => (await controller.plugins.list()).map(({ name, version }) => `${name} ${version}`)
const litter = async () =>
  (await readdir(host.home, { recursive: true })).filter(
    // The journal's head is written all the time.
    (path) => /\.(staging|link|trash|draft)-/.test(path) && !path.startsWith('journal/'),
  )
const before = ['shade 1.0.0', 'tint 1.0.0']

test('all of them, and each is told for itself', async () => {
  expect(await together()).toEqual([
    {
      spec: 'tint',
      plugin: 'tint',
      target: 'local',
      outcome: 'installed',
      version: '2.0.0',
      from: '1.0.0',
      change: 'restart',
    },
    {
      spec: 'shade',
      plugin: 'shade',
      target: 'local',
      outcome: 'installed',
      version: '2.0.0',
      from: '1.0.0',
      change: 'restart',
    },
    {
      spec: '@x/hue',
      plugin: '@x/hue',
      target: 'local',
      outcome: 'installed',
      version: '2.0.0',
      from: null,
      change: 'restart',
    },
  ])
  expect(await live()).toEqual(['@x/hue 2.0.0', 'shade 2.0.0', 'tint 2.0.0'])
  expect(await litter()).toEqual([])
  expect(controller.notices().at(-1)).toMatchObject({ type: 'plugins.installed', plugins: names })
  expect((await together()).map(({ outcome }) => outcome)).toEqual(['current', 'current', 'current'])
  expect(await controller.plugins.rollback('tint')).toMatchObject({ version: '1.0.0' })
})

test('one that is bad keeps all back, and all are told', async () => {
  host.registry.publishHostile('shade', '3.0.0', 'symlink')
  expect(await together()).toMatchObject([
    { plugin: 'tint', outcome: 'withheld', version: '2.0.0', from: '1.0.0' },
    { plugin: 'shade', outcome: 'rejected', version: '3.0.0', code: 'TREE_UNSAFE' },
    { plugin: '@x/hue', outcome: 'withheld', version: '2.0.0', from: null },
  ])
  expect(await live()).toEqual(before)
  expect(await litter()).toEqual([])
})

test.each(['a host over ssh', 'a container'] as const)(
  'all of them or none on %s',
  async (kind) => {
    await using ground = await Ground.make(kind)
    const { target, folder } = await ground.place()
    const on = { target: target! }
    const outcomes = (results: readonly { outcome: string }[]) => results.map(({ outcome }) => outcome)
    const there = async () =>
      (await controller.plugins.list(on)).map(({ name, version, kept }) => `${name} ${version} of ${kept.join(' ')}`)
    const wanted = ['tint@1.0.0', '@x/hue@1.0.0']
    expect(outcomes(await together(wanted, on))).toEqual(['installed', 'installed'])
    const [hue, tint] = ['@x/hue 1.0.0 of 1.0.0', 'tint 1.0.0 of 1.0.0']
    expect(await there()).toEqual([hue, tint])

    host.registry.publishHostile('shade', '3.0.0', 'symlink')
    expect(outcomes(await together(names, on))).toEqual(['withheld', 'rejected', 'withheld'])
    expect(await there()).toEqual([hue, tint])
    await mkdir(join(folder!, 'shade'))
    expect(outcomes(await together(['tint', 'shade@1.0.0'], on))).toEqual(['withheld', 'failed'])
    expect(await readFile(join(folder!, 'tint', 'index.js'), 'utf8')).toBe('1.0.0')
    const left = await readdir(folder!, { recursive: true })
    expect(left.filter((path) => /\.(staging|link)-/.test(path))).toEqual([])
  },
  300_000,
)

test('one that cannot be named keeps all back before anything is looked at', async () => {
  const requests = host.registry.requestsFor('packument').length
  expect(await together(['tint', 'Bad Name'])).toMatchObject([
    { spec: 'tint', plugin: 'tint', outcome: 'withheld' },
    { spec: 'Bad Name', plugin: null, outcome: 'rejected', code: 'PLUGIN_NAME_INVALID' },
  ])
  await expect(together(['tint', 'tint@1.0.0'])).rejects.toMatchObject({ code: 'PLUGIN_SPEC_INVALID' })
  expect(host.registry.requestsFor('packument').length).toBe(requests)
})

test('one that can neither be swapped in nor taken back: the others are taken back all the same, and both reasons are told', async () => {
  host.registry.publish('zest', '1.0.0', {})
  const inTheWay = join(host.home, 'plugins', 'zest')
  const swapping = together([...names, 'zest'], {
    onProgress: async (data: any) => {
      if (data.phase === 'staging' && data.version === '1.0.0') await mkdir(inTheWay, { recursive: true })
    },
  })
  const told = await swapping
  expect(told).toMatchObject([
    { plugin: 'tint', outcome: 'withheld', version: '2.0.0', from: '1.0.0' },
    { plugin: 'shade', outcome: 'withheld', version: '2.0.0', from: '1.0.0' },
    { plugin: '@x/hue', outcome: 'withheld', version: '2.0.0', from: null },
    {
      plugin: 'zest',
      outcome: 'blocked',
      reason: expect.any(String),
      rollBackReason: expect.any(String),
      hint: expect.stringContaining('`instar plugin remove zest --target local`'),
    },
  ])
  expect(controller.notices().at(-1)).toMatchObject({
    type: 'plugins.blocked',
    failure: { details: { plugin: 'zest' } },
  })
  await rm(inTheWay, { recursive: true })
  expect(await live()).toEqual(expect.arrayContaining(before))
  expect(await live()).not.toContain('@x/hue 2.0.0')
})

test('cancelled, nothing of it is in use', async () => {
  const over = new AbortController()
  const asked = together(names, { signal: over.signal, onProgress: () => over.abort() })
  await expect(asked).rejects.toMatchObject({ code: 'ABORTED' })
  expect(await live()).toEqual(before)
  expect(await litter()).toEqual([])
})

test('a set and a single one of it wait for each other', async () => {
  const [set, single] = await Promise.all([together(), sleep(1).then(() => controller.plugins.install('tint@1.0.0'))])
  expect(set.map(({ outcome }) => outcome)).toEqual(['installed', 'installed', 'installed'])
  expect(single).toMatchObject({ outcome: 'installed', from: '2.0.0' })
  const both = await Promise.all([together(['tint', 'shade']), together(['shade', 'tint'])])
  expect(both.flat().map(({ outcome }) => outcome)).not.toContain('failed')
})

test('on the command line', async () => {
  await controller.close()
  host.registry.publishHostile('shade', '3.0.0', 'symlink')
  const { code, stdout } = await host.instar('plugin', 'install', '--all-or-nothing', 'tint', 'shade')
  expect(code).toBe(5)
  expect(stdout).toMatch(
    /^tint: withheld 2\.0\.0 \(live: 1\.0\.0\)\nshade: rejected 3\.0\.0 .*TREE_UNSAFE\]\n {2}hint: /,
  )
  expect(await readFile(join(host.home, 'plugins', 'tint', 'index.js'), 'utf8')).toBe('1.0.0')
})
