import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { expect, test } from 'vitest'
import { openController } from '../../src/embedded.ts'
import { cli } from '../support/host.ts'
import { relayRegistry } from '../support/registry-relay.ts'

// Published MCP servers from the registry that npm is configured to use on this machine, and the official client.

const workspaces = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']

interface RealApp {
  readonly name: string
  readonly older: string
  readonly args: readonly string[]
  /** One that both versions have. */
  readonly tool: string
  readonly arguments: Readonly<Record<string, unknown>>
  /** Part of its answer. */
  readonly answer: string
}

const apps: readonly RealApp[] = [
  {
    name: '@modelcontextprotocol/server-everything',
    older: '2025.8.18',
    args: [],
    tool: 'echo',
    arguments: { message: 'so it is' },
    answer: 'so it is',
  },
  {
    name: '@modelcontextprotocol/server-filesystem',
    older: '2025.8.21',
    args: ['${data}'],
    tool: 'list_allowed_directories',
    arguments: {},
    answer: 'data',
  },
]

test.each(apps)(
  '$name is upgraded in 8 workspaces under calls: none fails, no client is disconnected, one download',
  async ({ name, older, args, tool, arguments: given, answer }) => {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-apps-')))
    const clients: Client[] = []
    try {
      await using registry = await relayRegistry()
      const config = join(directory, 'instar.config.json')
      await writeFile(config, JSON.stringify({ registry: registry.url, apps: { handshakeTimeoutMs: 60_000 } }))
      const home = join(directory, 'home')
      await using controller = await openController({ home, config, schedule: false })
      for (const id of workspaces) await controller.workspaces.add(id)
      for (const workspace of workspaces) {
        const installed = await controller.apps.install(`${name}@${older}`, { workspace, args })
        expect(installed.version).toBe(older)
      }
      const tarballOf = (version: string) => `/${name}/-/${name.replace(/^.*\//, '')}-${version}.tgz`
      expect(registry.tarballs.filter((path) => path === tarballOf(older))).toHaveLength(1)

      let [closed, isOver] = [0, false]
      const calls = await Promise.all(
        workspaces.map(async (workspace) => {
          const client = new Client({ name: 'test', version: '1' })
          const command = [cli, '--home', home, '--config', config, 'mcp', '--workspace', workspace]
          await client.connect(
            new StdioClientTransport({ command: process.execPath, args: command, stderr: 'inherit' }),
          )
          client.onclose = () => {
            closed += 1
          }
          clients.push(client)
          return async () => {
            let made = 0
            while (!isOver) {
              const { content, isError = false } = await client.callTool({ name: tool, arguments: { ...given } })
              expect(isError).toBe(false)
              expect((content as { text: string }[])[0]!.text).toContain(answer)
              made += 1
              await sleep(40) // a stream, and no test of how much a machine can do
            }
            return made
          }
        }),
      )
      const calling = Promise.all(calls.map((call) => call()))
      calling.catch(() => {}) // looked at below
      const upgraded = await controller.apps.upgrade(name)
      isOver = true
      expect(Math.min(...(await calling))).toBeGreaterThan(0)
      expect(closed).toBe(0)

      expect(upgraded).toMatchObject({ outcome: 'upgraded', from: older })
      expect(upgraded.workspaces.map(({ id, outcome }) => [id, outcome])).toEqual(
        workspaces.map((id) => [id, 'upgraded']),
      )
      expect(registry.tarballs.filter((path) => path === tarballOf(upgraded.to!))).toHaveLength(1)
      const [{ version, workspaces: instances } = { workspaces: [] }] = await controller.apps.list()
      expect(version).toBe(upgraded.to)
      expect(instances.map(({ state, version: runs }) => [state, runs])).toEqual(
        workspaces.map(() => ['serving', upgraded.to]),
      )
    } finally {
      for (const client of clients) {
        client.onclose = () => {}
        await client.close()
      }
      await rm(directory, { recursive: true, force: true })
    }
  },
  600_000,
)
