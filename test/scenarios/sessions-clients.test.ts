import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { Session } from '../../src/sessions/client.ts'
import { frameTypes } from '../../src/sessions/protocol.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { FollowedStream, FollowedText } from '../support/sessions/followed.ts'
import { numbered } from '../support/sessions/numbered-stream.ts'
import { residentBytes } from '../support/sessions/processes.ts'
import { RawClient } from '../support/sessions/raw-client.ts'
import { sessionScene } from '../support/sessions/scene.ts'

// The scenarios *Sessions*, by number: those about clients that come, go, lag, or send a lot.

const scene = sessionScene()

const scrollbackBytes = 256 * 1024
/** What is dropped at once. */
const blockBytes = 64 * 1024

/** Resolves when the session has printed so much, whoever was given it. */
async function prints(session: Session, client: { list(): Promise<{ id: string; offset: number }[]> }, offset: number) {
  const printed = async () => (await client.list()).find(({ id }) => id === session.id)!.offset >= offset
  await eventually(printed, `byte ${offset} of ${session.id}`)
}

/** What it takes from here until the byte before `offset` was received. */
async function msUntil(output: FollowedStream, offset: number): Promise<number> {
  const begin = performance.now()
  await output.reaches(offset, 80_000)
  return performance.now() - begin
}

describe('11: a client that reconnects with its offset', () => {
  test('gets exactly what it missed, also when the daemon was replaced meanwhile', async () => {
    await using trial = await scene.start()
    const other = await trial.client()
    const leaving = await trial.client()
    const { id } = await leaving.open({ command: scene.programs.stream({ bytes: 400_000, rate: 400_000, pause: 1 }) })
    const first = new FollowedStream(await leaving.session(id))
    await first.reaches(1)
    await leaving.close()
    await first.done.catch(() => {}) // its connection is closed

    expect((await other.upgrade()).outcome).toBe('handed-over')
    const session = await (await trial.client()).session(id)
    await prints(session, other, 400_000)
    const second = new FollowedStream(session, first.offset)
    await second.reaches(400_000)
    expect(second.gaps).toEqual([])
    await session.write(Buffer.from('x'))
    await second.ends()
  })

  test('and comes too late is told what is gone', async () => {
    await using trial = await scene.start({ args: ['--buffer-bytes', String(scrollbackBytes)] })
    const client = await trial.client()
    const session = await client.open({ command: scene.programs.stream({ bytes: 2_000_000, pause: 1 }) })
    await prints(session, client, 2_000_000)
    for (const round of ['as it was', 'after an upgrade']) {
      const late = new FollowedStream(session, 16)
      await late.reaches(2_000_000)
      const [gap, ...more] = late.gaps
      expect(more, round).toEqual([])
      expect(gap!.from).toBe(16)
      expect(gap!.known).toBe(gap!.to)
      expect(2_000_000 - gap!.to).toBeGreaterThanOrEqual(scrollbackBytes)
      expect(2_000_000 - gap!.to).toBeLessThanOrEqual(scrollbackBytes + blockBytes)
      await late.detach()
      expect((await client.upgrade()).outcome).toBe('handed-over')
    }
  })
})

test('12: a client that never reads: its memory stays bounded and the others are not slowed', async () => {
  await using trial = await scene.start({ keeper: true, args: ['--buffer-bytes', String(scrollbackBytes)] })
  const client = await trial.client({ reconnect: false })
  const bytes = 100_000_000
  const stream = () => client.open({ command: scene.programs.stream({ bytes, begin: 1, pause: 1 }) })
  const alone = await FollowedStream.begin(await stream())
  const undisturbedMs = await msUntil(alone, bytes)
  await alone.session.close()
  const { id } = await stream()

  using deaf = new RawClient(trial.socket)
  deaf.socket.pause()
  deaf.ask(1, ['attach', { session: id, from: 'start' }])
  const output = await FollowedStream.begin(await client.session(id))
  const disturbedMs = msUntil(output, bytes)
  await output.reaches(2_000_000)
  const early = await residentBytes(await trial.pid())
  // Held up by the deaf one it would wait for ten seconds.
  expect((await disturbedMs) / undisturbedMs).toBeLessThan(5)
  expect(output.gaps).toEqual([])
  // What it was not given is more, and garbage comes and goes.
  expect((await residentBytes(await trial.pid())) - early).toBeLessThan(60_000_000)

  expect((await client.upgrade()).outcome).toBe('handed-over')
  await output.session.write(Buffer.from('x'))
  expect(await output.ends()).toMatchObject({ code: 0, offset: bytes })
})

test('whoever is attached is told of a new size', async () => {
  await using trial = await scene.start()
  const client = await trial.client()
  const session = await client.open({ id: 'told', command: scene.programs.idle() })
  const other = await trial.client()
  const events: unknown[] = []
  other.onEvent((event) => events.push(event))
  await new FollowedText(await other.session('told')).says('ready')
  await session.resize({ columns: 100, rows: 30 })
  await eventually(() => events.length > 0, 'the event')
  expect(events).toEqual([{ type: 'resized', session: 'told', size: { columns: 100, rows: 30 } }])
})

test('12: beside one that has stopped reading, a slow one still gets every byte', async () => {
  await using trial = await scene.start({ args: ['--buffer-bytes', String(scrollbackBytes)] })
  const client = await trial.client({ reconnect: false })
  const session = await client.open({ command: scene.programs.stream({ begin: 1 }) })
  using deaf = new RawClient(trial.socket)
  deaf.ask(1, ['attach', { session: session.id, from: 'start' }])
  expect(await deaf.answer(1)).toBe(frameTypes.result)
  deaf.socket.pause()
  let offset = 0
  const until = performance.now() + 13_000 // the deaf one holds nobody up after ten seconds
  for await (const chunk of session.output({ from: 0 })) {
    if (!('bytes' in chunk)) throw new Error(`beyond ${offset} bytes are gone: ${JSON.stringify(chunk)}`)
    if (offset === 0) await session.write('x') // not before, or what is printed meanwhile is nobody's who is slow
    offset += chunk.bytes.length
    await sleep(20)
    if (performance.now() > until) break
  }
  expect(offset).toBeGreaterThan(1_000_000)
})

test('requests that come in one piece are carried out one after the other', async () => {
  await using trial = await scene.start()
  const client = await trial.client({ reconnect: false })
  const { id } = await client.open({ command: scene.programs.stream({ rate: 100_000 }) })
  using raw = new RawClient(trial.socket)
  const attach = ['attach', { session: id, from: 'start' }] as const
  raw.ask(1, attach, attach, ['detach', { session: id }])
  expect(await Promise.all([1, 2, 3].map((number) => raw.answer(number)))).toEqual([
    frameTypes.result,
    frameTypes.error,
    frameTypes.result,
  ])
  const outputs = () => raw.frames.filter(({ type }) => type === frameTypes.output).length
  raw.ask(4, ['info', {}])
  await raw.answer(4)
  const before = outputs()
  await sleep(100)
  expect(outputs()).toBe(before)
})

describe('18: a paste of 1 MB into an adopted session whose program reads it two seconds later', () => {
  const bytes = 1_000_000

  test.each([
    { keeper: false, how: 'without a keeper' },
    { keeper: true, how: 'with a keeper' },
  ])('every byte arrives, the daemon stays responsive, $how', async ({ keeper }) => {
    await using trial = await scene.start({ keeper })
    const client = await trial.client({ reconnect: false })
    const other = await trial.client({ reconnect: false })
    const echo = new FollowedStream(await other.open({ command: scene.programs.echo() }))
    const session = await client.open({ command: scene.programs.sink({ bytes, code: 3 }) })
    const screen = new FollowedText(session)
    await screen.says('ready')
    expect((await client.upgrade()).outcome).toBe('handed-over')

    const pasted = session.write(numbered(0, bytes))
    await echo.reaches(16)
    const readsAt = performance.now() + 2000
    for (let typed = 16; typed < 2016 || performance.now() < readsAt; typed += 100) {
      await echo.session.write(numbered(typed, 100))
      await echo.reaches(typed + 100)
    }
    // In mid-paste, with most of it in the daemon.
    expect((await other.upgrade()).outcome).toBe('handed-over')
    await session.signal('SIGUSR1')
    await screen.says('whole')
    await pasted
    expect(await screen.ends()).toMatchObject(keeper ? { code: 3 } : { lost: true })
  })
})
