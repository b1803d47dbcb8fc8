import { writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { Ground } from '../support/grounds.ts'
import { Host } from '../support/host.ts'
import { eventually } from '../support/sessions/eventually.ts'

// Scenario 14 of *Plugins*, and what a subscription is.

let host: Host
beforeEach(async () => {
  host = await Host.make()
  for (const version of ['1.0.0', '1.1.0', '2.0.0']) host.registry.publish('tint', version, {})
  for (const version of ['0.1.0', '0.1.1']) host.registry.publish('shade', version, {})
})
afterEach(() => host[Symbol.asyncDispose]())

const configOf = (plugins: object) => parseConfig({ ...host.rawConfig(), plugins }, host.directory)
const tarballs = () => host.registry.requestsFor('tarball').length

test('14: two versions tracked by range: drift is found once, applied once, then quiet', async () => {
  const config = configOf({ subscriptions: { tint: '^1', shade: '~0.1' } })
  await using controller = await host.open({ config })
  const { plugins } = controller
  await plugins.install('tint@1.0.0')
  expect(await plugins.check()).toEqual([
    { plugin: 'tint', target: 'local', wanted: '^1', live: '1.0.0', offered: '1.1.0', standing: 'behind' },
    { plugin: 'shade', target: 'local', wanted: '~0.1', live: null, offered: '0.1.1', standing: 'behind' },
  ])
  const before = tarballs()
  expect(await plugins.follow()).toMatchObject([
    { plugin: 'tint', live: '1.1.0', standing: 'current' },
    { plugin: 'shade', live: '0.1.1', standing: 'current' },
  ])
  expect(tarballs() - before).toBe(2)
  const runs = controller.runs().length
  expect(await plugins.follow()).toMatchObject([{ standing: 'current' }, { standing: 'current' }])
  expect(controller.runs().length).toBe(runs)
  host.registry.publish('tint', '1.2.0', {})
  expect(await plugins.follow()).toMatchObject([{ live: '1.2.0', standing: 'current' }, { standing: 'current' }])
  expect(tarballs() - before).toBe(3)
})

test.each(['a host over ssh', 'a container'] as const)(
  '14: what is followed on %s',
  async (kind) => {
    await using ground = await Ground.make(kind)
    const { target } = await ground.place()
    const config = configOf({
      targets: { far: target },
      subscriptions: { tint: { version: '^1', targets: ['local', 'far'] } },
    })
    await using controller = await host.open({ config })
    const { plugins } = controller
    await plugins.install('tint@1.0.0', { target: 'far' })
    const found = { plugin: 'tint', wanted: '^1', offered: '1.1.0', standing: 'behind' }
    expect(await plugins.check()).toEqual([
      { ...found, target: 'local', live: null },
      { ...found, target: 'far', live: '1.0.0' },
    ])
    const followed = [{ target: 'local' }, { target: 'far', live: '1.1.0', standing: 'current' }]
    expect(await plugins.follow()).toMatchObject(followed)
    const runs = controller.runs().length
    expect(await plugins.follow()).toMatchObject(followed)
    expect(controller.runs().length).toBe(runs)
    expect(await plugins.verify('tint', { target: 'far' })).toMatchObject([{ version: '1.1.0', whole: true }])
  },
  300_000,
)

test('the scheduler applies it by itself; a dist-tag, an exact version and none are followed, too', async () => {
  const config = configOf({
    subscriptions: { tint: 'latest', shade: '0.1.0' },
    check: { firstAfterMs: 0, everyMs: 1000 },
  })
  await using controller = await host.open({ config, schedule: true })
  const versions = async () => (await controller.plugins.list()).map(({ name, version }) => `${name} ${version}`)
  await eventually(async () => (await versions()).join() === 'shade 0.1.0,tint 2.0.0', 'what is subscribed to')
  await controller.close()
  await using quiet = await host.open({ config: configOf({}), schedule: true })
  host.registry.publish('tint', '3.0.0', {})
  expect(await quiet.plugins.check()).toEqual([])
  expect(quiet.plugins.schedule).toBe(null)
})

test('only what was read back counts: what a person put there or took away is drift again', async () => {
  const config = configOf({ subscriptions: { tint: '^1' } })
  await using controller = await host.open({ config })
  const { plugins } = controller
  await plugins.follow()
  await plugins.install('tint@2.0.0')
  expect(await plugins.follow()).toMatchObject([{ live: '1.1.0', standing: 'current' }])
  await plugins.remove('tint')
  expect(await plugins.check()).toMatchObject([{ live: null, standing: 'behind' }])
})

test('a version that was refused is not tried again; the next one is', async () => {
  const config = configOf({ subscriptions: { tint: '^1' } })
  await using controller = await host.open({ config })
  const { plugins } = controller
  await plugins.follow()
  host.registry.publishHostile('tint', '1.3.0', 'symlink')
  const refused = { live: '1.1.0', offered: '1.3.0', standing: 'refused', code: 'TREE_UNSAFE' }
  expect(await plugins.follow()).toMatchObject([refused])
  const before = tarballs()
  expect(await plugins.follow()).toMatchObject([refused])
  expect(tarballs()).toBe(before)
  host.registry.publish('tint', '1.3.1', {})
  expect(await plugins.follow()).toMatchObject([{ live: '1.3.1', standing: 'current' }])
})

test('one that cannot be checked says why, keeps what it has, and keeps no other back', async () => {
  const config = configOf({ subscriptions: { tint: '^1', shade: '~0.1' } })
  await using controller = await host.open({ config })
  await controller.plugins.follow()
  host.registry.publish('shade', '0.1.2', {})
  host.registry.misbehave('packument', 'disconnect', { package: 'tint' })
  expect(await controller.plugins.follow()).toMatchObject([
    { plugin: 'tint', live: '1.1.0', offered: null, standing: 'check-failed', code: 'REGISTRY_UNREACHABLE' },
    { plugin: 'shade', live: '0.1.2', standing: 'current' },
  ])
})

test('on the command line', async () => {
  await writeFile(host.configFile, JSON.stringify({ ...host.rawConfig(), plugins: { subscriptions: { tint: '^1' } } }))
  const behind = await host.instar('plugin', 'check')
  expect(behind).toMatchObject({ code: 5, stdout: expect.stringMatching(/tint +local +\^1 +- +1\.1\.0 +behind/) })
  expect(await host.instar('plugin', 'check', '--apply')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/1\.1\.0 +1\.1\.0 +current/),
  })
  await writeFile(
    host.configFile,
    JSON.stringify({ plugins: { subscriptions: { tint: { version: '^1', targets: ['web'] } } } }),
  )
  expect(await host.instar('plugin', 'check')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('there is no target "web"'),
  })
})
