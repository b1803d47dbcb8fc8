import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { InstarError } from '../../src/errors.ts'
import type { HttpLimits } from '../../src/http/limits.ts'
import { ConsoleTrial, codeOf } from '../support/console/console-trial.ts'
import { TerminalPage } from '../support/console/terminal-page.ts'
import { commandOf } from '../support/sessions/daemon-trial.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { MarkedProcesses } from '../support/sessions/processes.ts'
import { sessionScene } from '../support/sessions/scene.ts'

const scene = sessionScene()
let trial: ConsoleTrial
let cookie: string
let processes: MarkedProcesses
const pages: TerminalPage[] = []

beforeEach(async () => {
  processes = new MarkedProcesses()
  Object.assign(process.env, processes.environment)
  await begin()
})

afterEach(async () => {
  await end()
  for (const name of Object.keys(processes.environment)) delete process.env[name]
  expect((await processes.all()).filter(({ pid }) => pid !== process.pid)).toEqual([])
})

async function begin(limits: Partial<HttpLimits> = {}): Promise<void> {
  const sessions = { command: commandOf(scene.daemon), keeper: scene.daemon.keeper }
  trial = await ConsoleTrial.make(limits, { sessions })
  cookie = await trial.signIn()
}

async function end(): Promise<void> {
  for (const page of pages.splice(0)) await page.close()
  await trial.controller.daemon.stop().catch(async () => {
    // The controller is closed where a test failed in the middle.
    await trial.restart()
    await trial.controller.daemon.stop()
  })
  await trial[Symbol.asyncDispose]()
}

const path = (id: string) => `/console/terminals/main/${id}`

async function show(id: string, { offset }: { offset?: number } = {}): Promise<TerminalPage> {
  const query = offset === undefined ? '' : `?offset=${offset}`
  const page = await TerminalPage.open(`ws://127.0.0.1:${trial.http.port}${path(id)}${query}`, { Cookie: cookie })
  pages.push(page)
  return page
}

async function open(command: readonly string[], id = 'a'): Promise<void> {
  const { status, text } = await trial.send('/console/terminals/main', {
    method: 'POST',
    cookie,
    body: { id, command },
  })
  expect({ status, text }).toMatchObject({ status: 201 })
}

const shell = ['sh', '-c', 'echo begun; while read line; do echo "got $line"; [ "$line" = end ] && exit 7; done']

test('a session is opened, listed, shown, typed into, resized, and says how it ended', async () => {
  expect(JSON.parse((await trial.send('/console/terminals', { cookie })).text)).toEqual({
    daemons: [{ name: 'main', sessions: [], failure: null }],
  })
  await open(shell)
  const [{ sessions }] = JSON.parse((await trial.send('/console/terminals', { cookie })).text).daemons
  expect(sessions).toMatchObject([{ id: 'a', command: shell, exit: null }])
  const page = await show('a')
  await page.says('begun')
  page.tell({ resize: { columns: 101, rows: 33 } })
  page.tell({ input: 'für dich\n' })
  await page.says(Buffer.from('got für dich').toString('latin1'))
  expect((await (await trial.controller.sessions.get('a')).info).size).toEqual({ columns: 101, rows: 33 })
  page.tell({ input: 'end\n' })
  expect(await page.ends()).toMatchObject({ code: 1000 })
  expect(page.said[0]).toEqual({ attached: { offset: 0 } })
  expect(page.said.at(-1)).toMatchObject({ exit: { code: 7, lost: false, offset: page.offset } })
})

test('to attach never starts anything, and a page that comes again goes on where it was', async () => {
  await expect(show('a')).rejects.toThrow('422')
  expect((await trial.controller.daemon.status()).state).toBe('absent')
  await open(shell)
  await expect(show('nothing')).rejects.toThrow('404')
  const first = await show('a')
  await first.says('begun')
  await first.close()
  const session = await trial.controller.sessions.get('a')
  await session.write('while away\n')
  const again = await show('a', { offset: first.offset })
  await again.says('got while away')
  expect(again.said[0]).toEqual({ attached: { offset: first.offset } })
  expect(again.text).not.toContain('begun')
  await expect(show('a', { offset: 1_000_000 })).rejects.toThrow('400')
  expect(JSON.parse((await trial.send('/console/terminals', { cookie })).text).daemons[0].sessions).toHaveLength(1)
})

test('a daemon that cannot be asked is listed with the reason', async () => {
  const broken = new InstarError('DAEMON_GONE', 'the connection broke')
  vi.spyOn(trial.controller.daemons.sessions('main'), 'list').mockRejectedValueOnce(broken)
  const { status, text } = await trial.send('/console/terminals', { cookie })
  expect(status).toBe(200)
  expect(JSON.parse(text).daemons).toMatchObject([{ name: 'main', sessions: [], failure: { code: 'DAEMON_GONE' } }])
})

test('several pages show one session, through an update of the daemon while it prints', async () => {
  await open(['sh', '-c', 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "line $i"; done; read end'])
  const both = [await show('a'), await show('a')]
  await both[0]!.says('line 100')
  const answer = await trial.perform(cookie, 'daemon.update', {})
  expect(JSON.parse(answer.text).result).toMatchObject({ outcome: 'handed-over', sessions: 1 })
  for (const page of both) {
    await page.says('line 3000')
    await eventually(() => page.said.some(({ upgrading }) => upgrading === false), 'the news')
    const lines = page.text.match(/line \d+/g)
    expect(lines).toEqual(Array.from({ length: 3000 }, (_, at) => `line ${at + 1}`))
    expect(page.closed).toBeNull()
    expect(page.said.filter(({ gap }) => gap)).toEqual([])
  }
})

test('what nobody can have any more is told as a gap', async () => {
  await open(['sh', '-c', 'head -c 3000000 /dev/zero | tr "\\0" x; echo done; read end'])
  await eventually(async () => (await trial.controller.sessions.get('a')).info.offset > 3_000_000, 'all of it')
  const page = await show('a')
  await page.says('done')
  const [{ gap }] = page.said.filter((what) => what.gap)
  expect(gap.from).toBe(0)
  expect(gap.to).toBeGreaterThan(0)
  expect(page.offset).toBe(gap.to + page.text.length)
})

test('what is no message ends the connection and nothing else; so does signing out', async () => {
  await open(shell)
  const wrong: (string | Buffer)[] = ['{', '{}', '{"input":7}', '{"resize":{"columns":0,"rows":1}}', Buffer.from('x')]
  for (const message of wrong) {
    const page = await show('a')
    page.socket.send(message)
    expect({ message, ...(await page.ends()) }).toMatchObject({ message, code: 1008 })
  }
  const large = await show('a')
  large.tell({ input: 'x'.repeat(200_000) })
  expect(await large.ends()).toMatchObject({ code: 1009 })
  const page = await show('a')
  page.tell({ input: 'still\n' })
  await page.says('got still')
  await trial.send('/console/session', { method: 'DELETE', cookie })
  expect(await page.ends()).toMatchObject({ code: 1008, reason: 'signed out' })
})

test('a page that does not read is cut, and the program goes on', async () => {
  await end()
  await begin({ takeMs: 500, terminals: 1 })
  await open(['sh', '-c', 'head -c 50000000 /dev/zero | tr "\\0" x; read end'])
  const page = await show('a')
  page.socket.pause()
  const again = () => show('a', { offset: page.offset }).catch(() => null)
  await eventually(async () => (await again()) !== null, 'room')
  await eventually(async () => (await trial.controller.sessions.get('a')).info.offset >= 50_000_000, 'all of it')
})

test('no more terminals than may; hanging up ends one', async () => {
  await end()
  await begin({ terminals: 1 })
  await open(shell)
  const page = await show('a')
  await expect(show('a')).rejects.toThrow('503')
  const answer = await trial.send(path('a'), { method: 'DELETE', cookie })
  expect(JSON.parse(answer.text)).toMatchObject({ exit: { signal: 'SIGHUP' } })
  expect(await page.ends()).toMatchObject({ code: 1000 })
  expect(codeOf(await trial.send(path('b'), { method: 'DELETE', cookie }))).toBe('SESSION_UNKNOWN')
})

test('when the controller stops the page is told that the session goes on, and it does', async () => {
  await open(shell)
  const page = await show('a')
  await page.says('begun')
  const { daemon } = trial.controller
  await trial.controller.close()
  expect(await page.ends()).toMatchObject({ code: 1012 })
  await sleep(50)
  expect((await daemon.status()).state).toBe('running')
  await trial.restart()
  const again = await show('a', { offset: page.offset })
  again.tell({ input: 'here\n' })
  await again.says('got here')
})

test('a terminal is for the owner alone', async () => {
  await open(shell)
  const { token } = await trial.controller.access.add('org_admin')
  cookie = await trial.signIn(token)
  await expect(show('a')).rejects.toThrow('403')
  for (const method of ['POST', 'DELETE', 'GET'])
    expect(
      (await trial.send(method === 'POST' ? '/console/terminals/main' : path('a'), { method, cookie })).status,
    ).toBe(method === 'GET' ? 405 : 403)
})
