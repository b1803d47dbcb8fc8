import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  type Chunk,
  type ClientEvent,
  type ConnectOptions,
  connectDaemon,
  type DaemonClient,
  type Gap,
} from '../../src/sessions/client.ts'
import { frameTypes, jsonFrame, limits, outputHead } from '../../src/sessions/protocol.ts'
import { type Compiled, compile } from '../support/compiled.ts'
import { ScriptedDaemon, unanswered, WireError } from '../support/sessions/daemon-double.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { numbered } from '../support/sessions/numbered-stream.ts'

let daemon: ScriptedDaemon
let clients: DaemonClient[]

beforeEach(async () => {
  daemon = await ScriptedDaemon.start()
  clients = []
})

afterEach(async () => {
  for (const client of clients) await client.close()
  await daemon[Symbol.asyncDispose]()
})

async function connected(options: Partial<ConnectOptions> = {}): Promise<DaemonClient> {
  const client = await connectDaemon({ path: daemon.path, ...options })
  clients.push(client)
  return client
}

const failing = (code: string, more: object = {}) => expect.objectContaining({ code, ...more })
const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Everything that comes until the output ends. Fails where offsets do not go on without a break. */
async function received(output: AsyncIterable<Chunk | Gap>, from = 0) {
  const bytes: Buffer[] = []
  const gaps: Gap[] = []
  let at = from
  for await (const piece of output) {
    expect('bytes' in piece ? piece.offset : piece.from).toBe(at)
    if ('bytes' in piece) bytes.push(Buffer.from(piece.bytes))
    else gaps.push(piece)
    at = 'bytes' in piece ? piece.offset + piece.bytes.length : piece.to
  }
  return { bytes: Buffer.concat(bytes), gaps, at }
}

const same = (one: Buffer, other: Buffer) => expect(one.equals(other), `${one.length}, ${other.length}`).toBe(true)

describe('a client that connects', () => {
  test('says what it speaks, and learns who answers', async () => {
    const client = await connected({ name: 'tester' })
    expect(daemon.hellos).toEqual([{ protocols: [1], client: 'tester', capabilities: [] }])
    expect(client.daemon).toMatchObject({ version: '1.2.3', pid: 77 })
    expect(await client.info()).toMatchObject({ name: 'main', generation: 1 })
  })

  test('where there is nobody, or only the socket of somebody who was killed, learns that no daemon runs', async () => {
    await expect(connectDaemon({ path: `${daemon.path}.not` })).rejects.toEqual(failing('DAEMON_NOT_RUNNING'))
    const dead = `${daemon.path}.dead`
    const script = `require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`
    await promisify(execFile)(process.execPath, ['-e', script]).catch(() => {})
    await expect(connectDaemon({ path: dead })).rejects.toEqual(failing('DAEMON_NOT_RUNNING'))
  })

  test('to a daemon of another protocol is told so, whoever of the two finds out', async () => {
    daemon.greet = (connection) => {
      connection.refuse(0, new WireError('PROTOCOL_UNSUPPORTED', { message: 'only version 2' }))
      connection.socket.end()
    }
    await expect(connected()).rejects.toEqual(failing('PROTOCOL_UNSUPPORTED', { message: 'only version 2' }))
    daemon.greet = (connection) => connection.welcome({ protocol: 2 })
    await expect(connected()).rejects.toEqual(failing('PROTOCOL_UNSUPPORTED'))
  })

  test.each([
    ['another protocol', Buffer.from('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')],
    ['a length that no frame has', Buffer.from([0, 0, 0, 0, 1])],
    ['a frame of an unknown type', Buffer.from([0, 0, 0, 1, 0x42])],
    ['a welcome that is no JSON', Buffer.from([0, 0, 0, 2, frameTypes.welcome, 0x7b])],
    ['a welcome without its fields', jsonFrame(frameTypes.welcome, {})],
    ['output before the welcome', outputHead(1, 0, 0)],
  ])('and is answered with %s: PROTOCOL_INVALID', async (_, bytes) => {
    daemon.greet = (connection) => connection.send(bytes)
    await expect(connected()).rejects.toEqual(failing('PROTOCOL_INVALID'))
    await eventually(() => daemon.connections.size === 0)
  })

  test('and hears nothing in time, or only half a welcome, says which', async () => {
    daemon.greet = () => {}
    await expect(connected({ answerTimeoutMs: 50 })).rejects.toEqual(failing('DAEMON_SILENT'))
    daemon.greet = ({ socket }) => socket.end(jsonFrame(frameTypes.welcome, {}).subarray(0, 6))
    await expect(connected()).rejects.toEqual(
      failing('DAEMON_GONE', { message: expect.stringContaining('in the middle of a frame') }),
    )
    daemon.greet = ({ socket }) => socket.end()
    await expect(connected()).rejects.toEqual(failing('DAEMON_GONE'))
  })

  test('can be called off', async () => {
    daemon.greet = () => {}
    const abort = new AbortController()
    const connecting = connected({ signal: abort.signal })
    await eventually(() => daemon.connections.size === 1)
    abort.abort(new Error('enough'))
    await expect(connecting).rejects.toThrow('enough')
    await expect(connected({ signal: abort.signal })).rejects.toThrow('enough')
    await eventually(() => daemon.connections.size === 0)
  })
})

describe('a request', () => {
  test('gets its own answer, in whatever order they come', async () => {
    const answers: (() => void)[] = []
    daemon.script.open = ({ id }) => new Promise((resolve) => answers.push(() => resolve(daemon.add(id!).info)))
    const client = await connected()
    const opened = ['a', 'b', 'c'].map((id) => client.open({ id }))
    await eventually(() => answers.length === 3)
    for (const answer of answers.reverse()) answer()
    expect((await Promise.all(opened)).map(({ id }) => id)).toEqual(['a', 'b', 'c'])
  })

  test('fails with the code, hint and details that the daemon gave', async () => {
    const details = { path: '/gone' }
    daemon.script.open = () => new WireError('SESSION_CWD_INVALID', { message: 'no /gone', hint: 'Make it.', details })
    const client = await connected()
    await expect(client.open()).rejects.toMatchObject({
      name: 'InstarError',
      code: 'SESSION_CWD_INVALID',
      message: 'no /gone',
      hint: 'Make it.',
      details,
    })
  })

  test('fails with DAEMON_FAILED where the code is of a later version, which is in the details', async () => {
    daemon.script.open = () => new WireError('SESSION_HAUNTED', { message: 'a ghost', details: { path: '/' } })
    const client = await connected()
    await expect(client.open()).rejects.toMatchObject({
      code: 'DAEMON_FAILED',
      message: 'a ghost',
      details: { code: 'SESSION_HAUNTED', path: '/' },
    })
  })

  test('whose result is none fails alone', async () => {
    daemon.script.info = () => ({ name: 1 }) as any
    const client = await connected({ reconnect: false })
    await expect(client.info()).rejects.toEqual(failing('PROTOCOL_INVALID'))
    expect(await client.list()).toEqual([])
  })

  test('that is not answered fails with DAEMON_SILENT; a late answer disturbs nobody', async () => {
    let answer!: () => void
    daemon.script.info = (_, connection, number) => {
      answer = () => connection.answer(number, {})
      return unanswered
    }
    const client = await connected({ answerTimeoutMs: 50, reconnect: false })
    await expect(client.info()).rejects.toEqual(failing('DAEMON_SILENT'))
    answer()
    expect(await client.list()).toEqual([])
  })

  test('that takes as long as it takes is not given up', async () => {
    daemon.add('a')
    const client = await connected({ answerTimeoutMs: 30 })
    const session = await client.session('a')
    const { exit } = session
    const done = Promise.race([exit, new Promise((resolve) => setTimeout(resolve, 100, 'still waiting'))])
    expect(await done).toBe('still waiting')
    const ended = daemon.end('a', { code: 3 })
    expect(await exit).toEqual(ended)
  })

  test('that does not fit into a frame is not sent', async () => {
    const client = await connected({ reconnect: false })
    const env = { A: 'x'.repeat(100_000), B: 'x'.repeat(100_000), C: 'x'.repeat(100_000) }
    await expect(client.open({ env })).rejects.toEqual(failing('PARAMETERS_INVALID'))
    expect(await client.list()).toEqual([])
  })

  test('can be given up; a session that opens all the same is closed again', async () => {
    let answer!: () => void
    daemon.script.open = () => new Promise((resolve) => (answer = () => resolve(daemon.add('late').info)))
    const client = await connected()
    const abort = new AbortController()
    const opening = client.open({}, { signal: abort.signal })
    await eventually(() => answer !== undefined)
    abort.abort(new Error('enough'))
    await expect(opening).rejects.toThrow('enough')
    answer()
    await eventually(() => daemon.sessions.get('late')?.info.exit !== null)
    await expect(client.info({ signal: abort.signal })).rejects.toThrow('enough')
    expect(daemon.count('info')).toBe(0)
  })
})

describe('output', () => {
  test('arrives whole when every byte comes alone', async () => {
    const session = daemon.add('a')
    const client = await connected()
    const output = (await client.session('a')).output()
    const all = received(output)
    await eventually(() => daemon.connection.cursors.size === 1)
    const printed = numbered(0, 3000)
    const { connection } = daemon
    connection.cursors.clear()
    const send = connection.send.bind(connection)
    connection.send = (...frames) => {
      for (const byte of Buffer.concat(frames)) send(Buffer.from([byte]))
    }
    for (let at = 0; at < printed.length; at += 700)
      connection.output(session.info.handle, at, printed.subarray(at, at + 700))
    connection.cursors.set(session.info.handle, printed.length)
    daemon.print('a', printed)
    daemon.end('a')
    same((await all).bytes, printed)
  })

  test('of 10 000 chunks arrives whole and in order', async () => {
    daemon.add('a')
    const client = await connected()
    const all = received((await client.session('a')).output())
    const printed = numbered(0, 10_000 * 37)
    daemon.pieceBytes = 37
    daemon.print('a', printed)
    daemon.end('a')
    same((await all).bytes, printed)
  })

  test('begins where it is asked to: at a byte, at what is still there, or now', async () => {
    daemon.add('a')
    daemon.print('a', numbered(0, 100))
    daemon.drop('a', 30)
    const client = await connected()
    const session = await client.session('a')
    const first = async (from: number | 'start' | 'end') => {
      const output = session.output({ from })
      const taken = output.next()
      if (from === 'end') {
        await eventually(() => daemon.connection.cursors.size === 1)
        daemon.print('a', Buffer.from('new'))
      }
      const { value } = await taken
      await session.detach()
      return value
    }
    expect(await first(40)).toMatchObject({ offset: 40 })
    expect(await first('start')).toMatchObject({ offset: 30 })
    expect(await first('end')).toEqual({ offset: 100, bytes: Buffer.from('new') })
    expect(await first(10)).toEqual({ from: 10, known: 30, to: 30 })
  })

  test('that comes twice is cut, and a hole that nobody told of is a gap', async () => {
    const { handle } = daemon.add('a').info
    const client = await connected()
    const output = (await client.session('a')).output()
    const first = output.next()
    await eventually(() => daemon.connection.cursors.size === 1)
    const { connection } = daemon
    connection.output(handle, 0, Buffer.from('abc'))
    connection.output(handle, 0, Buffer.from('abc'))
    connection.output(handle, 1, Buffer.from('bcde'))
    connection.gap(handle, { from: 0, known: 2, to: 4 })
    connection.output(handle, 7, Buffer.from('hi'))
    connection.gap(handle, { from: 8, known: 10, to: 12 })
    connection.gap(handle, { from: 14, known: 14, to: 20 })
    const pieces: unknown[] = [(await first).value]
    while (pieces.length < 6) pieces.push((await output.next()).value)
    expect(pieces).toEqual([
      { offset: 0, bytes: Buffer.from('abc') },
      { offset: 3, bytes: Buffer.from('de') },
      { from: 5, known: 7, to: 7 },
      { offset: 7, bytes: Buffer.from('hi') },
      { from: 9, known: 10, to: 12 },
      { from: 12, known: 14, to: 20 },
    ])
  })

  test('that the exit counts and that never came is a gap', async () => {
    const { handle } = daemon.add('a').info
    const client = await connected()
    const all = received((await client.session('a')).output())
    await eventually(() => daemon.connection.cursors.size === 1)
    daemon.connection.output(handle, 0, Buffer.from('abc'))
    daemon.end('a', { offset: 10 })
    expect(await all).toEqual({ bytes: Buffer.from('abc'), gaps: [{ from: 3, known: 10, to: 10 }], at: 10 })
  })

  test('is for one consumer at a time; a left one makes room', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    const abort = new AbortController()
    const first = session.output({ signal: abort.signal })
    const taking = first.next()
    await expect(session.output().next()).rejects.toEqual(failing('SESSION_ATTACHED'))
    abort.abort(new Error('enough'))
    await expect(taking).rejects.toThrow('enough')
    expect(await first.next()).toEqual({ done: true, value: undefined })
    // Whatever the daemon still has to do for the first.
    const second = session.output()
    const taken = second.next()
    await eventually(() => daemon.count('attach') === 2 && daemon.connection.cursors.size === 1)
    daemon.print('a', Buffer.from('x'))
    expect((await taken).value).toMatchObject({ offset: 0 })
    await session.detach()
    expect(await second.next()).toEqual({ done: true, value: undefined })
    expect(daemon.connection.cursors.size).toBe(0)
    await expect(session.output({ signal: abort.signal }).next()).rejects.toThrow('enough')
  })

  test('of a session that is unknown fails; of one whose end alone is known, it is a gap', async () => {
    daemon.add('a')
    daemon.add('b')
    const client = await connected()
    const [gone, ended] = [await client.session('a'), await client.session('b')]
    daemon.sessions.delete('a')
    await expect(gone.output().next()).rejects.toEqual(failing('SESSION_UNKNOWN'))
    await expect(gone.exit).rejects.toEqual(failing('SESSION_UNKNOWN'))
    daemon.script.attach = () => new WireError('SESSION_ENDED')
    daemon.print('b', numbered(0, 50))
    const exit = daemon.end('b')
    expect(await received(ended.output({ from: 20 }), 20)).toMatchObject({ gaps: [{ from: 20, known: 50, to: 50 }] })
    expect(await ended.exit).toEqual(exit)
  })

  test('goes on through a handoff, which is told', async () => {
    const { handle } = daemon.add('a').info
    const client = await connected({ reconnect: false })
    const events: ClientEvent[] = []
    const silence = client.onEvent((event) => events.push(event))
    const output = (await client.session('a')).output()
    const taken = output.next()
    await eventually(() => daemon.connection.cursors.size === 1)
    daemon.connection.tell({ type: 'something-new', more: 1 })
    daemon.connection.tell({ type: 'handed-over', version: '2.0.0', pid: 78 })
    daemon.connection.output(handle, 0, Buffer.from('x'))
    await taken
    expect(events).toEqual([{ type: 'handed-over', version: '2.0.0', pid: 78 }])
    expect(client.daemon).toMatchObject({ version: '2.0.0', pid: 78 })
    silence()
    daemon.connection.tell({ type: 'handed-over', version: '3.0.0', pid: 79 })
    await client.info()
    expect(events).toHaveLength(1)
  })
})

describe('when the connection is lost', () => {
  test('output goes on at the byte where it was, wherever it was cut', async () => {
    const printed = numbered(0, 20_000)
    const client = await connected({ reconnect: { delayMs: 1, delayMsMax: 2 } })
    let runs = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 3000 }),
        async (lives, pieceBytes) => {
          const id = `s${++runs}`
          daemon.pieceBytes = pieceBytes
          const { handle } = daemon.add(id).info
          daemon.print(id, printed)
          // Each connection ends after so many bytes of its output, mostly in mid-frame.
          daemon.script.attach = ({ from }, connection, number) => {
            const at = from === 'start' ? 0 : (from as number)
            const { info } = daemon.sessions.get(id)!
            const life = lives.shift()
            if (life === undefined) return { session: info, from: at }
            connection.answer(number, { session: info, from: at })
            const frames: Buffer[] = []
            for (let next = at; next < printed.length; next += pieceBytes) {
              const bytes = printed.subarray(next, next + pieceBytes)
              frames.push(outputHead(handle, next, bytes.length), bytes)
            }
            connection.socket.end(Buffer.concat(frames).subarray(0, life))
            return unanswered
          }
          const all = received((await client.session(id)).output())
          daemon.end(id)
          same((await all).bytes, printed)
        },
      ),
      { numRuns: 40 },
    )
  })

  test('what is gone by then is a gap, and then it goes on', async () => {
    daemon.add('a')
    daemon.print('a', numbered(0, 100))
    const client = await connected()
    const output = (await client.session('a')).output()
    expect((await output.next()).value).toMatchObject({ offset: 0 })
    await daemon.die()
    daemon.print('a', numbered(100, 200))
    daemon.drop('a', 250)
    await daemon.listen()
    expect((await output.next()).value).toEqual({ from: 100, known: 250, to: 250 })
    expect((await output.next()).value).toEqual({ offset: 250, bytes: numbered(250, 50) })
  })

  test('by garbage, it is told what came, and goes on all the same', async () => {
    daemon.add('a')
    const client = await connected()
    const events: ClientEvent[] = []
    client.onEvent((event) => events.push(event))
    const output = (await client.session('a')).output()
    daemon.print('a', Buffer.from('abc'))
    await output.next()
    daemon.connection.send(Buffer.from('\xff\xff\xff\xffgarbage', 'latin1'))
    await eventually(() => events.length === 2)
    daemon.print('a', Buffer.from('def'))
    expect((await output.next()).value).toEqual({ offset: 3, bytes: Buffer.from('def') })
    expect(events).toMatchObject([
      { type: 'disconnected', error: { code: 'PROTOCOL_INVALID' } },
      { type: 'reconnected', version: '1.2.3', pid: 77 },
    ])
  })

  test('an answer that nobody asked for, and an error about the connection, are such an end', async () => {
    for (const [say, code] of [
      [() => daemon.connection.answer(4711, {}), 'PROTOCOL_INVALID'],
      [() => daemon.connection.refuse(0, new WireError('DAEMON_BUSY')), 'DAEMON_BUSY'],
    ] as const) {
      const client = await connected({ reconnect: false })
      daemon.script.wait = () => unanswered
      daemon.add('a')
      const { exit } = await client.session('a')
      await eventually(() => daemon.asked.at(-1)?.method === 'wait')
      say()
      await expect(exit).rejects.toEqual(failing(code))
    }
  })

  test('what comes to the same is asked again, and the rest rejects with DAEMON_GONE', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    daemon.isMute = true
    daemon.asked.length = 0
    const again = Promise.all([client.info(), client.list(), session.resize({ columns: 7, rows: 7 }), session.exit])
    const lost = [client.open(), session.signal('SIGTERM'), session.close(), client.upgrade(), client.stop()].map(
      (asked) => asked.catch((error) => error),
    )
    await eventually(() => daemon.asked.length === 9)
    daemon.isMute = false
    daemon.cut()
    for (const error of await Promise.all(lost)) expect(error).toEqual(failing('DAEMON_GONE'))
    await eventually(() => daemon.count('wait') === 2)
    const exit = daemon.end('a')
    expect(await again).toEqual([expect.objectContaining({ pid: 77 }), expect.any(Array), undefined, exit])
    for (const method of ['open', 'signal', 'close', 'upgrade', 'stop'] as const) expect(daemon.count(method)).toBe(1)
    expect(daemon.sessions.get('a')!.info.size).toEqual({ columns: 7, rows: 7 })
  })

  test('what is asked meanwhile waits for the next connection, or for its signal', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    await daemon.die()
    await eventually(async () => (await Promise.race([client.info(), turn().then(() => null)])) === null)
    const abort = new AbortController()
    const given = client.info({ signal: abort.signal })
    abort.abort(new Error('enough'))
    await expect(given).rejects.toThrow('enough')
    const opened = client.open({ id: 'b' })
    const written = session.write('hello')
    await daemon.listen()
    expect((await opened).id).toBe('b')
    await written
    await eventually(() => daemon.sessions.get('a')!.input.toString() === 'hello')
  })

  test('and nobody comes back, everything rejects with DAEMON_GONE', async () => {
    daemon.add('a')
    const client = await connected({ reconnect: { delayMs: 5, delayMsMax: 10, forMs: 60 } })
    const events: string[] = []
    client.onEvent(({ type }) => events.push(type))
    const session = await client.session('a')
    const taken = session.output().next()
    const { exit } = session
    await eventually(() => daemon.count('wait') === 1)
    await daemon.die()
    await expect(taken).rejects.toEqual(failing('DAEMON_GONE', { cause: failing('DAEMON_NOT_RUNNING') }))
    await expect(exit).rejects.toEqual(failing('DAEMON_GONE'))
    await expect(client.info()).rejects.toEqual(failing('DAEMON_GONE'))
    await expect(session.write('x')).rejects.toEqual(failing('DAEMON_GONE'))
    await expect(session.output().next()).rejects.toEqual(failing('DAEMON_GONE'))
    expect(events).toEqual(['disconnected', 'gone'])
  })

  test('again and again right after it was made, it gives up as well', async () => {
    const client = await connected({ reconnect: { delayMs: 1, delayMsMax: 20, forMs: 1000 } })
    daemon.greet = (connection) => {
      connection.welcome()
      connection.socket.end()
    }
    const gone = new Promise<ClientEvent>((resolve) => {
      client.onEvent((event) => event.type === 'gone' && resolve(event))
    })
    daemon.cut()
    expect(await gone).toMatchObject({ error: failing('DAEMON_GONE') })
    expect(daemon.hellos.length).toBeGreaterThan(3)
    expect(daemon.hellos.length).toBeLessThan(100)
  })

  test('and the next daemon speaks another protocol, it gives up at once', async () => {
    const client = await connected()
    daemon.greet = (connection) => connection.refuse(0, new WireError('PROTOCOL_UNSUPPORTED'))
    const asked = client.open().catch((error) => error)
    daemon.script.open = () => unanswered
    daemon.cut()
    await asked
    await expect(client.info()).rejects.toEqual(failing('PROTOCOL_UNSUPPORTED'))
  })

  test('without `reconnect` everything ends with it', async () => {
    daemon.add('a')
    const client = await connected({ reconnect: false })
    const session = await client.session('a')
    daemon.print('a', Buffer.from('abc'))
    const output = session.output()
    await output.next()
    const taken = output.next()
    daemon.cut()
    await expect(taken).rejects.toEqual(failing('DAEMON_GONE'))
    expect(await output.next()).toEqual({ done: true, value: undefined })
    await expect(client.info()).rejects.toEqual(failing('DAEMON_GONE'))
  })
})

describe('a session that ended meanwhile', () => {
  test('is told with its exit and the rest of its output', async () => {
    daemon.add('a')
    daemon.print('a', numbered(0, 100))
    const client = await connected()
    const session = await client.session('a')
    const all = received(session.output())
    const { exit } = session
    await eventually(() => daemon.count('wait') === 1)
    await daemon.die()
    daemon.print('a', numbered(100, 400))
    const ended = daemon.end('a', { code: 7 })
    await daemon.listen()
    expect(await exit).toEqual(ended)
    same((await all).bytes, numbered(0, 500))
    await expect(session.write('x')).rejects.toEqual(failing('SESSION_ENDED'))
  })

  test('and is gone for the daemon, but for how it ended: its output ends with a gap', async () => {
    daemon.add('a')
    daemon.print('a', numbered(0, 100))
    const client = await connected()
    const session = await client.session('a')
    const all = received(session.output())
    await eventually(() => daemon.connection.cursors.size === 1)
    await daemon.die()
    daemon.print('a', numbered(100, 400))
    const ended = daemon.end('a')
    daemon.script.attach = () => new WireError('SESSION_UNKNOWN')
    await daemon.listen()
    expect((await all).gaps).toEqual([{ from: 100, known: 500, to: 500 }])
    expect(await session.exit).toEqual(ended)
  })

  test('is not mistaken for another one of its name, or of its handle', async () => {
    daemon.add('a')
    daemon.add('b')
    const client = await connected()
    const [session, other] = [await client.session('a'), await client.session('b')]
    daemon.print('a', Buffer.from('abc'))
    const output = session.output()
    await output.next()
    const taken = output.next()
    const { exit } = session
    await eventually(() => daemon.count('wait') === 1)
    await daemon.die()
    daemon.forget()
    daemon.add('a', { createdAt: 4711 })
    daemon.add('c')
    daemon.print('a', Buffer.from('of another one'))
    daemon.end('a')
    await daemon.listen()
    await expect(taken).rejects.toEqual(failing('SESSION_UNKNOWN'))
    await expect(exit).rejects.toEqual(failing('SESSION_UNKNOWN'))
    for (const asked of [
      session.write('x'),
      session.resize({ columns: 1, rows: 1 }),
      session.signal('SIGKILL'),
      session.close(),
      other.write('x'),
    ])
      await expect(asked).rejects.toEqual(failing('SESSION_UNKNOWN'))
    await client.info()
    for (const { input } of daemon.sessions.values()) expect(input).toHaveLength(0)
    for (const method of ['resize', 'signal', 'close'] as const) expect(daemon.count(method)).toBe(0)
  })
})

describe('input', () => {
  test('is split into frames, keeps its order, and is taken as it was when it was written', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    const first = numbered(0, 3 * limits.dataBytesMax + 5)
    const second = numbered(first.length, 1000)
    const rest = numbered(first.length + 1000, 1000)
    const written = [session.write(first), session.write(second), session.write(rest.toString('latin1'))]
    await Promise.all(written)
    first.fill(0)
    await eventually(() => daemon.sessions.get('a')!.input.length === first.length + 2000)
    same(daemon.sessions.get('a')!.input, numbered(0, first.length + 2000))
  })

  test('waits for a daemon that does not take it, and is not kept in memory for it', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    daemon.connection.socket.pause()
    const bytes = 8 * 1024 * 1024
    const before = process.memoryUsage().arrayBuffers
    let isDone = false
    const input = numbered(0, bytes)
    const written = session.write(input).then(() => {
      isDone = true
    })
    const abort = new AbortController()
    const called = session.write('never', { signal: abort.signal }).catch((error) => error)
    abort.abort(new Error('enough'))
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(isDone).toBe(false)
    expect(process.memoryUsage().arrayBuffers - before - bytes).toBeLessThan(2_000_000)
    daemon.connection.socket.resume()
    await written
    expect(await called).toMatchObject({ message: 'enough' })
    await eventually(() => daemon.sessions.get('a')!.input.length === bytes)
    same(daemon.sessions.get('a')!.input, input)
  })

  test('that a lost connection may have taken in part is not sent twice', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    daemon.connection.socket.pause()
    const written = session.write(numbered(0, 8 * 1024 * 1024)).catch((error) => error)
    const next = session.write('next')
    await new Promise((resolve) => setTimeout(resolve, 50))
    daemon.cut()
    const error = await written
    expect(error).toEqual(failing('DAEMON_GONE'))
    expect(error.details.writtenBytes % limits.dataBytesMax).toBe(0)
    expect(error.details.writtenBytes).toBeLessThan(8 * 1024 * 1024)
    await next
    await eventually(() => daemon.sessions.get('a')!.input.toString() === 'next')
  })
})

describe('input that nobody was there to take', () => {
  test('is given to the next daemon', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    daemon.cut()
    await Promise.all([session.write('one '), session.write('two')])
    await client.info()
    expect(daemon.sessions.get('a')!.input.toString()).toBe('one two')
  })

  test('also by a client that receives nothing because a consumer lags', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    const output = session.output()
    await Promise.all([output.next(), daemon.print('a', numbered(0, 2 * 1024 * 1024))])
    let sent = -1
    await eventually(async () => {
      const before = sent
      sent = daemon.connection.sentBytes
      await new Promise((resolve) => setTimeout(resolve, 100))
      return sent === before
    }, 'the end of what is received')
    daemon.cut()
    await session.write('next')
    await eventually(() => daemon.sessions.get('a')!.input.toString() === 'next')
  })
})

describe('a consumer that is slow', () => {
  const printed = numbered(0, 4 * 1024 * 1024)

  test('and alone holds the daemon up, and gets everything', async () => {
    daemon.add('a')
    const client = await connected()
    const output = (await client.session('a')).output()
    await Promise.all([output.next(), daemon.print('a', printed)])
    // What was taken, what waits here, and what is in the kernel and in the daemon's queue.
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(daemon.connection.sentBytes).toBeLessThan(1_500_000)
    expect(daemon.count('detach')).toBe(0)
    daemon.end('a')
    let at = 0
    const first = printed.length
    for await (const piece of output) {
      if (!('bytes' in piece)) throw new Error('a gap')
      at = at === 0 ? piece.offset : at
      expect(piece.offset).toBe(at)
      expect(piece.bytes.equals(printed.subarray(at, at + piece.bytes.length))).toBe(true)
      at += piece.bytes.length
      await turn()
    }
    expect(at).toBe(first)
  })

  test('does not hold up others, and gets everything when it has caught up', async () => {
    daemon.add('slow')
    daemon.add('quick')
    const client = await connected()
    const slow = (await client.session('slow')).output()
    const quick = received((await client.session('quick')).output())
    await Promise.all([slow.next(), daemon.print('slow', printed)])
    daemon.print('quick', numbered(0, 500_000))
    daemon.end('quick')
    same((await quick).bytes, numbered(0, 500_000))
    expect(await client.info()).toMatchObject({ pid: 77 })
    expect(daemon.count('detach')).toBeGreaterThan(0)
    daemon.end('slow')
    let at: number | null = null
    for await (const piece of slow) {
      if (!('bytes' in piece)) throw new Error('a gap')
      expect(piece.offset).toBe(at ?? piece.offset)
      expect(piece.bytes.equals(printed.subarray(piece.offset, piece.offset + piece.bytes.length))).toBe(true)
      at = piece.offset + piece.bytes.length
    }
    expect(at).toBe(printed.length)
  })

  test('does not hold up a request', async () => {
    daemon.add('a')
    const client = await connected()
    const output = (await client.session('a')).output()
    await Promise.all([output.next(), daemon.print('a', printed)])
    await eventually(() => daemon.connection.socket.writableLength > 0)
    expect(await client.info()).toMatchObject({ pid: 77 })
  })

  test('that misses a reconnection loses nothing, and takes no more memory', async () => {
    daemon.add('a')
    const client = await connected()
    const output = (await client.session('a')).output()
    await Promise.all([output.next(), daemon.print('a', printed)])
    for (let round = 0; round < 3; round += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      const sent = daemon.connection.sentBytes
      daemon.cut()
      await client.info()
      if (round > 0) expect(sent).toBe(0)
    }
    expect(daemon.count('attach')).toBe(1)
    daemon.end('a')
    let at = 0
    for await (const piece of output) {
      if (!('bytes' in piece)) throw new Error('a gap')
      if (at > 0) expect(piece.offset).toBe(at)
      at = piece.offset + piece.bytes.length
    }
    expect(at).toBe(printed.length)
  })

  test('of many small pieces is bounded by their number, too', async () => {
    daemon.add('a')
    daemon.pieceBytes = 1
    const client = await connected()
    const output = (await client.session('a')).output()
    await Promise.all([output.next(), daemon.print('a', numbered(0, 100_000))])
    await new Promise((resolve) => setTimeout(resolve, 300))
    const { pieces } = output as unknown as { pieces: unknown[] }
    expect(pieces.length).toBeLessThan(10_000)
    daemon.end('a')
    expect((await received(output, 1)).at).toBe(100_000)
  })
})

describe('closing', () => {
  test('rejects what is waited for, and what was written still arrives', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    const taken = session
      .output()
      .next()
      .catch((error) => error)
    const exit = session.exit.catch((error) => error)
    daemon.script.info = () => unanswered
    const info = client.info().catch((error) => error)
    await eventually(() => daemon.count('info') === 1 && daemon.count('wait') === 1)
    const events: string[] = []
    client.onEvent(({ type }) => events.push(type))
    await session.write(numbered(0, 50_000))
    await client.close()
    for (const error of await Promise.all([taken, exit, info])) expect(error).toEqual(failing('ABORTED'))
    same(daemon.sessions.get('a')!.input, numbered(0, 50_000))
    await eventually(() => daemon.connections.size === 0)
    await client.close()
    await expect(client.list()).rejects.toEqual(failing('ABORTED'))
    expect(events).toEqual([])
  })

  test('waits for a daemon that takes only slowly what was written', async () => {
    daemon.add('a')
    const client = await connected()
    const session = await client.session('a')
    daemon.connection.socket.pause()
    let writtenBytes = 0
    for (let isTaken = true; isTaken; ) {
      const written = session.write(numbered(writtenBytes, 4096)).then(() => true)
      isTaken = await Promise.race([written, new Promise<false>((resolve) => setTimeout(resolve, 200, false))])
      if (isTaken) writtenBytes += 4096
      else written.catch(() => {}) // given up below
    }
    const closed = client.close()
    daemon.connection.socket.resume()
    await closed
    const { input } = daemon.sessions.get('a')!
    expect(input.length).toBeGreaterThanOrEqual(writtenBytes)
    same(input, numbered(0, input.length))
  })

  test('ends the attempts to reconnect', async () => {
    const client = await connected()
    await daemon.die()
    await client.close()
    await daemon.listen()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(daemon.connections.size).toBe(0)
  })

  test('does not wait for a daemon that reads nothing', async () => {
    const deaf = `${daemon.path}.deaf`
    const sockets = new Set<{ destroy(): void }>()
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket)
      socket.write(jsonFrame(frameTypes.welcome, { protocol: 1, capabilities: [], version: '1', pid: 1 }))
      socket.pause()
    })
    await new Promise<void>((resolve) => server.listen(deaf, resolve))
    const client = await connectDaemon({ path: deaf })
    await client.close()
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
})

describe('compiled', () => {
  let compiled: Compiled
  beforeAll(async () => {
    compiled = await compile('src/sessions/index.ts')
  })
  afterAll(() => compiled.remove())

  test('it needs neither terminals nor statecharts, nor anything of the controller', async () => {
    const { metafile } = await build({
      entryPoints: ['src/sessions/index.ts'],
      bundle: true,
      packages: 'external',
      platform: 'node',
      format: 'esm',
      metafile: true,
      write: false,
    })
    expect(Object.keys(metafile.inputs).sort()).toEqual([
      'src/errors.ts',
      'src/held.ts',
      'src/runtime/pause.ts',
      'src/sessions/client-link.ts',
      'src/sessions/client-output.ts',
      'src/sessions/client-session.ts',
      'src/sessions/client.ts',
      'src/sessions/index.ts',
      'src/sessions/pipe-handle.ts',
      'src/sessions/protocol.ts',
    ])
    const imported = Object.values(metafile.inputs).flatMap(({ imports }) => imports.filter(({ external }) => external))
    expect([...new Set(imported.map(({ path }) => path))].sort()).toEqual(['node:fs', 'node:net', 'zod'])
  })

  const run = async (script: string) => {
    const file = compiled.file('script.mjs')
    await writeFile(file, `import { connectDaemon } from './src/sessions/index.js'\n${script}`)
    return promisify(execFile)(process.execPath, [file, daemon.path], { timeout: 30_000 })
  }

  test('it does not keep a process alive that waits for nothing', async () => {
    daemon.add('a')
    const { stdout } = await run(`
      const client = await connectDaemon({ path: process.argv[2] })
      client.onEvent(() => {})
      const session = await client.session('a')
      await session.write('typed')
      console.log('end of the script')
    `)
    expect(stdout).toBe('end of the script\n')
    await eventually(() => daemon.sessions.get('a')!.input.toString() === 'typed')
  })

  test('it keeps one alive that waits for an exit, also while nobody is connected', async () => {
    daemon.add('a')
    const script = run(`
      const client = await connectDaemon({ path: process.argv[2], reconnect: { delayMs: 400 } })
      const session = await client.session('a')
      console.log(JSON.stringify(await session.exit))
    `)
    await eventually(() => daemon.count('wait') === 1)
    await daemon.die()
    const exit = daemon.end('a', { code: 9 })
    await daemon.listen()
    expect(JSON.parse((await script).stdout)).toEqual(exit)
  })
})
