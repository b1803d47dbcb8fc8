import { connect, type Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ConsoleTrial } from '../support/console/console-trial.ts'
import type { EventsRead } from '../support/console/events-read.ts'
import { eventually } from '../support/sessions/eventually.ts'

let trial: ConsoleTrial
let cookie: string
beforeEach(() => begin())
afterEach(() => trial[Symbol.asyncDispose]())

async function begin(limits = {}): Promise<void> {
  trial = await ConsoleTrial.make(limits)
  cookie = await trial.signIn()
}

const lastSeq = () => trial.controller.journal.lastSeq

/** Makes the journal longer: by a few records each time. */
async function adjust(times: number): Promise<void> {
  for (let at = 0; at < times; at++) {
    await trial.controller.workspaces.add(`w${at}`)
    await trial.controller.workspaces.remove(`w${at}`)
  }
}

/** A record of `bytes`, about. */
const large = (bytes: number) => trial.controller.access.refuse(null, { action: 'x'.repeat(bytes) })

/** How many listen to what runs do. */
const watchers = () => (trial.controller as any).interpreter.listeners.size as number

test('a page is told who serves it, how everything is, the last records with the state after each, and what comes', async () => {
  await adjust(3)
  const page = await trial.events(cookie)
  await page.reaches(lastSeq())
  await trial.controller.workspaces.add('later')
  await page.reaches(lastSeq())
  expect(page.events[0]).toMatchObject({ name: 'hello', data: { home: trial.host.home, lastSeq: expect.any(Number) } })
  expect(page.events[0]!.data.machines).toContain('workspace-adjust')
  const { records } = page
  expect(records.map(({ seq }) => seq)).toEqual(Array.from({ length: lastSeq() }, (_, at) => at + 1))
  for await (const { seq, run, at, event, ends } of trial.controller.journal.read()) {
    const { machine, key, value, effects, output } = await trial.controller.stateAt(run as string, seq)
    expect(records[seq - 1]).toMatchObject({ seq, run, at, event, machine, key, state: value, effects })
    expect(records[seq - 1].ends).toBe(ends)
    expect(records[seq - 1].outcome).toBe(ends && output ? ((output as any).outcome ?? null) : null)
  }
  await eventually(() => page.named('status').at(-1)?.data.workspaces.includes('later'), 'the status')
  expect(page.named('status').at(-1)!.data).toMatchObject({ runtimes: expect.any(Array), apps: [], failure: null })
})

test('a page that loses its connection again and again misses nothing, and is told nothing twice', async () => {
  const steady = await trial.events(cookie, { from: 1 })
  const told: any[] = []
  let lastId: number | null = null
  let isOver = false
  const unsteady = async () => {
    for (let isLast = false; !isLast; ) {
      isLast = isOver
      const page: EventsRead = await trial.events(cookie, lastId === null ? { from: 1 } : { lastId })
      if (isLast && lastId !== lastSeq()) await page.reaches(lastSeq())
      else if (!isLast) await sleep(Math.random() * 60)
      page.close()
      told.push(...page.records)
      lastId = page.lastId ?? lastId
    }
  }
  const reading = unsteady()
  await adjust(60)
  isOver = true
  await reading
  await steady.reaches(lastSeq())
  expect(told.map(({ seq }) => seq)).toEqual(Array.from({ length: lastSeq() }, (_, at) => at + 1))
  // Replayed or told as it happened: it is the same.
  expect(told).toEqual(steady.records)
})

test('after a restart of the controller a page goes on where it was', async () => {
  await adjust(2)
  const before = await trial.events(cookie)
  await before.reaches(lastSeq())
  const lastId = before.lastId!
  await trial.restart()
  await eventually(() => before.isOver, 'its end')
  await trial.controller.workspaces.add('after')
  const page = await trial.events(cookie, { lastId })
  await page.reaches(lastSeq())
  expect(page.records[0].seq).toBe(lastId + 1)
})

test('where a page does not say from where, or says nonsense, it gets the last 200', async () => {
  await adjust(60)
  const expected = lastSeq() - 199
  expect(expected).toBeGreaterThan(1)
  for (const from of [undefined, lastSeq() + 1000]) {
    const page = await trial.events(cookie, { ...(from !== undefined && { from }) })
    await page.reaches(lastSeq())
    expect(page.records[0].seq).toBe(expected)
  }
})

test('while nobody looks nothing is watched, and nothing is asked', async () => {
  const before = watchers()
  const page = await trial.events(cookie)
  await trial.events(cookie)
  expect(watchers()).toBe(before + 1)
  const { plugins } = trial.controller
  let asked = 0
  const list = plugins.list.bind(plugins)
  plugins.list = (...args) => {
    asked += 1
    return list(...args)
  }
  await trial.controller.workspaces.add('a')
  await eventually(() => asked > 0, 'a look')
  await trial[Symbol.asyncDispose]()
  expect(page.isOver).toBe(true)
  expect(watchers()).toBe(0)

  await begin()
  const alone = watchers()
  const last = await trial.events(cookie)
  last.close()
  await eventually(() => watchers() === alone, 'the end of watching')
})

test('a busy journal is told of as a whole, and the status at most twice a second', async () => {
  const pages = await Promise.all(Array.from({ length: 10 }, () => trial.events(cookie, { from: 1 })))
  const since = performance.now()
  await adjust(100)
  for (const page of pages) await page.reaches(lastSeq())
  const elapsedMs = performance.now() - since
  for (const page of pages) {
    expect(page.records).toHaveLength(lastSeq())
    expect(page.named('status').length).toBeLessThanOrEqual(elapsedMs / 500 + 2)
  }
})

test('what effects report, and what machines announce, is told', async () => {
  const page = await trial.events(cookie)
  trial.host.registry.publish('notes', '1.0.0', { 'index.mjs': '' }, { bin: 'index.mjs' })
  await trial.controller.workspaces.add('a')
  await trial.controller.apps.install('notes', { workspace: 'a' }).catch(() => {}) // it is no app, but it is fetched
  await large(10)
  await eventually(() => page.named('progress').length > 0, 'progress')
  expect(page.named('progress')[0]!.data).toMatchObject({ run: expect.any(String), effect: expect.any(String) })
  await eventually(() => page.named('notice').some(({ data }) => data.type === 'app.refused'), 'the notice')
})

test('one with the token of a role is told of apps and workspaces, and of nothing that is the owner’s', async () => {
  await trial.controller.workspaces.add('a')
  const { token } = await trial.controller.access.add('org_admin')
  const page = await trial.events(await trial.signIn(token), { from: 1 })
  await eventually(() => page.named('status').length > 0, 'the status')
  await trial.controller.workspaces.add('b')
  await eventually(() => page.named('status').at(-1)!.data.workspaces.includes('b'), 'the next status')
  expect(page.named('status')[0]!.data).toMatchObject({
    apps: [],
    runtimes: null,
    daemons: null,
    plugins: null,
    runs: null,
  })
  expect(new Set(page.events.map(({ name }) => name))).toEqual(new Set(['hello', 'status']))
  await trial.controller.access.remove(trial.controller.access.list()[0]!.token)
  await eventually(() => page.isOver, 'its end')
})

test('to sign out ends what the browser was told, and no other', async () => {
  const other = await trial.events(await trial.signIn())
  const page = await trial.events(cookie)
  await trial.send('/console/session', { method: 'DELETE', cookie })
  await eventually(() => page.isOver, 'its end')
  await trial.controller.workspaces.add('a')
  await other.reaches(lastSeq())
})

test('a page that does not read is cut, holds nothing up, and nothing is piled up for it', async () => {
  await trial[Symbol.asyncDispose]()
  await begin({ takeMs: 500 })
  const reader = await trial.events(cookie)
  const socket = connect(trial.http.port, '127.0.0.1')
  socket.on('error', () => {}).pause() // cut is what we want
  const head = `GET /console/events HTTP/1.1\r\nHost: 127.0.0.1:${trial.http.port}\r\nCookie: ${cookie}\r\n\r\n`
  socket.write(head)
  await sleep(200)
  // More than what the system keeps for a connection.
  for (let at = 0; at < 300; at++) await large(50_000)
  await reader.reaches(lastSeq())
  await eventually(async () => (await connections()) === 1, 'its end')
  socket.destroy()
  expect(reader.isOver).toBe(false)
})

test('an event that is very large is told without what it holds', async () => {
  const page = await trial.events(cookie)
  await large(100_000)
  await page.reaches(lastSeq())
  expect(page.records.at(-1).event).toEqual({ type: 'xstate.init', omittedBytes: expect.any(Number) })
})

test('no more pages listen than may, and one that leaves makes room', async () => {
  await trial[Symbol.asyncDispose]()
  await begin({ streams: 2 })
  const [page] = [await trial.events(cookie), await trial.events(cookie)]
  await expect(trial.events(cookie)).rejects.toThrow('503')
  page!.close()
  await eventually(
    () =>
      trial.events(cookie).then(
        () => true,
        () => false,
      ),
    'room',
  )
})

/** How many connections the server has. */
const connections = () =>
  new Promise<number>((resolve) => {
    const { server } = trial.http as unknown as { server: Server }
    server.getConnections((_, count) => resolve(count))
  })
