import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Controller } from '../../src/controller.ts'
import { openController } from '../../src/embedded.ts'
import { type AppBehaviour, appCode } from '../support/apps/app-code.ts'
import { cli, Host } from '../support/host.ts'
import { eventually } from '../support/sessions/eventually.ts'

// `instar mcp`, spoken to by the official client.

let host: Host
let controller: Controller
const clients: Client[] = []

beforeEach(async () => {
  host = await Host.make({ bundled: null })
  controller = await openController({ home: host.home, config: host.configFile, schedule: false })
  await controller.workspaces.add('a')
})
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close()
  await controller.close()
  await host[Symbol.asyncDispose]()
})

function publish(name: string, version: string, behaviour: AppBehaviour = {}) {
  host.registry.publish(name, version, { 'index.mjs': appCode(version, behaviour) }, { bin: 'index.mjs' })
}

async function install(name: string, behaviour: AppBehaviour = {}): Promise<void> {
  publish(name, '1.0.0', behaviour)
  await controller.apps.install(name, { workspace: 'a' })
}

async function connect(...args: string[]): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' })
  const command = [cli, '--home', host.home, '--config', host.configFile, 'mcp', ...args]
  await client.connect(new StdioClientTransport({ command: process.execPath, args: command, stderr: 'inherit' }))
  clients.push(client)
  return client
}

const names = async (client: Client) => (await client.listTools()).tools.map(({ name }) => name)

async function said(client: Client, name: string, args: object = {}): Promise<string> {
  const { content } = await client.callTool({ name, arguments: { ...args } })
  return (content as { text: string }[])[0]!.text
}

test('the apps of a workspace are one server; names get a prefix only where they would collide', async () => {
  await install('notes', { tools: ['write'] })
  await install('@a/files', { tools: ['read'] })
  const client = await connect('--workspace', 'a')
  expect(client.getServerVersion()).toMatchObject({ name: 'instar' })
  const listed = await names(client)
  expect(listed).toContain('write')
  expect(listed).toContain('read')
  expect(listed).toContain('notes__version')
  expect(listed).toContain('a_files__version')
  expect(listed).not.toContain('version')
  expect(await said(client, 'write')).toBe('write')
  expect(await said(client, 'a_files__version')).toBe('1.0.0')
  await expect(client.callTool({ name: 'version', arguments: {} })).rejects.toThrow('there is no "version" here')
})

test('11, 12: a client stays connected through an upgrade; a tool that is dropped disappears, and that is told', async () => {
  await install('notes', { tools: ['old'] })
  await install('files', { tools: ['mine'] })
  const client = await connect('--workspace', 'a')
  let told = 0
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
    told += 1
  })
  expect(await names(client)).toContain('old')
  publish('notes', '2.0.0', { tools: ['new'] })
  let isOver = false
  const answers = new Set<string>()
  const caller = (async () => {
    while (!isOver) answers.add(await said(client, 'notes__version'))
  })()
  await controller.apps.upgrade('notes')
  await eventually(async () => answers.has('2.0.0'), 'an answer of the new one')
  isOver = true
  await caller
  expect(answers).toEqual(new Set(['1.0.0', '2.0.0']))
  await eventually(async () => told > 0, 'the news')
  const listed = await names(client)
  expect(listed).toContain('new')
  expect(listed).toContain('mine')
  expect(listed).not.toContain('old')
})

test('an app that is installed or removed meanwhile comes and goes', async () => {
  await install('notes')
  const client = await connect('--workspace', 'a')
  await install('files', { tools: ['late'] })
  expect(await names(client)).toContain('late')
  await controller.apps.remove('files', { workspace: 'a' })
  expect(await names(client)).not.toContain('late')
})

test('a cancelled call ends for the app, too, and others go on', async () => {
  await install('notes')
  const client = await connect('--workspace', 'a')
  const giveUp = new AbortController()
  const waiting = client.callTool({ name: 'wait', arguments: { ms: 60_000 } }, undefined, { signal: giveUp.signal })
  const refused = expect(waiting).rejects.toThrow()
  setTimeout(() => giveUp.abort(), 200)
  await refused
  expect(await said(client, 'version')).toBe('1.0.0')
})

test('for an organisation there is one tool, which lists, checks and upgrades', async () => {
  await install('notes')
  publish('notes', '2.0.0')
  const client = await connect('--org')
  expect(await names(client)).toEqual(['manage_apps'])
  const manage = async (args: object) => JSON.parse(await said(client, 'manage_apps', args))
  expect(await manage({ action: 'list' })).toMatchObject({ apps: [{ app: 'notes', version: '1.0.0' }] })
  expect(await manage({ action: 'check_updates' })).toMatchObject({ apps: [{ app: 'notes', standing: 'behind' }] })
  expect(await manage({ action: 'upgrade', app: 'notes' })).toMatchObject({ outcome: 'upgraded', to: '2.0.0' })
  expect(await manage({ action: 'upgrade', app: 'nodes' })).toMatchObject({ code: 'APP_UNKNOWN' })
})

test('status shows plugins and apps beside everything else', async () => {
  await install('notes')
  publish('tint', '1.0.0')
  await controller.plugins.install('tint')
  const { stdout } = await host.instar('status')
  expect(stdout).toMatch(/^tint +1\.0\.0/m)
  expect(stdout).toMatch(/^notes +1\.0\.0 +- +http:\S+ +a +1\.0\.0 +serving/m)
})

test('an unknown workspace, or neither a workspace nor the organisation: an error before anything is served', async () => {
  const unknown = await host.instar('mcp', '--workspace', 'b')
  expect(unknown).toMatchObject({ code: 2, stdout: '' })
  expect(unknown.stderr).toContain('WORKSPACE_UNKNOWN')
  expect(await host.instar('mcp')).toMatchObject({ code: 2, stdout: '' })
})
