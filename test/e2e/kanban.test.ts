import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { connectControl } from '../../src/control/connect.ts'
import { openController } from '../../src/controller.ts'

// The real package from the real registry, as `npm start` runs it.

const root = fileURLToPath(new URL('../..', import.meta.url))

async function scratch(): Promise<{ path: string } & AsyncDisposable> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'instar-kanban-')))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** What a process prints, to be looked through as it comes. */
function printedBy(child: ChildProcess): (pattern: RegExp) => Promise<RegExpExecArray> {
  let text = ''
  const looks = new Set<() => void>()
  const add = (chunk: Buffer) => {
    text += chunk
    for (const look of looks) look()
  }
  child.stdout!.on('data', add)
  child.stderr!.on('data', add)
  return (pattern) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(text)
        if (match === null) return
        looks.delete(look)
        resolve(match)
      }
      child.once('exit', () => reject(new Error(`it ended without ${pattern}:\n${text}`)))
      looks.add(look)
      look()
    })
}

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('npm start runs the real kanban and real apps, a second start finds them there, and Ctrl-C leaves no process', async () => {
  await using home = await scratch()
  for (const outcome of ['staged', 'already-staged']) {
    const host = spawn('npm', ['start', '--silent'], {
      cwd: root,
      // Kanban keeps notes on its workspaces in the user's home; the registry is still the user's.
      env: {
        npm_config_userconfig: join(homedir(), '.npmrc'),
        ...process.env,
        HOME: home.path,
        INSTAR_HOME: join(home.path, 'home'),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      // As in a terminal, where Ctrl-C reaches all of them.
      detached: true,
    })
    const interrupted = (signal: NodeJS.Signals) => process.kill(-host.pid!, signal)
    try {
      const printed = printedBy(host)
      await printed(new RegExp(`kanban: ${outcome} \\d`))
      const [, version, pid, url] = await printed(/kanban: runs (\S+) \(current\), pid (\d+), (http:\S+)/)
      expect(version).toMatch(/^\d+\.\d+\.\d+/)
      expect(await (await fetch(url!)).text()).toContain('<title>Kanban</title>')
      const apps = await everyApp(join(home.path, 'home'))
      expect(apps.map(({ app, workspace, state }) => `${app} ${workspace} ${state}`)).toEqual([
        '@modelcontextprotocol/server-everything acme serving',
        '@modelcontextprotocol/server-everything globex serving',
        '@modelcontextprotocol/server-filesystem acme serving',
        '@modelcontextprotocol/server-filesystem globex serving',
      ])
      interrupted('SIGINT')
      const [code, signal] = await once(host, 'exit')
      expect(signal ?? code).toBe(130)
      for (const each of [Number(pid), ...apps.map((app) => app.pid!)]) expect(isAlive(each)).toBe(false)
      await expect(fetch(url!)).rejects.toThrow()
    } finally {
      if (host.exitCode === null && host.signalCode === null) interrupted('SIGTERM')
    }
  }
}, 600_000)

/** The processes of all apps, once they serve. */
async function everyApp(home: string) {
  await using control = (await connectControl(home))!
  for (;;) {
    const { apps } = await control.perform('app.list', {})
    const instances = apps.flatMap(({ app, workspaces }) => workspaces.map((instance) => ({ app, ...instance })))
    if (instances.every(({ state }) => state === 'serving')) return instances
    await sleep(100)
  }
}

test('kanban 0.1.60 needs a package that it does not ship, and is refused while qualifying', async () => {
  await using scratched = await scratch()
  const kanban = {
    package: 'kanban',
    channel: '0.1.60',
    entry: 'dist/cli.js',
    provide: ['node-pty'],
    args: ['--no-open', '--host', '127.0.0.1', '--port', '${port}'],
    env: { KANBAN_NO_AUTO_UPDATE: '1' },
    probe: { http: '/', contains: '<title>Kanban</title>' },
    policy: { engines: 'warn' },
  }
  const config = parseConfig({ runtimes: { kanban } }, root)
  await using controller = await openController({ home: join(scratched.path, 'home'), config, schedule: false })
  const runtime = controller.runtime('kanban')
  expect(await runtime.check()).toMatchObject({
    outcome: 'rejected',
    version: '0.1.60',
    code: 'RUNTIME_EXITED',
    reason: expect.stringContaining('zod'),
  })
  expect((await runtime.status()).releases).toEqual([])
}, 300_000)
