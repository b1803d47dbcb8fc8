import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstat, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pty from 'node-pty'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { Credentials } from '../../src/apps/credentials.ts'
import { performVerb, type VerbName } from '../../src/control/verbs.ts'
import type { Controller } from '../../src/controller.ts'
import { appCode } from '../support/apps/app-code.ts'
import { cli, Host } from '../support/host.ts'

// Secrets that apps are given by name: where they are, and where they are not.

let host: Host
let controller: Controller
const logged: unknown[] = []

const log = (...said: unknown[]) => void logged.push(said)
const logger = { debug: log, info: log, warn: log, error: log }
const open = () => host.open({ logger })

const publish = (version: string) =>
  host.registry.publish('notes', version, { 'index.mjs': appCode(version) }, { bin: 'index.mjs' })

beforeEach(async () => {
  logged.length = 0
  host = await Host.make({ bundled: null })
  onTestFinished(() => host[Symbol.asyncDispose]())
  controller = await open()
  for (const workspace of ['a', 'b']) await controller.workspaces.add(workspace)
  publish('1.0.0')
})

const place = { app: 'notes', workspace: 'a' }
const store = () => join(host.home, 'state', 'credentials.json')

async function tokenSeen(workspace = 'a'): Promise<string | undefined> {
  const answer = await controller.apps.call({ app: 'notes', workspace }, 'facts')
  return JSON.parse((answer as { content: { text: string }[] }).content[0]!.text).env.TOKEN
}

const install = (workspace = 'a') => controller.apps.install('notes', { workspace, credentials: { TOKEN: 'key' } })

const code = (verb: VerbName, params: object) =>
  performVerb(controller, verb, params, {
    signal: new AbortController().signal,
    progress: () => {},
    deliver: async () => {},
  }).then(
    () => 'allowed',
    (error) => error.code as string,
  )

/** Files of the home in which `text` stands. */
async function filesWith(text: string): Promise<string[]> {
  const entries = await readdir(host.home, { recursive: true, withFileTypes: true })
  const found: string[] = []
  for (const entry of entries.filter((one) => one.isFile())) {
    const path = join(entry.parentPath, entry.name)
    if ((await readFile(path, 'latin1')).includes(text)) found.push(path)
  }
  return found
}

/** Runs the built command line with something on its standard input. */
async function instar(input: string | Buffer, ...args: string[]) {
  const all = [cli, '--home', host.home, '--config', host.configFile, ...args]
  const child = spawn(process.execPath, all, { stdio: ['pipe', 'pipe', 'pipe'] })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (text) => {
    said.stdout += text
  })
  child.stderr.on('data', (text) => {
    said.stderr += text
  })
  child.stdin.on('error', () => {}) // it may not read all of it
  child.stdin.end(input)
  const [exitCode] = await once(child, 'close')
  return { code: exitCode as number, ...said }
}

test('an app sees the secret of its own workspace; it is in the store, in that environment, and nowhere else', async () => {
  await controller.credentials.set('key', 'secret-of-a-8151', { workspace: 'a', note: 'for notes' })
  await controller.credentials.set('key', 'secret-of-b-9262', { workspace: 'b' })
  await install('a')
  await install('b')
  expect(await tokenSeen('a')).toBe('secret-of-a-8151')
  expect(await tokenSeen('b')).toBe('secret-of-b-9262')
  publish('2.0.0')
  expect(await controller.apps.upgrade('notes')).toMatchObject({ outcome: 'upgraded' })
  expect(await tokenSeen()).toBe('secret-of-a-8151')
  const { stdout: processes } = await promisify(execFile)('ps', ['-eo', 'args'])
  expect(processes).not.toContain('secret-of-')
  await controller.close()
  controller = await open()
  expect(await tokenSeen()).toBe('secret-of-a-8151')
  const told = JSON.stringify([logged, controller.runs(), controller.notices()])
  expect(told).toContain('set-credential')
  expect(told).not.toContain('secret-of-')
  expect(await filesWith('secret-of-')).toEqual([store()])
  expect((await lstat(store())).mode & 0o777).toBe(0o600)
  expect(controller.notices().filter(({ kind }) => kind === 'set-credential')).toMatchObject([
    { type: 'workspace.adjusted', workspace: 'a', credential: 'key' },
    { type: 'workspace.adjusted', workspace: 'b', credential: 'key' },
  ])
})

test('one that is changed is used at the next start; one that is removed lets nothing start', async () => {
  await controller.credentials.set('key', 'first', { workspace: 'a' })
  await install()
  await controller.credentials.set('key', 'second', { workspace: 'a' })
  expect(await tokenSeen()).toBe('first')
  publish('2.0.0')
  await controller.apps.upgrade('notes')
  expect(await tokenSeen()).toBe('second')
  await controller.credentials.remove('key', { workspace: 'a' })
  expect(controller.credentials.list()).toEqual([])
  publish('3.0.0')
  const result = await controller.apps.upgrade('notes')
  expect(result.workspaces).toMatchObject([{ id: 'a', outcome: 'kept', error: { code: 'CREDENTIAL_UNKNOWN' } }])
  expect(await tokenSeen()).toBe('second')
  expect(await filesWith('second')).toEqual([])
})

test('an install whose secret is not kept is refused, and nothing of it is left', async () => {
  await controller.credentials.set('keys', 'x', { workspace: 'a' })
  await controller.credentials.set('key', 'x', { workspace: 'b' })
  const refused = install()
  await expect(refused).rejects.toMatchObject({ code: 'CREDENTIAL_UNKNOWN' })
  await expect(refused).rejects.toThrow('did you mean "keys"?')
  expect(controller.workspaces.list()).toEqual([
    { id: 'a', apps: [] },
    { id: 'b', apps: [] },
  ])
  expect((await controller.apps.list()).filter(({ workspaces }) => workspaces.length > 0)).toEqual([])
  await controller.credentials.set('key', 'x', { workspace: 'a' })
  expect(await install()).toMatchObject({ version: '1.0.0' })
})

test("the host's own say goes before the store", async () => {
  await controller.credentials.set('key', 'of the store', { workspace: 'a' })
  await controller.close()
  controller = await host.open({ apps: { credential: async (name) => `${name} of the host` } })
  await install()
  expect(await tokenSeen()).toBe('key of the host')
})

test('a workspace takes its secrets with it', async () => {
  await controller.credentials.set('key', 'must-be-gone', { workspace: 'a' })
  await controller.credentials.set('key', 'stays', { workspace: 'b' })
  await controller.workspaces.remove('a')
  expect(await filesWith('must-be-gone')).toEqual([])
  await controller.workspaces.add('a')
  expect(controller.credentials.list()).toMatchObject([{ credential: 'key', workspace: 'b' }])
  await expect(install()).rejects.toMatchObject({ code: 'CREDENTIAL_UNKNOWN' })
})

test('set and removed at once with the workspace: nothing of it stays', async () => {
  await Promise.allSettled([
    controller.workspaces.remove('a'),
    controller.credentials.set('key', 'came-too-late', { workspace: 'a' }),
  ])
  expect(controller.workspaces.list()).toMatchObject([{ id: 'b' }])
  expect(await filesWith('came-too-late')).toEqual([])
})

test('who may: an admin of the organisation everywhere, one of a workspace there, a member nowhere', async () => {
  const { access } = controller
  const org = (await access.add('org_admin')).token
  const admin = (await access.add('workspace_admin', { workspace: 'a' })).token
  const member = (await access.add('member', { workspace: 'a' })).token
  const key = { name: 'key', workspace: 'a' }
  const there = { name: 'key', workspace: 'b' }
  for (const token of [member, 'instar_none']) {
    expect(await code('credential.set', { token, ...key, secret: 'x' })).toBe('PERMISSION_DENIED')
    expect(await code('credential.list', { token, workspace: 'a' })).toBe('PERMISSION_DENIED')
    expect(await code('credential.remove', { token, ...key })).toBe('PERMISSION_DENIED')
  }
  expect(await code('credential.set', { token: admin, ...key, secret: 'x' })).toBe('allowed')
  expect(await code('credential.set', { token: admin, ...there, secret: 'x' })).toBe('PERMISSION_DENIED')
  expect(await code('credential.set', { token: org, ...there, secret: 'x' })).toBe('allowed')
  expect(await code('credential.list', { token: admin, workspace: 'b' })).toBe('PERMISSION_DENIED')
  const listed = (token: string) =>
    performVerb(
      controller,
      'credential.list',
      { token },
      {
        signal: new AbortController().signal,
        progress: () => {},
        deliver: async () => {},
      },
    )
  // What is elsewhere is not named either.
  expect(await listed(admin)).toMatchObject({ credentials: [{ workspace: 'a' }] })
  expect(await listed(org)).toMatchObject({ credentials: [{ workspace: 'a' }, { workspace: 'b' }] })
  expect(await code('credential.remove', { token: admin, ...there })).toBe('PERMISSION_DENIED')
  expect(await code('credential.remove', { token: admin, ...key })).toBe('allowed')
  expect(controller.notices().filter(({ type }) => type === 'app.refused')).toHaveLength(9)
})

test('bad input is refused, and no error says a secret', async () => {
  const { credentials } = controller
  const wrong: [name: string, secret: string][] = [
    ['', 'x'],
    ['__proto__', 'x'],
    ['two words', 'x'],
    ['x'.repeat(257), 'x'],
    ['key', ''],
    ['key', 'do-not-tell\0'],
    ['key', `do-not-tell${'x'.repeat(32_768)}`],
  ]
  for (const [name, secret] of wrong) {
    const error = await credentials.set(name, secret, { workspace: 'a' }).catch((reason) => reason)
    expect({ name, code: error.code }).toEqual({ name, code: 'PARAMETERS_INVALID' })
    expect(error.message).not.toContain('do-not-tell')
  }
  await expect(credentials.set('key', 'x', { workspace: 'c' })).rejects.toMatchObject({ code: 'WORKSPACE_UNKNOWN' })
  await expect(credentials.remove('key', { workspace: 'a' })).rejects.toMatchObject({ code: 'CREDENTIAL_UNKNOWN' })
  expect(() => credentials.list({ workspace: 'c' })).toThrow('there is no workspace "c"')
  for (const name of ['constructor', 'toString']) {
    await expect(credentials.remove(name, { workspace: 'a' })).rejects.toMatchObject({ code: 'CREDENTIAL_UNKNOWN' })
    await credentials.set(name, `of ${name}`, { workspace: 'a' })
  }
  expect(credentials.list().map(({ credential }) => credential)).toEqual(['constructor', 'toString'])
})

test('what a crash left of a write of the store is gone at the next start', async () => {
  await controller.close()
  const nobody = 9_999_999
  await writeFile(join(host.home, 'state', `.draft-${nobody}-1`), 'left-over')
  await writeFile(join(host.home, `.draft-${nobody}-2`), 'left-over')
  controller = await open()
  expect(await filesWith('left-over')).toEqual([])
})

test('a damaged store is said so, and left as it is', async () => {
  await controller.close()
  await writeFile(store(), '{')
  await expect(open()).rejects.toMatchObject({ code: 'STATE_DAMAGED' })
  expect(await readFile(store(), 'utf8')).toBe('{')
})

test('on the command line a secret comes from standard input or a file, never from an argument', async () => {
  await controller.close()
  const set = ['credential', 'set', 'key', '--workspace', 'a']
  expect(await instar('of the pipe\n', ...set, '--note', 'for notes')).toEqual({
    code: 0,
    stdout: 'key is kept for a\n',
    stderr: '',
  })
  expect(JSON.parse(await readFile(store(), 'utf8')).workspaces.a.key.secret).toBe('of the pipe')
  const file = join(host.directory, 'secret')
  await writeFile(file, 'line one\nline two\n')
  expect((await instar('', ...set, '--from-file', file)).code).toBe(0)
  expect(JSON.parse(await readFile(store(), 'utf8')).workspaces.a.key.secret).toBe('line one\nline two')
  const listed = await instar('', 'credential', 'list')
  expect(listed.stdout).toMatch(/^a +key +2\S+ +-$/m)
  expect(listed.stdout).not.toContain('line')
  for (const input of ['', '\n']) {
    const none = await instar(input, '--json', ...set)
    expect(none).toMatchObject({ code: 2, stdout: '' })
    expect(JSON.parse(none.stderr)).toMatchObject({ code: 'USAGE', message: 'there is no secret' })
  }
  expect((await instar(Buffer.from([0xff, 0xfe]), ...set)).stderr).toContain('not UTF-8')
  expect((await instar('x'.repeat(300_000), ...set)).stderr).toContain('at most')
  expect((await instar('', ...set, '--from-file', join(host.directory, 'none'))).code).toBe(2)
  expect((await instar('', ...set, 'in-argv')).code).toBe(2)
  expect(await instar('', 'credential', 'remove', 'key', '--workspace', 'a')).toMatchObject({
    code: 0,
    stdout: 'key is forgotten for a\n',
  })
  expect((await instar('', 'credential', 'list')).stdout).toBe('There is no credential.\n')
  expect((await instar('', 'credential', 'remove', 'key', '--workspace', 'a')).code).toBe(2)
})

/** Runs it on a terminal, types once it asks, and answers with all that was shown. */
function typed(keys: string): Promise<{ code: number; shown: string }> {
  return new Promise((resolve) => {
    const args = [cli, '--home', host.home, '--config', host.configFile, 'credential', 'set', 'key', '--workspace', 'a']
    const terminal = pty.spawn(process.execPath, args, { env: { ...process.env, TERM: 'xterm' } })
    let shown = ''
    let isAsked = false
    terminal.onData((data) => {
      shown += data
      if (isAsked || !shown.includes('secret (it is not shown)')) return
      isAsked = true
      terminal.write(keys)
    })
    terminal.onExit(({ exitCode }) => resolve({ code: exitCode, shown }))
  })
}

test('on a terminal it is asked for, and not shown; Ctrl-C keeps nothing', async () => {
  await controller.close()
  const { code: done, shown } = await typed('typed-secret\r')
  expect({ done, shown }).toEqual({ done: 0, shown: expect.stringContaining('key is kept for a') })
  expect(shown).not.toContain('typed-secret')
  expect(JSON.parse(await readFile(store(), 'utf8')).workspaces.a.key.secret).toBe('typed-secret')
  expect((await typed('other\u0003')).code).toBe(130)
  expect((await typed('\r')).code).toBe(2)
  expect(JSON.parse(await readFile(store(), 'utf8')).workspaces.a.key.secret).toBe('typed-secret')
})

test('an app that dies is started again with what is kept now', async () => {
  await controller.credentials.set('key', 'before', { workspace: 'a' })
  await install()
  await controller.credentials.set('key', 'after', { workspace: 'a' })
  await controller.apps.call(place, 'die').catch(() => {}) // it answers nothing any more
  expect(await tokenSeen()).toBe('after')
})

test('an offer is kept once; one that an earlier controller had is lost, and that is said', async () => {
  const folder = join(host.directory, 'elsewhere')
  const credentials = await Credentials.open(folder)
  const offer = credentials.offer('x', '')
  await credentials.keep('a', 'key', offer, '2026-01-01T00:00:00.000Z')
  credentials.withdraw(offer)
  // The answer was lost in a crash.
  const next = await Credentials.open(folder)
  await next.keep('a', 'key', offer, '2026-01-02T00:00:00.000Z')
  expect(next.list()).toEqual([{ credential: 'key', workspace: 'a', note: '', setAt: '2026-01-01T00:00:00.000Z' }])
  const lost = next.keep('a', 'key', 'of an earlier life', '2026-01-02T00:00:00.000Z')
  await expect(lost).rejects.toMatchObject({ code: 'CONTROLLER_GONE' })
  expect(next.secret('a', 'key')).toBe('x')
})
