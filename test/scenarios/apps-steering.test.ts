import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Controller } from '../../src/controller.ts'
import { openController } from '../../src/embedded.ts'
import { type AppBehaviour, appCode } from '../support/apps/app-code.ts'
import { Host } from '../support/host.ts'

// What people do with apps that run: other settings, a new process, a version that stays. No call is lost by any of it.

let host: Host
let controller: Controller

beforeEach(async () => {
  host = await Host.make({ bundled: null })
  controller = await openController({ home: host.home, config: host.configFile, schedule: false })
  await controller.workspaces.add('a')
})
afterEach(async () => {
  await controller.close()
  await host[Symbol.asyncDispose]()
})

const place = { app: 'notes', workspace: 'a' }

function publish(version: string, behaviour: AppBehaviour = {}, manifest: object = {}) {
  host.registry.publish(
    'notes',
    version,
    { 'index.mjs': appCode(version, behaviour) },
    { bin: 'index.mjs', manifest: { ...manifest } },
  )
}

async function install(behaviour: AppBehaviour = {}, manifest: object = {}): Promise<void> {
  publish('1.0.0', behaviour, manifest)
  await controller.apps.install('notes', { workspace: 'a', args: ['--first'], env: { MODE: 'one' } })
}

interface Facts {
  readonly pid: number
  readonly env: Readonly<Record<string, string>>
  readonly args: readonly string[]
}

async function facts(): Promise<Facts> {
  const answer = await controller.apps.call(place, 'facts')
  return JSON.parse((answer as { content: { text: string }[] }).content[0]!.text)
}

const failsWhen = (mode: string): AppBehaviour => ({
  first: `if (process.env.MODE === '${mode}') { console.error('Error: no such mode'); process.exit(1) }`,
})

test('an app is configured: what is given takes the place of what was, what is not given stays, a call goes on', async () => {
  await install()
  const before = await facts()
  const waiting = controller.apps.call(place, 'wait', { ms: 500 })
  expect(await controller.apps.configure('notes', { workspace: 'a', env: { MODE: 'two' } })).toEqual({
    ...place,
    version: '1.0.0',
  })
  await waiting
  const after = await facts()
  expect(after).toMatchObject({ args: ['--first'], env: { MODE: 'two' } })
  expect(after.pid).not.toBe(before.pid)
})

test.each([
  ['one that serves while the new one starts', {}],
  ['an exclusive one, which is ended first', { instar: { exclusive: true } }],
])('settings with which it does not come up are taken back: %s', async (_, manifest) => {
  await install(failsWhen('bad'), manifest)
  await expect(controller.apps.configure('notes', { workspace: 'a', env: { MODE: 'bad' } })).rejects.toMatchObject({
    code: 'APP_START_FAILED',
    message: expect.stringContaining('no such mode'),
  })
  expect(await facts()).toMatchObject({ env: { MODE: 'one' } })
  await controller.apps.restart(place)
  expect(await facts()).toMatchObject({ env: { MODE: 'one' } })
})

test('a restart gives another process of the same version', async () => {
  await install()
  const { pid } = await facts()
  await controller.apps.restart(place)
  expect((await facts()).pid).not.toBe(pid)
  await expect(controller.apps.restart({ app: 'note', workspace: 'a' })).rejects.toMatchObject({ code: 'APP_UNKNOWN' })
})

test('a pinned app stays at its version, and everybody is told why', async () => {
  await install()
  publish('2.0.0')
  const note = 'until the audit'
  expect(await controller.apps.pin('notes', { note })).toEqual({ app: 'notes', pin: { version: '1.0.0', note } })
  for (const attempt of [
    () => controller.apps.upgrade('notes'),
    () => controller.apps.beginUpgrade('notes'),
    () => controller.apps.rollback('notes'),
  ])
    await expect(attempt()).rejects.toMatchObject({ code: 'APP_PINNED', message: expect.stringContaining(note) })
  expect(await controller.apps.check('notes')).toMatchObject([{ standing: 'pinned', offered: '2.0.0', reason: note }])
  await controller.close()

  controller = await openController({ home: host.home, config: host.configFile, schedule: false })
  expect(await controller.apps.list()).toMatchObject([{ version: '1.0.0', pin: { version: '1.0.0', note } }])
  await controller.apps.unpin('notes')
  expect(await controller.apps.upgrade('notes')).toMatchObject({ outcome: 'upgraded', to: '2.0.0' })
})

test('an upgrade that nobody waits for goes on in the controller that runs, and is refused where none does', async () => {
  await install()
  publish('2.0.0')
  await controller.close()
  const alone = await host.instar('app', 'upgrade', 'notes', '--no-wait', '--json')
  expect(alone.code).toBe(3)
  expect(JSON.parse(alone.stderr)).toMatchObject({ code: 'CONTROLLER_NOT_RUNNING' })
  controller = await openController({ home: host.home, config: host.configFile, schedule: false })
  const { run } = await controller.apps.beginUpgrade('notes')
  await expect.poll(() => controller.run(run)?.status).toBe('done')
  expect(await controller.apps.list()).toMatchObject([{ version: '2.0.0' }])
})
