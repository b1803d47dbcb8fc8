import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { DaemonClient } from '../../src/sessions/client.ts'
import { type FrameType, frameTypes, inputHead, jsonFrame, limits, numberedFrame } from '../../src/sessions/protocol.ts'
import { DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { FollowedText } from '../support/sessions/followed.ts'
import { hello, RawClient } from '../support/sessions/raw-client.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'

// What is not the protocol, at a real daemon: an error with a code to whoever says it, and nobody else notices anything.

const scene = sessionScene()

let trial: DaemonTrial
let client: DaemonClient
/** What somebody else looks at meanwhile. */
let bystander: FollowedText
let silent: RawClient
let lines = 0

beforeAll(async () => {
  trial = await DaemonTrial.start(scene.daemon)
  client = await trial.client({ reconnect: false })
  bystander = new FollowedText(await client.open({ id: 'bystander', command: ['cat'] }))
  silent = new RawClient(trial.socket, hello.subarray(0, 9))
})

afterEach(async () => {
  lines += 1
  await bystander.session.write(`line ${lines}\n`)
  await bystander.says(`line ${lines}\r\nline ${lines}\r\n`)
  expect(await client.list()).toMatchObject([{ id: 'bystander', size: { columns: 80, rows: 24 }, exit: null }])
})

afterAll(() => trial?.[Symbol.asyncDispose]())

/** A frame with this length before it, whatever follows. */
const frame = (type: number, payload: Buffer | string, length = 1 + Buffer.byteLength(payload)) => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(length, 0)
  head[4] = type
  return Buffer.concat([head, Buffer.from(payload)])
}
const request = (number: number, method: string, params?: unknown) =>
  numberedFrame(frameTypes.request, number, { method, params })
const input = (bytes: number) => Buffer.concat([inputHead(1, bytes), Buffer.alloc(bytes, 'x')])
const greeting = (value: object) =>
  jsonFrame(frameTypes.hello, { protocols: [1], client: 'raw', capabilities: [], ...value })
const wait = { session: 'bystander' }

const fatal: Record<string, readonly Buffer[]> = {
  'what another protocol begins with': [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
  'a frame without a type': [Buffer.alloc(4)],
  'a frame above the limit': [hello, frame(frameTypes.request, 'x', limits.frameBytesMax + 1)],
  'the longest frame there could be': [hello, Buffer.alloc(64, 0xff)],
  'a hello that is no JSON': [frame(frameTypes.hello, '{"protocols":')],
  'a hello without versions': [greeting({ protocols: [] })],
  'a hello with an endless name': [greeting({ client: 'x'.repeat(200_000) })],
  'a second hello': [hello, hello],
  'a request before the hello': [request(1, 'info')],
  'input before the hello': [input(3)],
  'a type that nobody knows': [hello, frame(0x7f, 'x')],
  'a frame that only a daemon sends': [hello, frame(frameTypes.output, Buffer.alloc(limits.dataBytesMax))],
  'a request that ends within its number': [hello, frame(frameTypes.request, 'abc')],
  'a request that is no JSON': [hello, frame(frameTypes.request, '\0\0\0\x01{')],
  'a request of another shape': [hello, numberedFrame(frameTypes.request, 1, ['info'])],
  'a request with the number of the connection': [hello, request(0, 'info')],
  'a number that is in use': [hello, request(5, 'wait', wait), request(5, 'info')],
  'input above the limit': [hello, input(limits.dataBytesMax + 1)],
}

test.each(Object.entries(fatal))('%s ends the connection', async (_, bytes) => {
  using raw = new RawClient(trial.socket, Buffer.concat(bytes))
  await raw.ended()
  expect(raw.refusals).toEqual({ 0: 'PROTOCOL_INVALID' })
})

test('a client of another version of the protocol is told so', async () => {
  using raw = new RawClient(trial.socket, greeting({ protocols: [2, 65_535] }))
  await raw.ended()
  expect(raw.refusals).toEqual({ 0: 'PROTOCOL_UNSUPPORTED' })
})

const absurd = (columns: unknown, rows: unknown) => request(7, 'resize', { ...wait, size: { columns, rows } })
const refused: Record<string, readonly [bytes: Buffer, code: string]> = {
  'a method that is not there': [request(7, 'format'), 'METHOD_UNKNOWN'],
  'a method that every object has': [request(7, 'constructor'), 'METHOD_UNKNOWN'],
  'a size of nothing': [absurd(0, 24), 'PARAMETERS_INVALID'],
  'a size of a thousand million': [absurd(1e9, 1e9), 'PARAMETERS_INVALID'],
  'a size of less than nothing': [absurd(-1, 24), 'PARAMETERS_INVALID'],
  'a size of half a column': [absurd(80.5, 24), 'PARAMETERS_INVALID'],
  'a size of another type': [absurd('80', null), 'PARAMETERS_INVALID'],
  'a name that is a path': [request(7, 'wait', { session: '../../x' }), 'PARAMETERS_INVALID'],
  'a parameter that is not there': [request(7, 'close', { ...wait, force: true }), 'PARAMETERS_INVALID'],
  'a session that is not there': [request(7, 'close', { session: 'x' }), 'SESSION_UNKNOWN'],
  'an offset that is not there': [request(7, 'attach', { ...wait, from: 1e15 }), 'PARAMETERS_INVALID'],
  'an id that is taken': [request(7, 'open', { id: 'bystander' }), 'SESSION_EXISTS'],
}

test.each(Object.entries(refused))('%s is refused, and the connection goes on', async (_, [bytes, code]) => {
  using raw = new RawClient(trial.socket, Buffer.concat([hello, bytes, request(8, 'info')]))
  // Which is answered first is nobody's promise.
  expect(await raw.answer(7)).toBe(frameTypes.error)
  expect(await raw.answer(8)).toBe(frameTypes.result)
  expect(raw.refusals).toEqual({ 7: code })
})

test('one request too many is refused, and the others wait on', async () => {
  const waits = Array.from({ length: limits.requestsMax }, (_, index) => request(index + 1, 'wait', wait))
  const last = limits.requestsMax + 1
  using raw = new RawClient(trial.socket, Buffer.concat([hello, ...waits, request(last, 'info')]))
  expect(await raw.answer(last)).toBe(frameTypes.error)
  expect(raw.refusals).toEqual({ [last]: 'DAEMON_BUSY' })
})

test('input for a session that is not there goes nowhere', async () => {
  const nowhere = Buffer.concat([inputHead(4711, 3), Buffer.from('abc')])
  using raw = new RawClient(trial.socket, Buffer.concat([hello, nowhere, request(1, 'info')]))
  expect(await raw.answer(1)).toBe(frameTypes.result)
})

test('whatever else is said is answered with a code, and never by a defect', async () => {
  const harmless = ['attach', 'detach', 'resize', 'wait', 'list', 'info', 'constructor', '']
  const number = fc.nat({ max: 3 })
  const said = fc.oneof(
    fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
    fc
      .tuple(fc.constantFrom<FrameType>(...Object.values(frameTypes)), fc.uint8Array({ maxLength: 64 }))
      .map(([type, bytes]) => frame(type, Buffer.from(bytes))),
    fc.tuple(number, fc.jsonValue()).map(([at, value]) => numberedFrame(frameTypes.request, at, value)),
    fc
      .tuple(number, fc.constantFrom(...harmless), fc.jsonValue())
      .map(([at, method, params]) => request(at, method, params)),
    fc
      .tuple(number, fc.constantFrom('attach', 'resize'), fc.jsonValue(), fc.jsonValue())
      .map(([at, method, from, size]) => request(at, method, { session: 'no-such', from, size })),
  )
  const codes = new Set(['PROTOCOL_INVALID', 'METHOD_UNKNOWN', 'PARAMETERS_INVALID', 'SESSION_UNKNOWN'])
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(said, { maxLength: 8 }), async (isGreeted, sayings) => {
      using raw = new RawClient(trial.socket, Buffer.concat([...(isGreeted ? [hello] : []), ...sayings]))
      raw.socket.end()
      await raw.ended()
      for (const code of Object.values(raw.refusals)) expect(codes).toContain(code)
    }),
    { numRuns: 300 },
  )
})

test('a daemon that may have no more descriptors refuses what needs one, and serves on', async () => {
  await using limited = await scene.start({ filesMax: 64 })
  const user = await limited.client({ reconnect: false })
  const shell = new TypedShell(await user.open({ id: 'first', command: ['sh'] }))
  const fill = async () => {
    for (;;) await user.open({ command: ['cat'] })
  }
  await expect(fill()).rejects.toMatchObject({ code: 'SESSION_LIMIT' })
  await shell.asks('echo a-$((40 + 2))', 'a-42')
  expect(await user.upgrade()).toMatchObject({ outcome: 'kept', reason: { code: 'HANDOFF_FAILED' } })

  // As many clients as there is room for are let in, and one more is told.
  const others = async () => {
    for (;;) await limited.client({ reconnect: false })
  }
  await expect(others()).rejects.toMatchObject({ code: expect.stringMatching(/^DAEMON_(GONE|BUSY|SILENT)$/) })
  await shell.asks('echo b-$((40 + 2))', 'b-42')

  const [, second, third] = await user.list()
  for (const { id } of [second!, third!]) await (await user.session(id)).close()
  const again = new TypedShell(await user.open({ command: ['sh'] }))
  await again.asks('echo c-$((40 + 2))', 'c-42')
  await shell.asks('echo d-$((40 + 2))', 'd-42')
})

test('half a hello and then silence is not waited for longer than ten seconds', async () => {
  await silent.ended()
  expect(silent.refusals).toEqual({ 0: 'PROTOCOL_INVALID' })
})
