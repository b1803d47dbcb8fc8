import { lstat, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ConsoleTrial, codeOf, cookieIn } from '../support/console/console-trial.ts'

let trial: ConsoleTrial
beforeEach(async () => {
  trial = await ConsoleTrial.make()
})
afterEach(() => trial[Symbol.asyncDispose]())

const whoIs = async (cookie: string) => {
  const { status, text } = await trial.send('/console/session', { cookie })
  return status === 200 ? JSON.parse(text) : status
}

test('the link holds the token behind #; it signs a browser in by a cookie that no script can read', async () => {
  const token = await trial.ownersToken()
  expect(trial.controller.consoleLink).toBe(`${trial.http.url}/#token=${token}`)
  const { status, headers, text } = await trial.send('/console/session', { method: 'POST', body: { token } })
  expect([status, text]).toEqual([204, ''])
  const [set] = headers['set-cookie'] as string[]
  expect(set).toMatch(/^instar-console-\d+=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/)
  expect(set).not.toContain(token)
  expect(await whoIs(cookieIn(headers))).toEqual({ role: 'owner', workspace: null })
})

test('a token of a role signs in as that role, until the token is removed', async () => {
  await trial.controller.workspaces.add('a')
  const { token } = await trial.controller.access.add('workspace_admin', { workspace: 'a' })
  const cookie = await trial.signIn(token)
  expect(await whoIs(cookie)).toEqual({ role: 'workspace_admin', workspace: 'a' })
  await trial.controller.access.remove(trial.controller.access.list()[0]!.token)
  expect(await whoIs(cookie)).toBe(401)
})

test('whoever signs out is out; others stay in', async () => {
  const [mine, other] = [await trial.signIn(), await trial.signIn()]
  const { status, headers } = await trial.send('/console/session', { method: 'DELETE', cookie: mine })
  expect(status).toBe(204)
  expect((headers['set-cookie'] as string[])[0]).toMatch(/^instar-console-\d+=; .*Max-Age=0$/)
  expect(await whoIs(mine)).toBe(401)
  expect(await whoIs(other)).toMatchObject({ role: 'owner' })
})

test("the owner's browser is known after a restart, though the token is another; what is kept opens nothing", async () => {
  const { token } = await trial.controller.access.add('org_admin')
  const [owner, admin, before] = [await trial.signIn(), await trial.signIn(token), await trial.ownersToken()]
  await trial.restart()
  expect(await trial.ownersToken()).not.toBe(before)
  expect(await whoIs(owner)).toMatchObject({ role: 'owner' })
  expect(await whoIs(admin)).toBe(401)
  const file = join(trial.host.home, 'state', 'console.json')
  expect((await lstat(file)).mode & 0o777).toBe(0o600)
  const kept = await readFile(file, 'utf8')
  expect(kept).not.toContain(owner.split('=')[1])
  const [digest] = Object.keys(JSON.parse(kept).owner)
  expect(await whoIs(`${owner.split('=')[0]}=${digest}`)).toBe(401)
  await trial.send('/console/session', { method: 'DELETE', cookie: owner })
  await trial.restart()
  expect(await whoIs(owner)).toBe(401)
})

test('a wrong token is refused and journaled; to ask who one is, is not', async () => {
  const refused = () => trial.controller.notices().filter(({ type }) => type === 'app.refused')
  const answer = await trial.send('/console/session', { method: 'POST', body: { token: 'let-me-in' } })
  expect([answer.status, codeOf(answer)]).toEqual([401, 'PERMISSION_DENIED'])
  expect(answer.headers['set-cookie']).toBeUndefined()
  expect(refused()).toMatchObject([{ action: 'see the console', role: null, token: null }])
  expect(await whoIs('')).toBe(401)
  expect(refused()).toHaveLength(1)
  for (const body of ['{', '[]', { token: 7 }, { token: 'x', more: 1 }])
    expect((await trial.send('/console/session', { method: 'POST', body })).status).toBe(400)
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' }
  expect((await trial.send('/console/session', { method: 'POST', headers: form, body: 'token=x' })).status).toBe(415)
})

test('where too many browsers are signed in, the first of them is signed out; after their time all are', async () => {
  await trial[Symbol.asyncDispose]()
  trial = await ConsoleTrial.make({ browsers: 2, browserMs: 1500 })
  const cookies = [await trial.signIn(), await trial.signIn(), await trial.signIn()]
  expect(await Promise.all(cookies.map(whoIs))).toEqual([
    401,
    { role: 'owner', workspace: null },
    { role: 'owner', workspace: null },
  ])
  await new Promise((resolve) => setTimeout(resolve, 1600))
  expect(await Promise.all(cookies.map(whoIs))).toEqual([401, 401, 401])
})

test('the page is for everybody, under a policy that allows nothing inline and nothing from elsewhere', async () => {
  const { status, headers, text } = await trial.send('/')
  if (status === 503) expect(text).toContain('npm run build')
  else expect([status, headers['content-type']]).toEqual([200, 'text/html; charset=utf-8'])
  expect(headers['content-security-policy']).toBe(
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  )
  expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' })
})
