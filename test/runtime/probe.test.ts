import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import type { Child } from '../../machines/runtime-launch.ts'
import { attribute } from '../../src/runtime/attribute.ts'
import { exitOf, isAlive, stopChild } from '../../src/runtime/child.ts'
import { runtimeExited } from '../../src/runtime/exited.ts'
import { type Probe, probe } from '../../src/runtime/probe.ts'
import { Trial } from '../support/runtimes/trial.ts'

const http: Probe = { http: '/', contains: '<title>MARKER</title>', timeoutMs: 30_000 }

async function failureOf(child: Child, wanted: Probe) {
  const failure = await probe(child, wanted).catch((error) => error)
  expect(failure).toBeInstanceOf(Error)
  return { ...failure, message: failure.message, fault: attribute(failure) }
}

/** Another program that answers on a port, with the right marker even. */
async function withForeign<T>(body: (port: number) => Promise<T>, host = '127.0.0.1'): Promise<T> {
  const server: Server = createServer((_, response) => response.end('<title>MARKER</title>'))
  await once(server.listen(0, host), 'listening')
  try {
    return await body((server.address() as AddressInfo).port)
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

test('a runtime is ready when it answers with its marker, however late it begins to listen', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['after:200', 'listen:PORT', 'idle'])
  const ready = await probe(child, http)
  expect(ready.url).toBe(`http://127.0.0.1:${child.port}`)
  expect(ready.readyMs).toBeGreaterThan(0)
})

test('the nonce is echoed in a header or in the answer', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['listen:PORT', 'idle'])
  await probe(child, { http: '/', headers: { 'X-Nonce': '${nonce}' }, timeoutMs: 30_000 })
  const { nonce: _, ...other } = child
  expect(
    await failureOf({ ...other, nonce: 'x' }, { http: '/', headers: { 'x-nonce': '${nonce}' }, timeoutMs: 1000 }),
  ).toMatchObject({
    code: 'PROBE_MISMATCH',
    fault: 'version',
  })
})

test('another program on the port is never taken for the runtime, and the version is not blamed', async () => {
  await using trial = await Trial.begin()
  await withForeign(async (port) => {
    const child = await trial.start(['after:100', 'idle'], { port })
    for (const wanted of [http, { tcp: true, timeoutMs: 30_000 } as const])
      expect(await failureOf(child, wanted)).toMatchObject({
        code: 'PROBE_FOREIGN',
        details: { port },
        fault: 'environment',
      })
  })
})

test('a runtime that ends because its port is taken is not blamed, whatever it says and with any code', async () => {
  await using trial = await Trial.begin()
  await withForeign(async (port) => {
    const silent = await trial.start(['exit:0'], { port })
    const loud = await trial.start(['listen:PORT', 'idle'], { port })
    for (const child of [silent, loud]) {
      const exit = await exitOf(child)
      const failure = await runtimeExited(child, exit)
      expect(failure.details).toMatchObject({ portHolder: 'foreign', code: exit.code })
      expect(attribute(failure)).toBe('environment')
    }
  })
})

test('a runtime whose helper listens, even one that left its group, is ready', async () => {
  await using trial = await Trial.begin()
  const script = `require('node:child_process').spawn(process.execPath, ['-e', 'require("node:http").createServer((_, r) => r.end("MARKER")).listen(' + process.argv[1] + ')'], { detached: true, stdio: 'ignore' }).unref()
    setInterval(() => {}, 60_000)`
  const { port, args: _, ...spec } = await trial.spec([])
  const child = await trial.start([], { ...spec, port, args: ['-e', script, String(port)] })
  expect((await probe(child, { http: '/x', contains: 'MARKER', timeoutMs: 30_000 })).url).toBe(
    `http://127.0.0.1:${port}`,
  )
})

test('a runtime that listens on ::1 only is found there', async () => {
  await using trial = await Trial.begin()
  const script = 'require("node:http").createServer((_, r) => r.end("MARKER")).listen(process.argv[1], "::1")'
  const { port } = await trial.spec([])
  const child = await trial.start([], { port, args: ['-e', script, String(port)] })
  expect((await probe(child, { http: '/', contains: 'MARKER', timeoutMs: 30_000 })).url).toBe(`http://[::1]:${port}`)
})

test('an end before readiness fails at once and says why, with code and last lines', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['print:one', 'complain:\u001b[31mred\u001b[0m', 'throw:it is broken'])
  const failure = await failureOf(child, { ...http, timeoutMs: 60_000 })
  expect(failure).toMatchObject({
    code: 'RUNTIME_EXITED',
    details: { code: 1, signal: null, lost: false },
    fault: 'version',
  })
  expect(failure.message).toBe('the runtime ended with code 1: Error: it is broken')
  expect(failure.details.output).toMatch(/^red\n[\s\S]*one$/)
})

test('an end in good order before readiness is a failed start too', async () => {
  await using trial = await Trial.begin()
  const failure = await failureOf(await trial.start(['exit:0']), http)
  expect(failure).toMatchObject({ code: 'RUNTIME_EXITED', details: { code: 0 }, fault: 'version' })
})

test('wrong status, wrong marker and silence are told apart, and blamed on the version', async () => {
  await using trial = await Trial.begin()
  const failing = await trial.start(['status:500', 'listen:PORT', 'idle'])
  const other = await trial.start(['listen:PORT', 'idle'])
  const mute = await trial.start(['mute:PORT', 'idle'])
  const closed = await trial.start(['print:still thinking', 'idle'])
  for (const child of [failing, other, mute]) await probe(child, { tcp: true, timeoutMs: 30_000 })
  const timeoutMs = 1000
  const failures = await Promise.all([
    failureOf(failing, { ...http, timeoutMs }),
    failureOf(other, { http: '/', contains: 'SOMETHING ELSE', timeoutMs }),
    failureOf(mute, { ...http, timeoutMs }),
    failureOf(closed, { ...http, timeoutMs }),
  ])
  expect(failures.map(({ code }) => code)).toEqual([
    'PROBE_MISMATCH',
    'PROBE_MISMATCH',
    'PROBE_TIMEOUT',
    'PROBE_TIMEOUT',
  ])
  expect(failures.map(({ fault }) => fault)).toEqual(['version', 'version', 'version', 'version'])
  expect(failures[0]!.message).toMatch(/status 500/)
  expect(failures[3]!.details.output).toBe('still thinking')
  await probe(failing, { http: '/', status: 500, timeoutMs: 30_000 })
})

test('a line of output announces readiness and the address', async () => {
  await using trial = await Trial.begin()
  const { port } = await trial.spec([])
  const child = await trial.start(
    [
      'complain:Error: a harmless one',
      'listen:PORT',
      `print:running at http://127.0.0.1:${port}/workspace, press Ctrl+C`,
      'idle',
    ],
    { port },
  )
  const url = `http://127.0.0.1:${port}/workspace`
  expect((await probe(child, { line: 'press Ctrl', timeoutMs: 30_000 })).url).toBe(null)
  expect((await probe(child, { line: '/running at (https?:[^ ,]+)/', timeoutMs: 30_000 })).url).toBe(url)
  expect((await probe({ ...child, port: 1 }, { ...http, line: '/at (?<url>http[^ ,]+)/i' })).url).toBe(url)
  expect(await failureOf(child, { line: 'never', timeoutMs: 100 })).toMatchObject({ code: 'PROBE_TIMEOUT' })
  expect(await failureOf(child, { line: '/(/', timeoutMs: 100 })).toMatchObject({
    code: 'CONFIG_INVALID',
    fault: 'environment',
  })
})

test('an open port is enough where no more is asked', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['after:100', 'mute:PORT', 'idle'])
  expect((await probe(child, { tcp: true, timeoutMs: 30_000 })).url).toBe(null)
})

test('a message announces readiness, also when it came before anybody asked', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['ready:http://127.0.0.1:9/', 'idle'], { ipc: 'ready' })
  expect((await probe(child, { ipc: 'ready', timeoutMs: 30_000 })).url).toBe('http://127.0.0.1:9/')
  expect((await probe(child, { ipc: 'ready', timeoutMs: 30_000 })).url).toBe('http://127.0.0.1:9/')
})

test('a message with another nonce, or of another kind, announces nothing', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(
    ['message:{"type":"ready","nonce":"x"}', 'message:{"type":"started"}', 'message:null', 'idle'],
    { ipc: 'ready' },
  )
  expect(await failureOf(child, { ipc: 'ready', timeoutMs: 400 })).toMatchObject({ code: 'PROBE_TIMEOUT' })
})

test('a message to a controller that is gone cannot be waited for', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['ready', 'idle'], { ipc: 'ready' })
  const adopted = { ...child, record: `${child.record}.moved` }
  expect(await failureOf(adopted, { ipc: 'ready', timeoutMs: 30_000 })).toMatchObject({
    code: 'PROBE_UNHEARD',
    fault: 'environment',
  })
})

test('a probe is given up with the reason of the signal, and the child lives on', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['mute:PORT', 'idle'])
  for (const wanted of [http, { line: 'x', timeoutMs: 30_000 }, { tcp: true, http: '/', timeoutMs: 30_000 } as const]) {
    const reason = { type: 'detached' }
    const gone = new AbortController()
    setTimeout(() => gone.abort(reason), 150)
    await expect(probe(child, wanted, { signal: gone.signal })).rejects.toBe(reason)
  }
  expect(await isAlive(child)).toBe(true)
  await stopChild(child)
})
