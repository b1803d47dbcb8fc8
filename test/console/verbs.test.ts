import { afterEach, beforeEach, expect, test } from 'vitest'
import { verbs } from '../../src/control/verbs.ts'
import { appCode } from '../support/apps/app-code.ts'
import { ConsoleTrial, codeOf } from '../support/console/console-trial.ts'

let trial: ConsoleTrial
let cookie: string
beforeEach(async () => {
  trial = await ConsoleTrial.make()
  cookie = await trial.signIn()
})
afterEach(() => trial[Symbol.asyncDispose]())

const publish = (version: string) =>
  trial.host.registry.publish('notes', version, { 'index.mjs': appCode(version) }, { bin: 'index.mjs' })

test('a verb does what the command of the same name does, and its errors are those', async () => {
  publish('1.0.0')
  expect((await trial.perform(cookie, 'workspace.add', { id: 'a' })).text).toBe('{"result":{"workspace":"a"}}')
  const installed = await trial.perform(cookie, 'app.install', { spec: 'notes', workspace: 'a' })
  expect(JSON.parse(installed.text).result).toEqual({ app: 'notes', workspace: 'a', version: '1.0.0' })
  publish('2.0.0')
  const upgraded = await trial.perform(cookie, 'app.upgrade', { name: 'notes' })
  expect(JSON.parse(upgraded.text).result).toMatchObject({ outcome: 'upgraded', to: '2.0.0' })
  const again = await trial.perform(cookie, 'workspace.add', { id: 'a' })
  expect([again.status, codeOf(again)]).toEqual([400, 'WORKSPACE_EXISTS'])
  expect(JSON.parse(again.text).error).toMatchObject({ message: expect.any(String), hint: expect.any(String) })
  const wrong = await trial.perform(cookie, 'app.upgrade', { name: 'notes', more: true })
  expect([wrong.status, codeOf(wrong)]).toEqual([400, 'PARAMETERS_INVALID'])
  const unknown = await trial.perform(cookie, 'app.upgrade', { name: 'nothing' })
  expect([unknown.status, codeOf(unknown)]).toEqual([404, 'APP_UNKNOWN'])
})

test('a request that is repeated under its id joins the first, also after its answer; under another it is done again', async () => {
  const id = 'request-0001'
  const params = { id: 'a' }
  const both = await Promise.all([1, 2].map(() => trial.perform(cookie, 'workspace.add', params, id)))
  expect(both.map(({ status }) => status)).toEqual([200, 200])
  expect((await trial.perform(cookie, 'workspace.add', params, id)).status).toBe(200)
  expect(trial.controller.runs().filter(({ machine }) => machine.startsWith('workspace-adjust'))).toHaveLength(1)
  expect(codeOf(await trial.perform(cookie, 'workspace.add', params, 'request-0002'))).toBe('WORKSPACE_EXISTS')
  // A refusal is repeated, too.
  expect(codeOf(await trial.perform(cookie, 'workspace.add', params, 'request-0002'))).toBe('WORKSPACE_EXISTS')
  expect(codeOf(await trial.perform(cookie, 'workspace.add', { id: 'b' }, id))).toBe('PARAMETERS_INVALID')
  expect((await trial.perform(cookie, 'workspace.list', {}, 'short')).status).toBe(400)
  expect(trial.controller.workspaces.list().map((one) => one.id)).toEqual(['a'])
})

test('what a page asked for goes on when the page is gone', async () => {
  publish('1.0.0')
  await trial.controller.workspaces.add('a')
  const leaving = new AbortController()
  const body = JSON.stringify({ spec: 'notes', workspace: 'a' })
  const headers = { Cookie: cookie, 'Content-Type': 'application/json', 'X-Request-Id': 'request-0001' }
  const url = `${trial.http.url}/console/verbs/app.install`
  const asked = fetch(url, { method: 'POST', headers, body, signal: leaving.signal }).catch(() => 'left')
  while (trial.controller.state().runs.length === 0) await new Promise(setImmediate)
  leaving.abort()
  expect(await asked).toBe('left')
  const again = await fetch(url, { method: 'POST', headers, body })
  expect(await again.json()).toMatchObject({ result: { app: 'notes', version: '1.0.0' } })
  expect(trial.controller.runs().filter(({ machine }) => machine.startsWith('app-install'))).toHaveLength(1)
})

test('one with a token may what its role may with apps; what is not about apps is the owner’s alone', async () => {
  publish('1.0.0')
  for (const workspace of ['a', 'b']) await trial.controller.workspaces.add(workspace)
  await trial.controller.apps.install('notes', { workspace: 'a' })
  const cookieOf = async (role: 'org_admin' | 'workspace_admin' | 'member', workspace?: string) =>
    trial.signIn((await trial.controller.access.add(role, { workspace })).token)
  const [org, admin, member] = [
    await cookieOf('org_admin'),
    await cookieOf('workspace_admin', 'b'),
    await cookieOf('member', 'b'),
  ]
  const install = (workspace: string) => ['app.install', { spec: 'notes', workspace }] as const
  const asked = [
    [member, 'app.list', {}, 200],
    [member, ...install('b'), 403],
    [admin, ...install('a'), 403],
    [admin, ...install('b'), 200],
    [admin, 'app.upgrade', { name: 'notes' }, 403],
    [org, 'app.upgrade', { name: 'notes' }, 200],
    [org, 'runtime.list', {}, 403],
    [org, 'plugin.install', { specs: ['x'], folder: '/' }, 403],
    [org, 'daemon.stop', {}, 403],
    [org, 'journal.read', { from: 0 }, 403],
    [cookie, 'runtime.list', {}, 200],
  ] as const
  for (const [who, verb, params, status] of asked) {
    const answer = await trial.perform(who, verb, params)
    expect({ verb, params, status: answer.status }).toEqual({ verb, params, status })
    if (status === 403) expect(codeOf(answer)).toBe('PERMISSION_DENIED')
  }
})

test('no verb that has to do with secrets, or has no end, is offered, and none of its own making', async () => {
  const refused = ['access.add', 'app.call', 'credential.set', 'journal.follow', 'mcp.open', 'mcp.send']
  for (const verb of [...refused, 'toString', 'nothing']) {
    const answer = await trial.perform(cookie, verb)
    expect({ verb, status: answer.status, code: codeOf(answer) }).toEqual({ verb, status: 404, code: 'VERB_UNKNOWN' })
  }
  for (const verb of Object.keys(verbs))
    if (!refused.includes(verb))
      expect(codeOf(await trial.perform(cookie, verb, { wrong: 1 }))).toBe('PARAMETERS_INVALID')
})

test('closing the controller does not wait for what is being done', async () => {
  publish('1.0.0')
  await trial.controller.workspaces.add('a')
  const asked = trial.perform(cookie, 'app.install', { spec: 'notes', workspace: 'a' })
  while (trial.controller.state().runs.length === 0) await new Promise(setImmediate)
  const answer = asked.catch(() => null)
  await trial.controller.close()
  expect([503, undefined]).toContain((await answer)?.status)
})
