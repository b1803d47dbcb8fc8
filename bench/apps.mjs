// Apps: what a call through `instar mcp` costs beside a client of the server's own, what callers notice of upgrades, and how
// long one takes for many workspaces beside starting as many servers by hand.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { build } from 'esbuild'
import { appEnvironment } from '../dist/src/apps/environment.js'
import { connectControl } from '../dist/src/control/connect.js'
import { inParallel } from '../dist/src/in-parallel.js'
import { source } from './compiled.mjs'
import { inScratch, inTurns, median, percentile, row, timed } from './measure.mjs'

const cli = source('dist/cli.js')
const upgrades = 100
const callsAtOnce = 500
const warmUpCalls = 3000
const usualMs = 10_000

/** @param part The name of the only part that is wanted. */
export async function apps({ part: only } = {}) {
  const all = [latency, underLoad, rolling]
  const parts = all.filter(({ name }) => only === undefined || name === only)
  if (parts.length === 0) throw new Error(`there is no part "${only}"; there are ${all.map(({ name }) => name)}`)
  const rows = []
  for (const part of parts) {
    console.error(`  ${part.name} …`)
    rows.push(...(await inScratch((directory) => withController(directory, part))))
  }
  return rows
}

/** A server of the official SDK, bundled into one file as published servers often are. */
async function serverCode(directory) {
  const entry = join(directory, 'server.mjs')
  await writeFile(
    entry,
    `import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import * as z from 'zod'
const server = new McpServer({ name: 'bench', version: '1.0.0' })
server.registerTool('echo', { description: 'Says it again.', inputSchema: { text: z.string() } }, ({ text }) => ({
  content: [{ type: 'text', text }],
}))
await server.connect(new StdioServerTransport())
`,
  )
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    platform: 'node',
    format: 'esm',
    write: false,
    nodePaths: [source('node_modules')],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" },
  })
  return outputFiles[0].text
}

/** A controller in a process of its own, with a registry, for as long as `work` takes. */
async function withController(directory, work) {
  const registry = fork(source('bench/registry-host.mjs'))
  const [url] = await once(registry, 'message')
  const code = await serverCode(directory)
  const publish = async (version) => {
    registry.send(['bench-app', version, { 'index.mjs': `${code}\n// ${version}\n` }, { bin: 'index.mjs' }])
    await once(registry, 'message')
  }
  const [home, config] = [join(directory, 'home'), join(directory, 'instar.config.json')]
  await writeFile(config, JSON.stringify({ registry: url, apps: { policy: { parallel: 4 } } }))
  const options = ['--home', home, '--config', config]
  const up = spawn(process.execPath, [cli, ...options, 'up'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const clients = []
  try {
    await once(up.stdout, 'data')
    const control = await connectControl(home)
    const perform = (verb, params) => control.perform(verb, params)
    /** A client of `instar mcp`. */
    const connect = async (workspace) => {
      const client = await connected([cli, ...options, 'mcp', '--workspace', workspace])
      clients.push(client)
      return client
    }
    try {
      return await work({ directory, code, publish, perform, connect })
    } finally {
      for (const client of clients) await client.close()
      control.close()
    }
  } finally {
    up.kill('SIGTERM')
    await once(up, 'exit')
    const ended = once(registry, 'exit')
    registry.disconnect()
    await ended
  }
}

/** In the environment that apps are given, some of which makes Node start slower. */
async function connected(args) {
  const client = new Client({ name: 'bench', version: '1.0.0' })
  const env = appEnvironment()
  await client.connect(new StdioClientTransport({ command: process.execPath, args, env, stderr: 'inherit' }))
  return client
}

const call = (client) => client.callTool({ name: 'echo', arguments: { text: 'so it is' } })

async function furnish({ publish, perform }, workspaces) {
  await publish('1.0.0')
  for (const id of workspaces) {
    await perform('workspace.add', { id })
    await perform('app.install', { spec: 'bench-app', workspace: id, args: [], env: {}, credentials: {} })
  }
}

async function latency({ directory, code, publish, perform, connect }) {
  await furnish({ publish, perform }, ['a'])
  const file = join(directory, 'direct.mjs')
  await writeFile(file, code)
  const direct = await connected([file])
  const through = await connect('a')
  try {
    const calls = (client, count) => async () => {
      const times = []
      for (let left = count; left > 0; left -= 1) times.push(await timed(() => call(client)))
      return times
    }
    await calls(direct, warmUpCalls)()
    await calls(through, warmUpCalls)()
    const times = await inTurns(7, { direct: calls(direct, callsAtOnce), through: calls(through, callsAtOnce) })
    const [value, peer] = [median(times.through), median(times.direct)]
    const added = value - peer
    return [
      row({
        name: 'a call through instar mcp, p50',
        value,
        unit: 'ms',
        peer,
        ratio: added,
        goal: '<= 1 ms more than a direct client',
        ok: added <= 1,
      }),
    ]
  } finally {
    await direct.close()
  }
}

async function underLoad({ publish, perform, connect }) {
  const workspaces = ['a', 'b']
  await furnish({ publish, perform }, workspaces)
  const clients = await Promise.all(workspaces.map(connect))
  let [failed, isOver, disconnects] = [0, false, 0]
  let times = []
  const caller = async (client) => {
    client.onclose = () => {
      disconnects += 1
    }
    while (!isOver) {
      const ms = await timed(() => call(client).catch(() => (failed += 1)))
      times.push(ms)
      await sleep(1)
    }
    client.onclose = undefined
  }
  const calling = clients.map(caller)
  await sleep(usualMs / 2) // the first calls of a process are slow
  times = []
  await sleep(usualMs)
  const usual = percentile(times, 0.99)
  times = []
  for (let at = 1; at <= upgrades; at += 1) {
    await publish(`1.0.${at}`)
    const { outcome } = await perform('app.upgrade', { name: 'bench-app' })
    if (outcome !== 'upgraded') throw new Error(`upgrade ${at}: ${outcome}`)
  }
  isOver = true
  await Promise.all(calling)
  const longest = Math.max(...times)
  return [
    row({
      name: `calls failed in ${upgrades} upgrades, of ${times.length}`,
      value: failed + disconnects,
      unit: 'calls',
      peer: 0,
      ratio: failed + disconnects,
      goal: '<= 0 failed calls',
      ok: failed + disconnects === 0,
    }),
    row({
      name: 'longest wait of a call in these',
      value: longest,
      unit: 'ms',
      peer: usual,
      ratio: longest - usual,
      goal: '<= 50 ms over the usual p99',
      ok: longest - usual <= 50,
    }),
  ]
}

async function rolling({ directory, code, publish, perform }) {
  const workspaces = Array.from({ length: 8 }, (_, at) => `w${at}`)
  await furnish({ publish, perform }, workspaces)
  const file = join(directory, 'by-hand.mjs')
  await writeFile(file, code)
  let version = 0
  const times = await inTurns(5, {
    async instar() {
      version += 1
      await publish(`1.1.${version}`)
      return timed(() => perform('app.upgrade', { name: 'bench-app' }))
    },
    async byHand() {
      const started = []
      const ms = await timed(async () => {
        started.push(...(await inParallel(4, workspaces, () => connected([file]))))
      })
      await Promise.all(started.map((client) => client.close()))
      return ms
    },
  })
  const [value, peer] = [median(times.instar), median(times.byHand)]
  return [
    row({
      name: 'upgrade of 8 workspaces, 4 at a time',
      value,
      unit: 'ms',
      peer,
      ratio: value / peer,
      goal: '<= 1.3 × starting 8 such servers by hand',
    }),
  ]
}
