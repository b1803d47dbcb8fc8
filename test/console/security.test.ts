import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import WebSocket from 'ws'
import { ConsoleTrial, codeOf, type Sent } from '../support/console/console-trial.ts'
import { eventually } from '../support/sessions/eventually.ts'

// What somebody can do who may reach the port: another account, or a page of another site.

let trial: ConsoleTrial
beforeEach(async () => {
  trial = await ConsoleTrial.make({ refusalsPerMinute: 1000 })
})
afterEach(() => trial[Symbol.asyncDispose]())

const everything: [path: string, sent: Sent][] = [
  ['/console/events', {}],
  ['/console/machines', {}],
  ['/console/machines/app.svg', {}],
  ['/console/runs/app-upgrade-1', {}],
  ['/console/terminals', {}],
  ['/console/terminals/main', { method: 'POST', body: {} }],
  ['/console/terminals/main/a', { method: 'DELETE' }],
  ['/console/verbs/status', { method: 'POST', body: {} }],
  ['/console/verbs/app.list', { method: 'POST', body: {} }],
]

const wrong = `instar_${'0'.repeat(12)}_${'x'.repeat(43)}`

/** How a WebSocket is answered: by 101, or by a refusal. */
function upgraded(headers: Record<string, string>, path = '/console/terminals/main/a'): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${trial.http.port}${path}`, { headers })
    socket.on('unexpected-response', (_, response) => {
      resolve(response.statusCode!)
      socket.terminate()
    })
    socket.on('open', () => {
      resolve(101)
      socket.terminate()
    })
    socket.on('error', () => {}) // it was terminated before it was open
  })
}

test('without a token, with a wrong one, or with the cookie of nobody, there is nothing but the page', async () => {
  const cookie = `instar-console-${trial.http.port}=${'x'.repeat(43)}`
  for (const shown of [{}, { token: wrong }, { cookie }, { token: 'let-me-in', cookie }])
    for (const [path, sent] of everything) {
      const answer = await trial.send(path, { ...sent, ...shown })
      expect({ path, shown, status: answer.status }).toEqual({ path, shown, status: 401 })
      expect(codeOf(answer)).toBe('PERMISSION_DENIED')
    }
  expect(await upgraded({})).toBe(401)
  expect(await upgraded({ Cookie: cookie })).toBe(401)
  expect(await upgraded({ Authorization: `Bearer ${wrong}` })).toBe(401)
})

test('another site, or another name, gets nothing, whatever cookie its request carries', async () => {
  const cookie = await trial.signIn()
  const { port } = trial.http
  const foreign: Record<string, string>[] = [
    { Host: `evil.test:${port}` },
    { Host: `127.0.0.1:${port + 1}` },
    { Origin: 'http://evil.test' },
    { Origin: 'null' },
    // Another port of the same machine is another site's page with the same cookies.
    { Origin: `http://127.0.0.1:${port + 1}` },
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site' },
  ]
  for (const headers of foreign) {
    for (const [path, sent] of [
      ['/', {}],
      ['/console/session', { method: 'POST', body: {} }],
      ...everything,
    ] as const) {
      const answer = await trial.send(path, { ...sent, cookie, headers })
      expect({ path, headers, status: answer.status }).toEqual({ path, headers, status: 403 })
      expect(codeOf(answer)).toBe('HTTP_FOREIGN')
    }
    expect({ headers, status: await upgraded({ Cookie: cookie, ...headers }) }).toEqual({ headers, status: 403 })
  }
  expect(await upgraded({ Cookie: cookie, Origin: trial.http.url })).toBe(422) // there is no daemon
  // A form that another site sends has another type, where it gets this far.
  const form = { 'Content-Type': 'text/plain' }
  expect(
    (await trial.send('/console/verbs/workspace.add', { method: 'POST', cookie, headers: form, body: '{"id":"a"}' }))
      .status,
  ).toBe(415)
  expect(trial.controller.workspaces.list()).toEqual([])
})

test('no path leads out of the folder of the page, or of the drawings', async () => {
  const cookie = await trial.signIn()
  const paths = [
    '/assets/../index.html',
    '/assets/../../../package.json',
    '/assets/..%2f..%2fpackage.json',
    '/assets/%2e%2e/%2e%2e/package.json',
    '/assets/..',
    '/assets/.',
    '/assets/.vite',
    '/assets//etc/passwd',
    '/assets/..\\..\\package.json',
    '/assets/a%00.js',
    '/../package.json',
    '//etc/passwd',
    '/console/machines/../../package.json',
    '/console/machines/..%2fapp.svg',
    '/console/runs/..%2f1',
    '/console/terminals/../main/a',
    '/assets/nothing.js',
  ]
  for (const path of paths) {
    const { status, text } = await trial.send(path, { cookie })
    expect({ path, status, code: JSON.parse(text).error.code }).toEqual({ path, status: 404, code: 'HTTP_UNKNOWN' })
  }
})

test('what is too large is refused, and what is too slow is cut', async () => {
  await trial[Symbol.asyncDispose]()
  trial = await ConsoleTrial.make({ headersMs: 300, requestMs: 600 })
  const cookie = await trial.signIn()
  const post = (path: string, body: unknown) => trial.send(path, { method: 'POST', cookie, body })
  expect((await post('/console/verbs/status', 'x'.repeat(300_000))).status).toBe(413)
  expect((await post('/console/session', { token: 'x'.repeat(10_000) })).status).toBe(413)
  expect((await post('/console/terminals/main', 'x'.repeat(300_000))).status).toBe(413)
  expect((await post('/console/verbs/status', `{"a":${'['.repeat(100_000)}`)).status).toBe(400)
  expect((await trial.send('/', { headers: { 'X-Much': 'x'.repeat(20_000) } })).status).toBe(431)
  const start = `POST /console/verbs/status HTTP/1.1\r\nHost: 127.0.0.1:${trial.http.port}\r\nCookie: ${cookie}\r\n`
  for (const said of ['', start, `${start}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a"`]) {
    const socket = connect(trial.http.port, '127.0.0.1')
    socket.on('error', () => {}).resume() // cut is what we want
    socket.write(said)
    await once(socket, 'close')
  }
  expect((await post('/console/verbs/status', {})).status).toBe(200)
})

test('of 1000 idle streams no more are kept than may be, and the controller works on', async () => {
  const cookie = await trial.signIn()
  const sockets: Socket[] = []
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  let [accepted, over] = [0, 0]
  for (let at = 0; at < 1000; at++) {
    const socket = connect(trial.http.port, '127.0.0.1')
    sockets.push(socket)
    socket.on('error', () => {}) // those that are too many are not answered
    socket.once('data', (bytes) => {
      if (bytes.includes(' 200 ')) accepted += 1
    })
    socket.once('close', () => {
      over += 1
    })
    socket.write(`GET /console/events HTTP/1.1\r\nHost: 127.0.0.1:${trial.http.port}\r\nCookie: ${cookie}\r\n\r\n`)
  }
  await eventually(() => accepted + over === 1000, 'an answer for each')
  expect(accepted).toBe(64)
  const added = await trial.perform(cookie, 'workspace.add', { id: 'a' })
  expect(added.status).toBe(200)
  expect(trial.controller.workspaces.list()).toHaveLength(1)
  for (const socket of sockets) socket.destroy()
  await eventually(
    () =>
      trial.events(cookie).then(
        () => true,
        () => false,
      ),
    'room for a page',
  )
})

test('what a program says of itself is data in everything that is told', async () => {
  const cookie = await trial.signIn()
  const page = await trial.events(cookie)
  const hostile = '</script><img src=x onerror=alert(1)>\n\nevent: hello\ndata: {}\n\n'
  await trial.controller.access.refuse(null, { action: hostile })
  await page.reaches(trial.controller.journal.lastSeq)
  expect(page.records.at(-1).event.input.action).toBe(hostile)
  expect(page.named('hello')).toHaveLength(1)
})
