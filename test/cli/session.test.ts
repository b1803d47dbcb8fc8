import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { connectDaemon } from '../../src/sessions/client.ts'
import { daemonDirectory } from '../../src/sessions/daemon-place.ts'
import { findDaemon } from '../../src/sessions/find-daemon.ts'
import { linesOf, run, start, temporary } from '../support/instar.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { MarkedProcesses } from '../support/sessions/processes.ts'

// The area `session` of the built command line, with the daemon that it starts.

let folder: string
let home: string
let processes: MarkedProcesses

beforeEach(async () => {
  folder = await temporary()
  home = join(folder, 'home')
  processes = new MarkedProcesses()
})

/** Nothing that a test started is there after it. */
afterEach(async () => {
  for (const name of ['main', 'other']) {
    const path = await findDaemon(daemonDirectory(home, name))
    if (path === undefined) continue
    await using client = await connectDaemon({ path, reconnect: false })
    await client.stop()
  }
  await eventually(async () => (await processes.all()).length === 0, 'the end of all that was started')
})

const at = () => ({ cwd: folder, env: processes.environment })
const instar = (...args: string[]) => run(['--home', home, 'session', ...args], at())
const json = async (...args: string[]) => {
  const { stdout, ...rest } = await run(['--home', home, '--json', 'session', ...args], at())
  return { ...rest, document: stdout === '' ? undefined : JSON.parse(stdout) }
}

/** Resolves once the session has printed `text`. */
async function shows(id: string, text: string): Promise<void> {
  await eventually(async () => (await instar('read', id)).stdout.includes(text), `"${text}" in ${id}`)
}

test('open starts the daemon where none runs, and prints the id of a session that goes on', async () => {
  const opened = await instar('open', '--id', 'one', '--size', '100x30', '--', 'cat')
  expect(opened).toEqual({ code: 0, signal: null, stdout: 'one\n', stderr: '' })
  const second = await json('open', '--', 'cat')
  expect(second.document).toMatchObject({ schema: 1, session: { command: ['cat'], cwd: folder, exit: null } })

  const { document } = await json('list')
  expect(document).toMatchObject({ schema: 1, sessions: [{ id: 'one', size: { columns: 100, rows: 30 } }, {}] })
  const table = (await instar('list')).stdout.split('\n')
  expect(table[0]).toMatch(/^ID +PID +SIZE +OPENED +PRINTED +STATE +FOLDER +COMMAND$/)
  expect(table[1]).toMatch(/^one +\d+ +100x30 .* runs +\S+ +cat$/)
})

test('programs have the certificates that Node is to trust; the daemon, which would read them at each start, has not', async () => {
  const certificates = join(folder, 'certificates.pem')
  await writeFile(certificates, '')
  const { code } = await run(['--home', home, 'session', 'open', '--id', 'certain', '--', 'sh'], {
    cwd: folder,
    env: { ...processes.environment, NODE_EXTRA_CA_CERTS: certificates },
  })
  expect(code).toBe(0)
  await using client = await connectDaemon({ path: (await findDaemon(daemonDirectory(home, 'main')))! })
  for (const generation of [1, 2]) {
    const { pid } = await client.info()
    const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0')
    expect(environment).not.toContain(`NODE_EXTRA_CA_CERTS=${certificates}`)
    const id = `told${generation}`
    await client.open({ id, command: ['sh', '-c', 'echo "<$NODE_EXTRA_CA_CERTS>"; exec cat'], cwd: folder })
    await shows(id, `<${certificates}>`)
    if (generation === 1) await client.upgrade()
  }
})

test('two that open at once get one daemon', async () => {
  const ids = ['a', 'b', 'c']
  const opened = await Promise.all(ids.map((id) => instar('open', '--id', id, '--', 'cat')))
  expect(opened).toEqual(ids.map((id) => ({ code: 0, signal: null, stdout: `${id}\n`, stderr: '' })))
  const { document } = await json('list')
  expect(document.sessions.map(({ id }: { id: string }) => id).sort()).toEqual(ids)
})

test('what is sent is typed, and read gives every byte back from where it is asked', async () => {
  await instar('open', '--id', 'cat', '--', 'bash', '-c', 'stty raw -echo; echo ready; cat')
  await shows('cat', 'ready')
  expect(await instar('send', 'cat', 'täxt')).toMatchObject({ code: 0, stdout: '', stderr: '' })
  await shows('cat', 'täxt')
  expect((await json('send', 'cat', 'more', '--enter')).document).toEqual({ schema: 1, id: 'cat', bytes: 5 })
  await shows('cat', 'more\r')
  const { document } = await json('read', 'cat', '--from', '2')
  expect(document).toMatchObject({ schema: 1, id: 'cat', from: 2, to: 16, gaps: [], encoding: 'base64' })
  expect(Buffer.from(document.data, 'base64').toString()).toBe('ady\ntäxtmore\r')
  expect((await instar('read', 'cat', '--from', '1000')).stdout).toBe('')
})

test('the screen of a session is printed as text', async () => {
  const script = "printf '\\033[2J\\033[2;3H\\033[31mred\\033[0m'; exec cat"
  await instar('open', '--id', 'red', '--size', '20x4', '--', 'bash', '-c', script)
  await shows('red', 'red')
  expect((await instar('screen', 'red')).stdout).toBe('\n  red\n')
  const { document } = await json('screen', 'red')
  const shown = { text: '\n  red\n\n', cursor: { column: 5, row: 1, isVisible: true }, size: { columns: 20, rows: 4 } }
  expect(document).toMatchObject({ schema: 1, id: 'red', complete: true, ...shown })
})

test('a session gets another size, and hears of it', async () => {
  await instar(
    'open',
    '--id',
    'size',
    '--',
    'bash',
    '-c',
    'trap "stty size" WINCH; echo ready; while :; do sleep 0.1; done',
  )
  await shows('size', 'ready')
  expect((await instar('resize', 'size', '71x17')).stdout).toBe('size: 71x17\n')
  await shows('size', '17 71')
})

test('wait exits as the session did, whoever waits and however late', async () => {
  await instar('open', '--id', 'seven', '--', 'bash', '-c', 'read -r _; exit 7')
  const early = start(['--home', home, 'session', 'wait', 'seven'], at())
  await instar('send', 'seven', 'x', '--enter')
  expect(await early.ended).toMatchObject({ code: 7, stdout: 'seven ended with code 7\n', stderr: '' })
  const late = await json('wait', 'seven')
  expect(late.code).toBe(7)
  expect(late.document).toMatchObject({ schema: 1, id: 'seven', exit: { code: 7, signal: null, lost: false } })
})

test('an id that has become free names the next session that gets it', async () => {
  await instar('open', '--id', 'again', '--', 'true')
  await instar('wait', 'again')
  await instar('open', '--id', 'again', '--', 'cat')
  expect((await json('list')).document.sessions).toMatchObject([{ id: 'again', exit: null }])
  await instar('send', 'again', 'hello', '--enter')
  await shows('again', 'hello')
})

test('kill ends a session, or sends it the signal that is named', async () => {
  await instar('open', '--id', 'end', '--', 'cat')
  expect((await instar('kill', 'end')).stdout).toBe('end ended by SIGHUP\n')
  await instar(
    'open',
    '--id',
    'term',
    '--',
    'bash',
    '-c',
    'trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done',
  )
  await shows('term', 'ready')
  expect((await json('kill', 'term', '--signal', 'usr1')).document).toEqual({
    schema: 1,
    id: 'term',
    signal: 'SIGUSR1',
  })
  expect((await instar('wait', 'term')).code).toBe(128 + 10)
  expect(await instar('send', 'term', 'x')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('[SESSION_ENDED]'),
  })
})

test('Ctrl-C ends a wait and not the session', async () => {
  await instar('open', '--id', 'long', '--', 'cat')
  const waiting = start(['--home', home, 'session', 'wait', 'long', '-v'], at())
  const path = (await findDaemon(daemonDirectory(home, 'main')))!
  await using client = await connectDaemon({ path })
  await eventually(async () => (await client.info()).connections === 2, 'the connection of the wait')
  waiting.child.kill('SIGINT')
  expect((await waiting.ended).code).toBe(130)
  expect((await client.list())[0]).toMatchObject({ id: 'long', exit: null })
})

test('without a daemon everything but open says so with 3, and starts none', async () => {
  for (const args of [['list'], ['read', 'x'], ['send', 'x', 'y'], ['wait', 'x'], ['kill', 'x'], ['screen', 'x']]) {
    const { code, stderr, document } = await json(...args)
    expect({ code, document }).toEqual({ code: 3, document: undefined })
    expect(linesOf(stderr)).toMatchObject([{ type: 'error', code: 'DAEMON_NOT_RUNNING' }])
  }
  expect(await processes.all()).toEqual([])
})

test('what a daemon refuses is told with its code', async () => {
  await instar('open', '--id', 'one', '--', 'cat')
  const refused: [args: string[], exit: number, code: string][] = [
    [['open', '--id', 'one'], 2, 'SESSION_EXISTS'],
    [['open', '--cwd', 'missing', '--', 'cat'], 2, 'SESSION_CWD_INVALID'],
    [['open', '--', './no-such-program'], 2, 'SESSION_COMMAND_INVALID'],
    [['send', 'two', 'x'], 2, 'SESSION_UNKNOWN'],
    [['wait', 'two'], 2, 'SESSION_UNKNOWN'],
    [['open', '--daemon', 'unlisted'], 2, 'DAEMON_UNKNOWN'],
    [['attach', 'one'], 2, 'TERMINAL_REQUIRED'],
    [['open', '--attach'], 2, 'TERMINAL_REQUIRED'],
  ]
  for (const [args, exit, code] of refused) {
    const said = await json(...args)
    expect({ code: said.code, document: said.document }, args.join(' ')).toEqual({ code: exit, document: undefined })
    expect(linesOf(said.stderr)).toMatchObject([{ type: 'error', code }])
  }
})

test('what cannot be meant is a usage error, before anything is started', async () => {
  const wrong: [args: string[], said: string][] = [
    [['open', '--size', '80'], 'such as 120x40'],
    [['open', '--size', '0x24'], 'such as 120x40'],
    [['resize', 'x', '80x99999'], 'such as 120x40'],
    [['read', 'x', '--from', '-1'], 'number of a byte'],
    [['kill', 'x', '--signal', 'nope'], 'must be one of HUP'],
    [['list', '--daemon', '../elsewhere'], 'name of a daemon'],
  ]
  for (const [args, said] of wrong) {
    const { code, stderr } = await instar(...args)
    expect(code, args.join(' ')).toBe(2)
    expect(stderr).toContain(said)
    expect(stderr).toContain('[USAGE]')
  }
  expect(await processes.all()).toEqual([])
})

test('the daemon that the configuration lists first is used, and another one by its name', async () => {
  await writeFile(join(folder, 'instar.config.json'), JSON.stringify({ sessions: { daemons: ['other', 'main'] } }))
  await instar('open', '--id', 'here', '--', 'cat')
  await instar('open', '--id', 'there', '--daemon', 'main', '--', 'cat')
  expect((await json('list', '--daemon', 'other')).document.sessions).toMatchObject([{ id: 'here' }])
  expect((await json('list')).document.sessions).toMatchObject([{ id: 'here' }])
  expect((await json('list', '--daemon', 'main')).document.sessions).toMatchObject([{ id: 'there' }])
})
