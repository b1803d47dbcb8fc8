import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { startRegistry } from '../../src/testing/registry.ts'
import { server } from '../support/host.ts'
import { temporary } from '../support/instar.ts'

// The host in `examples/`, as it stands there, with another registry and another runtime in its configuration.

const root = fileURLToPath(new URL('../..', import.meta.url))

test('the example host bundles a version, runs it, stages a newer one, and is ended by Ctrl-C at any time', async () => {
  await using registry = await startRegistry()
  const folder = await temporary()
  const here = join(folder, 'examples', 'host')
  for (const name of ['bundle.mjs', 'host.mjs'])
    await cp(join(root, 'examples', 'host', name), join(here, name), { recursive: true })
  await mkdir(join(folder, 'node_modules'))
  await symlink(root, join(folder, 'node_modules', 'instar'))
  await symlink(join(root, 'dist'), join(folder, 'dist'))
  const configure = (version: string) => {
    const kanban = {
      package: 'kanban',
      entry: 'main.mjs',
      bundled: { path: './.bundled/kanban', version },
      args: ['--port', '${port}'],
      probe: { http: '/', contains: '<title>tool' },
    }
    return writeFile(join(here, 'instar.config.json'), JSON.stringify({ registry: registry.url, runtimes: { kanban } }))
  }
  const start = () => {
    const child = spawn(process.execPath, [join(here, 'host.mjs')], { stdio: ['ignore', 'pipe', 'pipe'] })
    onTestFinished(() => void child.kill('SIGTERM'))
    const said = { stdout: '', stderr: '' }
    child.stdout.on('data', (text) => {
      said.stdout += text
    })
    child.stderr.on('data', (text) => {
      said.stderr += text
    })
    const says = async (text: string) => {
      while (!said.stdout.includes(text)) {
        if (child.exitCode !== null) throw new Error(`it ended without "${text}": ${JSON.stringify(said)}`)
        await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])
      }
    }
    const interrupt = async () => {
      const closed = once(child, 'close')
      child.kill('SIGINT')
      const [code] = await closed
      return { code, stderr: said.stderr }
    }
    return { says, interrupt }
  }
  const fetched = (version: string) => ({
    code: 0,
    stderr: `Fetching kanban ${version}, the version that is bundled with this host …\n`,
  })
  for (const version of ['1.0.0', '1.0.1', '1.1.0'])
    registry.publish('kanban', version, { 'main.mjs': server(version) })

  await configure('1.0.0')
  const gate = registry.hold('packument')
  const early = start()
  await gate.reached
  expect(await early.interrupt()).toEqual(fetched('1.0.0'))
  gate.release()

  const first = start()
  await first.says('kanban 1.0.0 (bundled), pid ')
  await first.says('1.1.0 is used at the next start\n')
  expect(await first.interrupt()).toEqual(fetched('1.0.0'))

  await configure('1.0.1')
  const second = start()
  await second.says('kanban 1.1.0 (current), pid ')
  await second.says('already-staged\n')
  expect(await second.interrupt()).toEqual(fetched('1.0.1'))
  expect(JSON.parse(await readFile(join(here, '.bundled/kanban/package.json'), 'utf8'))).toMatchObject({
    version: '1.0.1',
  })
})
