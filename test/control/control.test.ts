import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { lchown, lstat, mkdir, mkdtemp, readdir, readlink, realpath, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { type ControlClient, connectControl } from '../../src/control/connect.ts'
import { type ControlServer, serveControl } from '../../src/control/serve.ts'
import { InstarError } from '../../src/errors.ts'
import type { Asked } from '../../src/managed-runtime.ts'
import { packageVersion } from '../../src/package-info.ts'
import { FakeController, staged } from '../support/fake-controller.ts'

let home: string
let controller: FakeController

beforeEach(async () => {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-control-')))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  home = directory
  controller = new FakeController(home)
})

async function serve(): Promise<ControlServer> {
  const server = await serveControl(controller)
  onTestFinished(() => server.close())
  return server
}

async function client(): Promise<ControlClient> {
  const connected = (await connectControl(home))!
  onTestFinished(() => connected.close())
  return connected
}

/** A check that goes on until its signal aborts, and the signals it was given. */
function endless(): { signals: AbortSignal[]; begun(count: number): Promise<void> } {
  const signals: AbortSignal[] = []
  controller.check = async ({ signal }: Asked) => {
    signals.push(signal!)
    await once(signal!, 'abort')
    throw signal!.reason
  }
  return { signals, begun: (count) => until(() => signals.length === count) }
}

async function until(holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds(); waited += 5) {
    if (waited > 10_000) throw new Error('it did not happen within 10 s')
    await sleep(5)
  }
}

/** A socket that speaks no protocol by itself. */
async function raw(address = join(home, 'control.sock')): Promise<Socket> {
  const socket = connect(address)
  await once(socket, 'connect')
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  return socket
}

async function lineFrom(socket: Socket): Promise<any> {
  let text = ''
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += chunk
    if (text.includes('\n')) return JSON.parse(text.slice(0, text.indexOf('\n')))
  }
  throw new Error('the socket ended before a line came')
}

const hello = (protocol = 1) =>
  `${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'hello', params: { protocol, version: '9.9.9' } })}\n`

// ---- verbs

test('a verb is performed by the controller, and its answer comes back', async () => {
  await serve()
  const { perform, controller: who } = await client()
  expect(who).toEqual({ protocol: 1, version: packageVersion, pid: process.pid, home })
  expect(await perform('runtime.check', { name: 'tool' })).toEqual(staged)
  expect(await perform('runtime.ban', { name: 'tool', version: '1.1.0' })).toEqual({
    runtime: 'tool',
    version: '1.1.0',
    banned: true,
  })
})

test('where no controller runs there is none to connect to', async () => {
  expect(await connectControl(home)).toBeUndefined()
  expect(await connectControl(join(home, 'missing'))).toBeUndefined()
})

test('an error keeps its code, hint and details on the way', async () => {
  await serve()
  const { perform } = await client()
  const error = await perform('runtime.check', { name: 'other' }).catch((thrown) => thrown)
  expect(error).toBeInstanceOf(InstarError)
  expect(error).toMatchObject({ code: 'RUNTIME_UNKNOWN', exitCode: 2, details: { name: 'other' } })
  expect(error.hint).toContain('runtime list')
})

test('an error that is not ours keeps its name and message', async () => {
  controller.check = async () => {
    throw Object.assign(new TypeError('something broke'), { code: 'EBROKEN' })
  }
  await serve()
  const { perform } = await client()
  await expect(perform('runtime.check', { name: 'tool' })).rejects.toMatchObject({
    name: 'TypeError',
    message: 'something broke',
    code: 'EBROKEN',
  })
})

test('an unknown verb and wrong parameters are named', async () => {
  await serve()
  const { perform } = await client()
  await expect(perform('runtime.chek' as 'status', {})).rejects.toMatchObject({
    code: 'VERB_UNKNOWN',
    message: 'there is no verb "runtime.chek"; did you mean "runtime.check"?',
  })
  await expect(perform('toString' as 'status', {})).rejects.toMatchObject({ code: 'VERB_UNKNOWN' })
  await expect(perform('runtime.ban', { name: 'tool', version: 'v1' })).rejects.toMatchObject({
    code: 'PARAMETERS_INVALID',
    message: expect.stringContaining('version: must be an exact version'),
  })
})

test('progress comes in order, and before the answer', async () => {
  controller.check = async ({ onProgress }) => {
    for (let step = 1; step <= 50; step++) onProgress?.({ step })
    return staged
  }
  await serve()
  const { perform } = await client()
  const seen: unknown[] = []
  await perform('runtime.check', { name: 'tool' }, { onProgress: (data) => void seen.push(data) })
  expect(seen).toEqual(Array.from({ length: 50 }, (_, index) => ({ step: index + 1 })))
})

test('a follower gets every record once, those before it and those after', async () => {
  controller.append(300)
  await serve()
  const { perform } = await client()
  const abort = new AbortController()
  const seen: number[] = []
  const onProgress = (record: unknown) => void seen.push((record as { seq: number }).seq)
  const following = perform('journal.follow', { from: 1 }, { signal: abort.signal, onProgress })
  await until(() => seen.length === 300)
  controller.append(200)
  await until(() => seen.length === 500)
  abort.abort()
  await expect(following).rejects.toMatchObject({ code: 'ABORTED' })
  expect(seen).toEqual(Array.from({ length: 500 }, (_, index) => index + 1))
})

test('records are read in pages', async () => {
  controller.append(2500)
  await serve()
  const { perform } = await client()
  const first = await perform('journal.read', { from: 0 })
  expect(first.records).toHaveLength(1000)
  const last = await perform('journal.read', { from: 2001 })
  expect(last.records.map(({ seq }) => seq)).toEqual(Array.from({ length: 500 }, (_, index) => 2001 + index))
})

// ---- cancelling

test('who cancels gets ABORTED, and the verb is aborted', async () => {
  const check = endless()
  await serve()
  const { perform } = await client()
  const abort = new AbortController()
  const asked = perform('runtime.check', { name: 'tool' }, { signal: abort.signal })
  await check.begun(1)
  abort.abort()
  await expect(asked).rejects.toMatchObject({ code: 'ABORTED', exitCode: 130 })
  expect(check.signals[0]!.aborted).toBe(true)
})

test('cancelling what is done meanwhile gives what was done', async () => {
  const abort = new AbortController()
  controller.check = async () => {
    abort.abort()
    await sleep(30)
    return staged
  }
  await serve()
  const { perform } = await client()
  expect(await perform('runtime.check', { name: 'tool' }, { signal: abort.signal })).toEqual(staged)
})

test('a client that goes away takes only its own questions with it', async () => {
  const check = endless()
  await serve()
  const one = await client()
  const other = await client()
  const mine = one.perform('runtime.check', { name: 'tool' })
  await check.begun(1)
  const theirs = other.perform('runtime.check', { name: 'tool' })
  await check.begun(2)
  mine.catch(() => {})
  await one.close()
  await expect(mine).rejects.toMatchObject({ code: 'CONTROLLER_GONE' })
  await until(() => check.signals[0]!.aborted)
  expect(check.signals[1]!.aborted).toBe(false)
  await other.close()
  await expect(theirs).rejects.toMatchObject({ code: 'CONTROLLER_GONE', exitCode: 3 })
})

// ---- the socket

test('the socket is for this user alone, and gone after closing', async () => {
  const server = await serve()
  const { mode } = await lstat(join(home, 'control.sock'))
  expect(mode & 0o777).toBe(0o600)
  await server.close()
  expect(await readdir(home)).toEqual([])
})

test("a dead controller's socket is taken over", async () => {
  const code = `require('net').createServer().listen(${JSON.stringify(join(home, 'control.sock'))}, () => console.log('up'))`
  const dead = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(dead.stdout, 'data')
  dead.kill('SIGKILL')
  await once(dead, 'exit')
  expect(existsSync(join(home, 'control.sock'))).toBe(true)
  expect(await connectControl(home)).toBeUndefined()
  await serve()
  const { perform } = await client()
  expect(await perform('runtime.check', { name: 'tool' })).toEqual(staged)
})

test("a live controller's socket is left alone", async () => {
  await serve()
  await expect(serveControl(new FakeController(home))).rejects.toMatchObject({ code: 'HOME_LOCKED' })
  const { perform } = await client()
  expect(await perform('runtime.check', { name: 'tool' })).toEqual(staged)
  expect(await readdir(home)).toEqual(['control.sock'])
})

test("a successor's socket is left alone by the one that closes late", async () => {
  const first = await serve()
  await rm(join(home, 'control.sock'))
  await serve()
  await first.close()
  const { perform } = await client()
  expect(await perform('runtime.check', { name: 'tool' })).toEqual(staged)
})

test('a home whose path is too long for a socket is served all the same, and nothing is left behind', async () => {
  home = join(home, 'x'.repeat(60), 'y'.repeat(60))
  await mkdir(home, { recursive: true })
  controller = new FakeController(home)
  const server = await serve()
  const target = await readlink(join(home, 'control.sock'))
  const { perform } = await client()
  expect(await perform('runtime.check', { name: 'tool' })).toEqual(staged)
  await server.close()
  expect(await readdir(home)).toEqual([])
  expect(existsSync(dirname(target))).toBe(false)
})

test("of a dead controller with a long path, the socket's private directory is removed too", async () => {
  home = join(home, 'x'.repeat(60), 'y'.repeat(60))
  await mkdir(home, { recursive: true })
  controller = new FakeController(home)
  const compiled = new URL('../../dist/src/control/serve.js', import.meta.url)
  const code = `
    const { serveControl } = await import(${JSON.stringify(compiled.href)})
    await serveControl({ home: ${JSON.stringify(home)} })
    console.log('up')`
  const dead = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(dead.stdout, 'data')
  const target = await readlink(join(home, 'control.sock'))
  dead.kill('SIGKILL')
  await once(dead, 'exit')
  expect(existsSync(target)).toBe(true)
  await serve()
  expect(existsSync(dirname(target))).toBe(false)
  await client()
})

test("another user's socket is not spoken to", async () => {
  // Only root can give a socket away; a missing one is then all there is to see.
  await serve()
  if (process.getuid?.() === 0) {
    await lchown(join(home, 'control.sock'), 12345, 12345)
    await expect(connectControl(home)).rejects.toMatchObject({ code: 'CONTROL_DENIED', exitCode: 4 })
  }
})

// ---- versions

test.each([
  [2, 'newer'],
  [0, 'older'],
])('a controller of another protocol (%i) is refused as %s', async (protocol, which) => {
  const server = createServer((socket) => {
    socket.on('data', () => {
      const result = { protocol, version: '9.9.9', pid: 1, home }
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: 0, result })}\n`)
    })
    socket.on('error', () => {})
  })
  server.listen(join(home, 'control.sock'))
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  await expect(connectControl(home)).rejects.toMatchObject({
    code: 'CONTROL_VERSION',
    message: `the controller (9.9.9) is ${which} than this command (${packageVersion})`,
  })
})

test('a controller that goes away in the middle is reported as gone', async () => {
  const server = createServer((socket) => {
    socket.once('data', () => {
      const result = { protocol: 1, version: '0.1.0', pid: 1, home }
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: 0, result })}\n`)
      socket.once('data', () => socket.destroy())
    })
  })
  server.listen(join(home, 'control.sock'))
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { perform } = await client()
  await expect(perform('status', {})).rejects.toMatchObject({ code: 'CONTROLLER_GONE', exitCode: 3 })
})

test('what answers without being a controller is not believed', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
  })
  server.listen(join(home, 'control.sock'))
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  await expect(connectControl(home)).rejects.toMatchObject({ code: expect.stringMatching(/^CONTROL/) })
})

// ---- what is told

test('what is told is done in its order and not answered; what has to be asked is not done by telling', async () => {
  const check = endless()
  const heard: unknown[] = []
  Object.assign(controller.apps, {
    endpoints: {
      receive(session: string, message: unknown) {
        heard.push([session, message])
        if (message === 'wrong') throw new InstarError('MCP_SESSION_UNKNOWN', 'there is no such conversation')
      },
    },
  })
  await serve()
  const { tell, perform } = await client()
  // More than may be asked for at a time.
  for (let at = 0; at < 50; at += 1) await tell('mcp.send', { session: 's', message: at })
  await tell('runtime.check', { name: 'tool' })
  await tell('mcp.send', { session: 's' } as never)
  await tell('mcp.send', { session: 's', message: 'wrong' })
  await tell('mcp.send', { session: 's', message: 'last' })
  await perform('journal.read', { from: 0 })
  expect(heard).toEqual([...Array.from({ length: 50 }, (_, at) => at), 'wrong', 'last'].map((one) => ['s', one]))
  expect(check.signals).toEqual([])
})

test('nothing is heard of one that has not said hello', async () => {
  const heard: unknown[] = []
  Object.assign(controller.apps, { endpoints: { receive: (...said: unknown[]) => heard.push(said) } })
  await serve()
  const socket = await raw()
  const params = { params: { session: 's', message: 1 } }
  socket.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'mcp.send', params })}\n${hello()}`)
  await lineFrom(socket)
  expect(heard).toEqual([])
})

// ---- limits

const requests: [what: string, text: string][] = [
  ['no JSON', 'GET / HTTP/1.1\r\n\r\n'],
  ['no object', '5\n'],
  ['JSON of another protocol', '{"hello":1}\n'],
  ['a cancellation of nothing', '{"jsonrpc":"2.0","method":"$/cancelRequest"}\n'],
  ['a line longer than a message may be', `${' '.repeat(1_200_000)}${hello()}`],
  ['a line that never ends', ' '.repeat(1_100_000)],
  ['no text', '\u0000\u0001\u0002\n'],
]
test.each(requests)('a client that sends %s is cut off; the others do not notice', async (_, text) => {
  await serve()
  const good = await client()
  const bad = await raw()
  bad.write(hello())
  await lineFrom(bad)
  const closed = new Promise((resolve) => bad.once('close', resolve))
  bad.write(text)
  bad.resume()
  await closed
  expect(await good.perform('runtime.check', { name: 'tool' })).toEqual(staged)
})

test('a client must say hello first', async () => {
  await serve()
  const socket = await raw()
  socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'status', params: { params: {}, progress: 1 } })}\n`)
  expect((await lineFrom(socket)).error.data).toMatchObject({ code: 'CONTROL_INVALID' })
})

test('the sixty-fifth client is told that the controller is busy', async () => {
  await serve()
  const sockets = await Promise.all(Array.from({ length: 64 }, () => raw()))
  for (const socket of sockets) socket.write(hello())
  for (const socket of sockets) expect((await lineFrom(socket)).result).toMatchObject({ protocol: 1 })
  await expect(connectControl(home)).rejects.toMatchObject({ code: 'CONTROLLER_BUSY', retry: true })
  sockets[0]!.destroy()
  let again: ControlClient | undefined
  while (again === undefined) again = await connectControl(home).catch(() => undefined)
  await again.close()
})

test('one client may not ask for more than thirty-two things at a time', async () => {
  const check = endless()
  await serve()
  const { perform, close } = await client()
  const asked = Array.from({ length: 32 }, () => perform('runtime.check', { name: 'tool' }).catch((error) => error))
  await check.begun(32)
  await expect(perform('status', {})).rejects.toMatchObject({ code: 'CONTROLLER_BUSY' })
  await close()
  for (const error of await Promise.all(asked)) expect(error.code).toBe('CONTROLLER_GONE')
})

test('a client that never reads is not kept in memory, and slows nobody', async () => {
  const line = { text: 'x'.repeat(10_000) }
  let pending = 0
  controller.check = async ({ onProgress }) => {
    for (let count = 0; count < 5000; count++) {
      onProgress?.(line)
      if (count % 100 === 0) await sleep(0)
    }
    pending = process.memoryUsage().rss
    return staged
  }
  await serve()
  const deaf = await raw()
  deaf.pause()
  deaf.write(hello())
  const before = process.memoryUsage().rss
  const params = { params: { name: 'tool' }, progress: 1 }
  deaf.write(`${JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'runtime.check', params })}\n`)
  const { perform } = await client()
  expect(await perform('runtime.prune', { name: 'tool' })).toEqual({ runtime: 'tool', removed: ['1.0.0'] })
  await until(() => pending > 0)
  // 50 MB were said; what may wait is 4 MB, in lines, strings and buffers.
  expect(pending - before).toBeLessThan(40_000_000)
})

// ---- the end

test('closing aborts what is under way, answers it, and does not wait for those who do not listen', async () => {
  const check = endless()
  const server = await serve()
  const { perform } = await client()
  await raw()
  const asked = perform('runtime.check', { name: 'tool' }).catch((error) => error)
  await check.begun(1)
  await server.close()
  expect(await asked).toMatchObject({ code: 'CONTROLLER_GONE', message: 'the controller has stopped' })
  expect(await connectControl(home)).toBeUndefined()
})

test('draining lets nobody new in, waits for what others asked, and sends followers away', async () => {
  let finish = () => {}
  const begun = new Promise<void>((began) => {
    controller.check = async () => {
      began()
      await new Promise<void>((resolve) => {
        finish = resolve
      })
      return staged
    }
  })
  const server = await serve()
  const other = await client()
  const follower = (await client()).perform('journal.follow', { from: 1 }).catch((error) => error)
  const asked = other.perform('runtime.check', { name: 'tool' })
  await begun
  let drained = false
  const draining = server.drain(new AbortController().signal).then(() => {
    drained = true
  })
  expect(await follower).toMatchObject({ code: 'CONTROLLER_GONE' })
  expect(await connectControl(home)).toBeUndefined()
  expect(drained).toBe(false)
  finish()
  expect(await asked).toEqual(staged)
  await draining
})

test('draining ends at once when its signal aborts', async () => {
  const check = endless()
  const server = await serve()
  const { perform } = await client()
  const asked = perform('runtime.check', { name: 'tool' }).catch((error) => error)
  await check.begun(1)
  const abort = new AbortController()
  const draining = server.drain(abort.signal)
  abort.abort()
  await draining
  await server.close()
  expect(await asked).toMatchObject({ code: 'CONTROLLER_GONE' })
})
