import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { performVerb, type VerbName } from '../../src/control/verbs.ts'
import type { Controller } from '../../src/controller.ts'
import { appCode } from '../support/apps/app-code.ts'
import { Host } from '../support/host.ts'

// Scenario 5 of *Apps*: who may do what, and that a refusal looks at nothing and stands in the journal.

let host: Host
let controller: Controller

const publish = (name: string, version: string) =>
  host.registry.publish(name, version, { 'index.mjs': appCode(version) }, { bin: 'index.mjs' })

beforeEach(async () => {
  host = await Host.make({ bundled: null })
  controller = await host.open()
  for (const workspace of ['a', 'b']) await controller.workspaces.add(workspace)
  publish('notes', '1.0.0')
  publish('files', '1.0.0')
  await controller.apps.install('notes', { workspace: 'a' })
})
afterEach(() => host[Symbol.asyncDispose]())

const perform = (verb: VerbName, params: object) =>
  performVerb(controller, verb, params, {
    signal: new AbortController().signal,
    progress: () => {},
    deliver: async () => {},
  })

const code = (verb: VerbName, params: object) =>
  perform(verb, params).then(
    () => 'allowed',
    (error) => error.code as string,
  )

async function tokens() {
  const { access } = controller
  return {
    admin: (await access.add('org_admin')).token,
    workspace: (await access.add('workspace_admin', { workspace: 'a', note: 'of a' })).token,
    member: (await access.add('member', { workspace: 'a' })).token,
    wrong: `instar_${'0'.repeat(12)}_${'x'.repeat(43)}`,
    garbage: 'let me in',
  }
}

const refusals = () => controller.notices().filter(({ type }) => type === 'app.refused')

test('5: only an admin of the organisation raises a version; who is refused has looked at nothing', async () => {
  const { admin, workspace, member, wrong, garbage } = await tokens()
  publish('notes', '2.0.0')
  const asked = host.registry.requests.length
  for (const token of [workspace, member, wrong, garbage]) {
    expect(await code('app.upgrade', { token, name: 'notes' })).toBe('PERMISSION_DENIED')
    expect(await code('app.rollback', { token, name: 'notes' })).toBe('PERMISSION_DENIED')
    expect(await code('mcp.open', { token })).toBe('PERMISSION_DENIED')
    // Whether there is such an app is not for them to learn.
    expect(await code('app.upgrade', { token, name: 'nothing' })).toBe('PERMISSION_DENIED')
  }
  expect(host.registry.requests.length).toBe(asked)
  expect(refusals()).toHaveLength(16)
  expect(refusals()[0]).toMatchObject({ action: 'upgrade', role: 'workspace_admin', app: 'notes' })
  expect(await perform('app.upgrade', { token: admin, name: 'notes' })).toMatchObject({ outcome: 'upgraded' })
})

test('an admin of a workspace installs there, in the version that the organisation has, and nowhere else', async () => {
  const { workspace, member } = await tokens()
  await controller.apps.remove('notes', { workspace: 'a' })
  const install = { spec: 'notes', workspace: 'a' }
  expect(await code('app.install', { token: member, ...install })).toBe('PERMISSION_DENIED')
  expect(await code('app.install', { token: workspace, ...install })).toBe('allowed')
  expect(await code('app.install', { token: workspace, spec: 'notes', workspace: 'b' })).toBe('PERMISSION_DENIED')
  // The organisation does not have it, and a workspace does not decide that it gets it.
  expect(await code('app.install', { token: workspace, spec: 'files', workspace: 'a' })).toBe('PERMISSION_DENIED')
  // Nor is what lies at a path looked at for that.
  for (const spec of ['/nowhere', './notes.mcpb', 'files@file:/nowhere'])
    expect(await code('app.install', { token: workspace, spec, workspace: 'a' })).toBe('PERMISSION_DENIED')
  expect(await code('workspace.add', { token: workspace, id: 'c' })).toBe('PERMISSION_DENIED')
  expect(await code('access.list', { token: workspace })).toBe('PERMISSION_DENIED')
})

test('a member calls the apps of its workspace; a token that was removed opens nothing', async () => {
  const { member } = await tokens()
  const call = { app: 'notes', tool: 'version' }
  expect(await code('app.call', { token: member, workspace: 'a', ...call })).toBe('allowed')
  expect(await code('app.call', { token: member, workspace: 'b', ...call })).toBe('PERMISSION_DENIED')
  expect(await code('app.logs', { token: member, workspace: 'a', app: 'notes' })).toBe('PERMISSION_DENIED')
  const [{ token: id }] = controller.access.list().filter(({ role }) => role === 'member') as unknown as [
    { token: string },
  ]
  await controller.access.remove(id)
  expect(await code('app.call', { token: member, workspace: 'a', ...call })).toBe('PERMISSION_DENIED')
  await expect(controller.access.remove(id)).rejects.toMatchObject({ code: 'TOKEN_UNKNOWN' })
})

test('what a token is stands in no file of the home, and nobody shows it as an argument', async () => {
  const all = await tokens()
  await code('app.upgrade', { token: all.member, name: 'notes' })
  await code('app.upgrade', { token: all.wrong, name: 'notes' })
  await controller.close()
  const entries = await readdir(host.home, { recursive: true, withFileTypes: true })
  for (const entry of entries.filter((one) => one.isFile())) {
    const text = await readFile(join(entry.parentPath, entry.name), 'latin1')
    for (const token of Object.values(all)) expect(text).not.toContain(token.slice(-20))
  }
  const again = await host.open()
  expect(again.access.list().map(({ role, workspace, note }) => [role, workspace, note])).toEqual([
    ['org_admin', null, ''],
    ['workspace_admin', 'a', 'of a'],
    ['member', 'a', ''],
  ])
})

test('on the command line a token comes from a file or the environment', async () => {
  const { member } = await tokens()
  await controller.close()
  const file = join(host.directory, 'token')
  await writeFile(file, `${member}\n`, { mode: 0o600 })
  const refused = await host.instar('--token-file', file, 'app', 'upgrade', 'notes')
  expect(refused).toMatchObject({ code: 4, stdout: '' })
  expect(refused.stderr).toContain('PERMISSION_DENIED')
  expect(await host.instar('--token-file', file, 'app', 'call', 'a', 'notes', 'version')).toMatchObject({
    code: 0,
    stdout: '1.0.0\n',
  })
  expect((await host.instar('--token-file', join(host.directory, 'none'), 'app', 'list')).code).toBe(2)
  const made = await host.instar('access', 'add', 'member', '--workspace', 'b')
  expect(made.stdout).toMatch(/^instar_[0-9a-f]{12}_[\w-]{43}\n$/)
})
