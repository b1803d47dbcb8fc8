import { once } from 'node:events'
import { lstat, readFile } from 'node:fs/promises'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import type { Controller } from '../../src/controller.ts'
import type { HttpLimits } from '../../src/http/limits.ts'
import { HttpServer } from '../../src/http/server.ts'
import { type AppBehaviour, appCode } from '../support/apps/app-code.ts'
import { Host } from '../support/host.ts'
import { type Answer, request } from '../support/http.ts'
import { linesOf, start } from '../support/instar.ts'
import { eventually } from '../support/sessions/eventually.ts'

// A controller over HTTP, spoken to by the official client, and by hand where that would not do wrong.

let host: Host
let controller: Controller
let http: HttpServer
const clients: Client[] = []

beforeEach(async () => {
  host = await Host.make({ bundled: null })
  controller = await host.open()
  for (const workspace of ['a', 'b']) await controller.workspaces.add(workspace)
})
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close().catch(() => {}) // some are closed by the server
  await host[Symbol.asyncDispose]()
})

async function serve(limits: Partial<HttpLimits> = {}): Promise<void> {
  http = await HttpServer.listen({ port: 0, limits })
  onTestFinished(() => http.close())
  await http.serve(controller)
}

function publish(name: string, version: string, behaviour: AppBehaviour = {}) {
  host.registry.publish(name, version, { 'index.mjs': appCode(version, behaviour) }, { bin: 'index.mjs' })
}

async function connect(path: string, token: string): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' })
  const requestInit = { headers: { Authorization: `Bearer ${token}` } }
  await client.connect(new StreamableHTTPClientTransport(new URL(path, http.url), { requestInit }) as never)
  clients.push(client)
  return client
}

async function said(client: Client, name: string, args: object = {}): Promise<string> {
  const { content } = await client.callTool({ name, arguments: { ...args } })
  return (content as { text: string }[])[0]!.text
}

const tokenOf = async (role: 'org_admin' | 'workspace_admin' | 'member', workspace?: string) =>
  (await controller.access.add(role, { workspace })).token

const ownersToken = async () => (await readFile(join(host.home, 'console.token'), 'utf8')).trim()

const initialize = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'by hand', version: '1' } },
})

interface Sent {
  readonly path?: string
  readonly method?: string
  readonly token?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** By default to begin a conversation with the apps of workspace `a`. */
const send = ({ path = '/mcp/workspaces/a', method = 'POST', token, headers = {}, body = initialize }: Sent) =>
  request(new URL(path, http.url), {
    method,
    headers: {
      'Content-Type': 'application/json',
      Accept: 'application/json, text/event-stream',
      ...(token !== undefined && { Authorization: `Bearer ${token}` }),
      ...headers,
    },
    ...(method === 'POST' && { body }),
  })

const codeOf = ({ text }: Answer) => JSON.parse(text).error.code as string

const refusals = () => controller.notices().filter(({ type }) => type === 'app.refused')

const isListening = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connectSocket(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).on('error', () => resolve(false))
  })

test('clients of two workspaces stay connected through an upgrade with calls in flight, and are told of new lists', async () => {
  publish('notes', '1.0.0', { tools: ['old'] })
  for (const workspace of ['a', 'b']) await controller.apps.install('notes', { workspace })
  await serve()
  const members = [await tokenOf('member', 'a'), await tokenOf('member', 'b')]
  const connected = [
    await connect('/mcp/workspaces/a', members[0]!),
    await connect('/mcp/workspaces/b', members[1]!),
    await connect('/mcp/workspaces/a', await ownersToken()),
  ]
  const told = connected.map(() => 0)
  for (const [at, client] of connected.entries())
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
      told[at]! += 1
    })
  const names = async (client: Client) => (await client.listTools()).tools.map(({ name }) => name)
  for (const client of connected) expect(await names(client)).toContain('old')
  publish('notes', '2.0.0', { tools: ['new'] })
  let isOver = false
  const answers = connected.map(() => new Set<string>())
  const callers = connected.map(async (client, at) => {
    while (!isOver) answers[at]!.add(await said(client, 'wait', { ms: 5 }))
  })
  const slow = said(connected[0]!, 'wait', { ms: 1500 })
  await sleep(100)
  await controller.apps.upgrade('notes')
  await eventually(() => answers.every((some) => some.has('2.0.0')), 'answers of the new one')
  isOver = true
  await Promise.all(callers)
  expect(await slow).toBe('1.0.0')
  expect(answers).toEqual(connected.map(() => new Set(['1.0.0', '2.0.0'])))
  await eventually(() => told.every((count) => count > 0), 'the news')
  for (const client of connected) {
    expect(await names(client)).toContain('new')
    expect(await names(client)).not.toContain('old')
  }
})

test("an organisation's admin manages its apps", async () => {
  publish('notes', '1.0.0')
  await controller.apps.install('notes', { workspace: 'a' })
  publish('notes', '2.0.0')
  await serve()
  const client = await connect('/mcp/organisation', await tokenOf('org_admin'))
  expect(JSON.parse(await said(client, 'manage_apps', { action: 'upgrade', app: 'notes' }))).toMatchObject({
    outcome: 'upgraded',
    to: '2.0.0',
  })
})

test('5: no token, a wrong one, one for something else: refused before anything is looked up, and journaled', async () => {
  await serve()
  const wrong = `instar_${'0'.repeat(12)}_${'x'.repeat(43)}`
  const member = await tokenOf('member', 'b')
  const admin = await tokenOf('workspace_admin', 'a')
  const path = '/mcp/organisation'
  const asked: [sent: Sent, status: number][] = [
    [{}, 401],
    [{ headers: { Authorization: 'Basic abc' } }, 401],
    [{ token: wrong }, 401],
    [{ token: 'let-me-in' }, 401],
    [{ token: (await ownersToken()).replace(/..$/, '__') }, 401],
    [{ token: member }, 403],
    // Whether there is such a workspace is not for them to learn.
    [{ token: member, path: '/mcp/workspaces/nothing' }, 403],
    [{ token: member, path }, 403],
    [{ token: admin, path }, 403],
  ]
  for (const [sent, status] of asked) {
    const answer = await send(sent)
    expect({ sent, status: answer.status }).toEqual({ sent, status })
    expect(codeOf(answer)).toBe('PERMISSION_DENIED')
    expect(answer.text + JSON.stringify(answer.headers)).not.toMatch(/x{43}|let-me-in/)
  }
  expect(refusals()).toHaveLength(asked.length)
  expect(refusals()[0]).toMatchObject({ action: 'connect', role: null, token: null, workspace: 'a' })
  expect(refusals()[5]).toMatchObject({ action: 'connect', role: 'member', workspace: 'a' })
  expect(refusals()[7]).toMatchObject({ action: 'manage apps', role: 'member' })
  expect((await send({ token: await ownersToken(), path: '/mcp/workspaces/nothing' })).status).toBe(404)
})

test('who is refused again and again does not fill the journal, and keeps nobody else out', async () => {
  await serve({ refusalsPerMinute: 3 })
  const statuses: number[] = []
  for (let left = 5; left > 0; left--) statuses.push((await send({})).status)
  expect(statuses).toEqual([401, 401, 401, 429, 429])
  expect(refusals()).toHaveLength(3)
  expect((await send({ token: await ownersToken() })).status).toBe(200)
})

test('what comes from another site, or for another name, is refused, whatever token it shows', async () => {
  await serve()
  const token = await ownersToken()
  const { port } = http
  const foreign: Record<string, string>[] = [
    { Host: `evil.test:${port}` },
    { Host: '127.0.0.1' },
    { Host: `127.0.0.1:${port + 1}` },
    { Origin: 'http://evil.test' },
    { Origin: 'null' },
    { Origin: `https://127.0.0.1:${port}` },
    { Host: `localhost:${port}`, Origin: `http://127.0.0.1:${port}` },
    { 'Sec-Fetch-Site': 'cross-site' },
  ]
  for (const headers of foreign) {
    const answer = await send({ token, headers })
    expect({ headers, status: answer.status }).toEqual({ headers, status: 403 })
    expect(codeOf(answer)).toBe('HTTP_FOREIGN')
  }
  expect(refusals()).toEqual([])
  const own: Record<string, string>[] = [
    { Host: `localhost:${port}`, Origin: `http://localhost:${port}` },
    { Origin: http.url },
  ]
  for (const headers of own) expect((await send({ token, headers })).status).toBe(200)
})

test('what is too large, unknown or not the protocol is refused, and the server goes on', async () => {
  await serve({ bodyBytes: 10_000, sessions: 3 })
  const token = await ownersToken()
  expect((await send({ token, body: 'x'.repeat(10_001) })).status).toBe(413)
  // Without saying how much it is.
  const chunked = { 'Transfer-Encoding': 'chunked' }
  expect((await send({ token, headers: chunked, body: `"${'x'.repeat(2_000_000)}"` })).status).toBe(413)
  expect((await send({ token, headers: { 'X-Much': 'x'.repeat(20_000) } })).status).toBe(431)
  expect((await send({ token, body: '{' })).status).toBe(400)
  expect((await send({ token, body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' })).status).toBe(400)
  expect((await send({ token, method: 'GET' })).status).toBe(400)
  expect(await send({ token, method: 'PUT' })).toMatchObject({ status: 405, headers: { allow: 'GET, POST, DELETE' } })
  expect((await send({ token, path: '/' })).status).toBe(405)
  for (const path of [
    '/mcp',
    '/mcp/workspaces/',
    '/mcp/workspaces/a/b',
    '/mcp/workspaces/%2e%2e',
    '/mcp/organisation/',
  ])
    expect((await send({ token, path })).status).toBe(404)
  expect((await send({ token })).status).toBe(200)
})

test('one who says nothing, or stops in the middle, is cut, and leaves no conversation', async () => {
  await serve({ headersMs: 200, requestMs: 400, sessions: 1 })
  const token = await ownersToken()
  const head = `POST /mcp/workspaces/a HTTP/1.1\r\nHost: 127.0.0.1:${http.port}\r\n`
  const rest = `Authorization: Bearer ${token}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n`
  for (const said of ['', head, `${head}${rest}Content-Length: 100\r\n\r\n{"jsonrpc"`]) {
    const socket = connectSocket(http.port, '127.0.0.1')
    socket.on('error', () => {}).resume() // cut is what we want
    socket.write(said)
    await once(socket, 'close')
  }
  await eventually(async () => (await send({ token })).status === 200, 'room')
})

test('one who does not read what was asked for is cut, and holds nothing up', async () => {
  publish('notes', '1.0.0')
  await controller.apps.install('notes', { workspace: 'a' })
  await controller.apps.call({ app: 'notes', workspace: 'a' }, 'keep', { text: 'x'.repeat(3_000_000) })
  await serve({ silenceMs: 1500, sessions: 1, sessionIdleMs: 1000 })
  const token = await ownersToken()
  const id = (await send({ token })).headers['mcp-session-id'] as string
  const params = { name: 'kept', arguments: {} }
  const calls = Array.from({ length: 10 }, (_, at) => ({ jsonrpc: '2.0', id: at, method: 'tools/call', params }))
  const body = JSON.stringify(calls)
  const socket = connectSocket(http.port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {}).pause()
  socket.write(
    [
      'POST /mcp/workspaces/a HTTP/1.1',
      `Host: 127.0.0.1:${http.port}`,
      `Authorization: Bearer ${token}`,
      `Mcp-Session-Id: ${id}`,
      'Accept: application/json, text/event-stream',
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
      '',
      body,
    ].join('\r\n'),
  )
  await sleep(1200)
  expect((await send({ token })).status).toBe(503)
  await eventually(async () => (await send({ token })).status === 200, 'room')
})

test('a conversation belongs to the token and the place that began it, and ends by DELETE or with its token', async () => {
  await serve()
  const member = await tokenOf('member', 'a')
  const begun = await send({ token: member })
  const headers = { 'Mcp-Session-Id': begun.headers['mcp-session-id'] as string }
  const body = '{"jsonrpc":"2.0","id":2,"method":"ping"}'
  const status = async (sent: Sent) => (await send({ headers, body, ...sent })).status
  expect(await status({ token: member })).toBe(200)
  expect(await status({ token: await tokenOf('member', 'a') })).toBe(404)
  expect(await status({ token: await ownersToken() })).toBe(404)
  const admin = await tokenOf('org_admin')
  const all = await send({ token: admin })
  const elsewhere = { 'Mcp-Session-Id': all.headers['mcp-session-id'] as string }
  expect(await status({ token: admin, headers: elsewhere, path: '/mcp/workspaces/b' })).toBe(404)
  expect(await status({ token: admin, headers: elsewhere, method: 'DELETE' })).toBe(200)
  expect(await status({ token: admin, headers: elsewhere })).toBe(404)
  const listening = send({ token: member, headers, method: 'GET' })
  const [{ token: id }] = controller.access.list() as unknown as [{ token: string }]
  await sleep(200)
  await controller.access.remove(id)
  expect((await listening).status).toBe(200) // it was let in, and has ended
  expect(await status({ token: member })).toBe(401)
})

test('no more conversations than the limit; one that is idle is ended and makes room', async () => {
  await serve({ sessions: 2, sessionIdleMs: 300 })
  const token = await ownersToken()
  const client = await connect('/mcp/workspaces/a', token)
  const begun = await send({ token })
  expect(begun.status).toBe(200)
  const busy = await send({ token })
  expect([busy.status, codeOf(busy)]).toEqual([503, 'CONTROLLER_BUSY'])
  await eventually(async () => (await send({ token })).status === 200, 'room')
  const headers = { 'Mcp-Session-Id': begun.headers['mcp-session-id'] as string }
  expect((await send({ token, headers, body: '{"jsonrpc":"2.0","id":2,"method":"ping"}' })).status).toBe(404)
  // Whoever listens for news is not idle.
  await client.ping()
  await sleep(600)
  await client.ping()
})

test('one token does not take all conversations', async () => {
  await serve({ sessions: 4, sessionsOfToken: 2 })
  const [greedy, other] = [await tokenOf('member', 'a'), await tokenOf('member', 'a')]
  const answers = await Promise.all([1, 2, 3].map(() => send({ token: greedy })))
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 503])
  expect((await send({ token: other })).status).toBe(200)
  expect((await send({ token: await ownersToken() })).status).toBe(200)
})

test('closing the controller ends every conversation; nothing listens after it, and the token is gone', async () => {
  publish('notes', '1.0.0')
  await controller.apps.install('notes', { workspace: 'a' })
  await serve()
  const { port } = http
  expect(controller.url).toBe(`http://127.0.0.1:${port}`)
  const token = await ownersToken()
  expect((await lstat(join(host.home, 'console.token'))).mode & 0o777).toBe(0o600)
  const client = await connect('/mcp/workspaces/a', token)
  const waiting = said(client, 'wait', { ms: 60_000 }).catch(() => 'ended')
  await sleep(200)
  await controller.close()
  expect(await isListening(port)).toBe(false)
  await expect(readFile(join(host.home, 'console.token'))).rejects.toMatchObject({ code: 'ENOENT' })
  await client.close()
  expect(await waiting).toBe('ended')
})

test('before there is a controller everybody is told to come later', async () => {
  http = await HttpServer.listen({ port: 0 })
  onTestFinished(() => http.close())
  expect((await send({})).status).toBe(503)
  expect(refusals()).toEqual([])
})

test('up serves it, and says where; a port that is taken is an error, and nothing was started', async () => {
  publish('notes', '1.0.0')
  await controller.apps.install('notes', { workspace: 'a' })
  await controller.close()
  const flags = ['--home', host.home, '--config', host.configFile]
  const up = start([...flags, 'up', '--json'])
  await up.says('"event":"up"')
  const [{ url }] = linesOf(up.said.stdout) as [{ url: string }]
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  expect(JSON.parse((await host.instar('status', '--json')).stdout)).toMatchObject({ controller: { url } })
  expect((await host.instar('status')).stdout).toContain(`address     ${url}`)
  http = { url } as HttpServer
  const client = await connect('/mcp/workspaces/a', await ownersToken())
  expect(await said(client, 'version')).toBe('1.0.0')
  const { port } = new URL(url)
  const other = join(host.directory, 'other')
  const second = await start(['--home', other, '--config', host.configFile, 'up', '--port', port, '--json']).ended
  expect(second).toMatchObject({ code: 1, stdout: '' })
  expect(linesOf(second.stderr)).toMatchObject([{ type: 'error', code: 'HTTP_PORT_TAKEN' }])
  await expect(lstat(other)).rejects.toMatchObject({ code: 'ENOENT' })
  expect((await start([...flags, 'up', '--port', '65536']).ended).code).toBe(2)
  await client.close()
  up.child.kill('SIGTERM')
  const { code, stdout, stderr } = await up.ended
  expect(code).toBe(0)
  // But in the link that opens the console, which nobody else reads.
  expect(stderr).not.toContain('instar_')
  expect(stdout.match(/instar_/g)).toHaveLength(1)
  expect(stdout).toContain(`"console":"${url}/#token=instar_owner_`)
  expect(await isListening(Number(port))).toBe(false)
})
