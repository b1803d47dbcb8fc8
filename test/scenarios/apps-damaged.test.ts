import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import type { Controller } from '../../src/controller.ts'
import { appCode } from '../support/apps/app-code.ts'
import { Host } from '../support/host.ts'

// Scenario Apps 8: what is kept on this machine does not pass the gate any more.

const workspaces = ['a', 'b', 'c']

let host: Host
beforeEach(async () => {
  host = await Host.make({ bundled: null })
})
afterEach(() => host[Symbol.asyncDispose]())

function publish(version: string, more: object = {}) {
  host.registry.publish('notes', version, { 'index.mjs': appCode(version) }, { bin: 'index.mjs', ...more })
}

function open(apps: object = {}, registry = host.registry.url): Promise<Controller> {
  return host.open({ config: parseConfig({ registry, apps }, host.directory) })
}

/** Three workspaces that have `notes` 1.0.0, and nobody who serves them. */
async function closedOrganisation(more: object = {}, apps: object = {}): Promise<void> {
  publish('1.0.0', more)
  const controller = await open(apps)
  for (const workspace of workspaces) {
    await controller.workspaces.add(workspace)
    await controller.apps.install('notes', { workspace })
  }
  await controller.close()
}

/** The `package.json` that was kept of the only release. */
async function kept(): Promise<string> {
  const folder = join(host.home, 'releases', 'app', 'notes')
  const [release] = (await readdir(folder)).filter((name) => name.startsWith('1.0.0'))
  return join(folder, release!, 'content', 'package.json')
}

const tarballs = () => host.registry.requestsFor('tarball').length

const states = async ({ apps }: Controller) =>
  (await apps.list())[0]!.workspaces.map(({ workspace, state, failure }) => ({ workspace, state, code: failure?.code }))

const all = (state: string, code?: string) => workspaces.map((workspace) => ({ workspace, state, code }))

test('8: the cached manifest fails the gate, and the registry has a good one: the next start heals with one pull', async () => {
  await closedOrganisation()
  const file = await kept()
  const good = await readFile(file, 'utf8')
  await writeFile(file, '{ "name": "notes", "version": "1.0.0", "instar": { "args": 7 } }')
  const before = tarballs()
  const controller = await open()
  // Until it is noticed that the processes are gone, they are said to serve.
  await expect.poll(() => tarballs() - before).toBe(1)
  await expect.poll(() => states(controller)).toEqual(all('serving'))
  expect(tarballs() - before).toBe(1)
  expect(await readFile(await kept(), 'utf8')).toBe(good)
  expect((await controller.apps.list())[0]).toMatchObject({ version: '1.0.0' })
})

test('8: without a network the cached bytes stay as they are, and the original reason is told', async () => {
  await closedOrganisation()
  const file = await kept()
  const bad = '{ "name": "notes", "version": "1.0.0", "instar": { "args": 7 } }'
  await writeFile(file, bad)
  const controller = await open({}, 'http://127.0.0.1:9/')
  await expect.poll(() => states(controller)).toEqual(all('dead', 'RELEASE_DAMAGED'))
  expect(await readFile(file, 'utf8')).toBe(bad)
  expect(controller.notices().filter(({ type }) => type === 'app.dead')).toHaveLength(workspaces.length)
  await controller.close()

  // With one again, the same command repairs what is down.
  const later = await open()
  await later.apps.upgrade('notes')
  await expect.poll(() => states(later)).toEqual(all('serving'))
})

test('8: where what the registry has fails, too: one pull, one error, no loop; and a fixed version is not blocked', async () => {
  await closedOrganisation({ manifest: { instar: { requires: ['browser'] } } }, { capabilities: ['browser'] })
  const before = tarballs()
  const controller = await open() // a host that can do less
  await expect.poll(() => states(controller)).toEqual(all('dead', 'APP_CAPABILITY_MISSING'))
  expect(tarballs() - before).toBe(1)
  const deaths = controller.notices().filter(({ type }) => type === 'app.dead')
  expect(deaths).toHaveLength(workspaces.length)

  publish('1.0.1')
  expect(await controller.apps.upgrade('notes')).toMatchObject({ outcome: 'upgraded', to: '1.0.1' })
  expect(await states(controller)).toEqual(all('serving'))
})
