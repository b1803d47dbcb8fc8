import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import type { Controller } from '../src/controller.ts'
import { type EmbeddedOptions, openController } from '../src/embedded.ts'
import { dist, Host } from './support/host.ts'

// A controller in a host's own process, that serves its console.

let host: Host
let controllers: Controller[]
beforeEach(async () => {
  host = await Host.make({ bundled: null })
  controllers = []
})
afterEach(async () => {
  for (const controller of controllers) await controller.close()
  await host[Symbol.asyncDispose]()
})

async function opened(options: Partial<EmbeddedOptions>) {
  const { home } = host
  const controller = await openController({ home, config: host.config(), schedule: false, serve: false, ...options })
  controllers.push(controller)
  return controller
}

test('a host serves the console of its controller, and nothing of it is left when that is closed', async () => {
  const controller = await opened({ console: { port: 0 } })
  const { url, consoleLink } = controller
  expect(consoleLink).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#token=instar_owner_/)
  expect(consoleLink!.startsWith(`${url}/`)).toBe(true)
  const token = new URL(consoleLink!).hash.replace('#token=', '')
  const ask = (headers: Record<string, string>) => fetch(`${url}/console/machines`, { headers })
  expect((await ask({ Authorization: `Bearer ${token}` })).status).toBe(200)
  expect((await ask({})).status).toBe(401)
  await controller.close()
  await expect(ask({})).rejects.toThrow('fetch failed')
  expect([controller.url, controller.consoleLink]).toEqual([null, null])
  expect(existsSync(join(host.home, 'console.token'))).toBe(false)
})

test('nothing is served that was not asked for, nor by one that only looks', async () => {
  const quiet = await opened({})
  expect([quiet.url, quiet.consoleLink]).toEqual([null, null])
  await quiet.close()
  const observing = await opened({ console: true, observe: true })
  expect([observing.url, observing.consoleLink]).toEqual([null, null])
})

test('where its port is taken, nothing has been begun', async () => {
  const other: Server = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  onTestFinished(() => void other.close())
  await expect(opened({ console: { port } })).rejects.toMatchObject({ code: 'HTTP_PORT_TAKEN' })
  expect(existsSync(host.home)).toBe(false)
})

test('where the home cannot be opened, its port is free again', async () => {
  const first = await opened({})
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  probe.close()
  await once(probe, 'close')
  await expect(opened({ console: { port } })).rejects.toMatchObject({ code: 'HOME_LOCKED' })
  await first.close()
  expect((await opened({ console: { port } })).url).toBe(`http://127.0.0.1:${port}`)
})

test('a host that has nothing more to do ends, although its console is served', async () => {
  const { home, configFile } = host
  const script = `
    import { openController } from ${JSON.stringify(join(dist, 'src', 'index.js'))}
    const [home, config] = process.argv.slice(1)
    const controller = await openController({ home, config, console: { port: 0 } })
    const { status } = await fetch(controller.url, { headers: { Connection: 'close' } })
    console.log(status)`
  const child = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, home, configFile])
  expect(child).toEqual({ stdout: '200\n', stderr: '' })
})
