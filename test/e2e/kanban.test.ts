import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
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

test('npm start runs the real kanban, a second start finds it staged, and Ctrl-C leaves no process', async () => {
  await using home = await scratch()
  for (const outcome of ['staged', 'already-staged']) {
    const host = spawn(process.execPath, [join(root, 'examples', 'host', 'start.mjs')], {
      // Kanban keeps notes on its workspaces in the user's home; the registry is still the user's.
      env: {
        npm_config_userconfig: join(homedir(), '.npmrc'),
        ...process.env,
        HOME: home.path,
        INSTAR_HOME: join(home.path, 'home'),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    try {
      const printed = printedBy(host)
      await printed(new RegExp(`kanban: ${outcome} \\d`))
      const [, version, pid, url] = await printed(/kanban: runs (\S+) \(current\), pid (\d+), (http:\S+)/)
      expect(version).toMatch(/^\d+\.\d+\.\d+/)
      expect(await (await fetch(url!)).text()).toContain('<title>Kanban</title>')
      host.kill('SIGINT')
      expect((await once(host, 'exit'))[0]).toBe(130)
      expect(isAlive(Number(pid))).toBe(false)
      await expect(fetch(url!)).rejects.toThrow()
    } finally {
      host.kill('SIGTERM')
    }
  }
}, 300_000)

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
