import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { DaemonClient, Session } from '../../src/sessions/client.ts'
import type { DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { Person } from '../support/sessions/person.ts'
import { sessionScene } from '../support/sessions/scene.ts'

// `instar session attach` in a real terminal, with a real daemon: what a person sees, and what is left of it afterwards.

const scene = sessionScene('src/cli/main.ts')

/** A home in which the daemon of the trial is the one named `main`. */
async function homeOf(trial: DaemonTrial): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'instar-terminal-home-'))
  onTestFinished(() => rm(home, { recursive: true, force: true }))
  await symlink(dirname(trial.directory), join(home, 'sessions'))
  return home
}

interface Attaching {
  readonly columns?: number
  readonly rows?: number
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

async function session(trial: DaemonTrial, args: readonly string[], options: Attaching = {}): Promise<Person> {
  const cli = scene.compiled.file('src/cli/main.ts')
  return new Person([process.execPath, cli, '--home', await homeOf(trial), 'session', ...args], options)
}

function attach(trial: DaemonTrial, { id }: { id: string }, how: Attaching = {}): Promise<Person> {
  const { args = [], ...options } = how
  return session(trial, ['attach', id, ...args], options)
}

const bash = ['bash', '--norc', '--noprofile']

async function openShell(client: DaemonClient, id = 'shell'): Promise<Session> {
  return client.open({ id, command: bash, env: { PS1: '$ ', HISTFILE: '' }, size: { columns: 80, rows: 24 } })
}

/** Resolves once the session has printed `text`, whoever was given it. */
async function prints(trial: DaemonTrial, { id }: { id: string }, text: string): Promise<void> {
  await using client = await (await import('../../src/sessions/client.ts')).connectDaemon({ path: trial.socket })
  const session = await client.session(id)
  let all = ''
  for await (const piece of session.output({ from: 'start' })) {
    if ('bytes' in piece) all += piece.bytes.toString()
    if (all.includes(text)) return
  }
  throw new Error(`it never printed ${text} but ${all}`)
}

/** What a full-screen program switches on and leaves on. */
const fullScreen =
  '\\033[?1049h\\033[?25l\\033[?1002h\\033[?1006h\\033[?2004h\\033[?1h\\033[>1u\\033[2J\\033[Hfull screen'

async function openFullScreen(trial: DaemonTrial, client: DaemonClient): Promise<Session> {
  const session = await client.open({ command: ['bash', '-c', `printf '${fullScreen}'; exec sleep 600`] })
  await prints(trial, session, 'full screen')
  return session
}

test('who attaches late sees the screen as it is, types into it, and detaches without disturbing it', async () => {
  await using trial = await scene.start()
  const client = await trial.client()
  const shell = await openShell(client)
  await shell.write(Buffer.from("echo before-$((6*7)); printf '\\033[c\\033[6n'\n"))
  await prints(trial, shell, 'before-42')

  const person = await attach(trial, shell)
  await person.sees('before-42')
  person.types('echo typed-$((6*7))\r')
  await person.sees('typed-42')
  // The questions that bash asked for the program before were not asked of this terminal.
  expect(person.said).not.toContain('\x1b[6n')
  person.types('\x1d')
  expect(await person.ended()).toEqual({ code: 0, leftOn: [] })
  expect(person.said).toContain('[detached from shell]')
  const [info] = await client.list()
  expect(info).toMatchObject({ id: 'shell', pid: shell.info.pid, exit: null })
})

test('a session can be attached to as it is opened, in the size of this terminal', async () => {
  await using trial = await scene.start()
  const command = ['open', '--id', 'new', '--attach', '--', 'bash', '-c', 'stty size; read -r _; exit 3']
  const person = await session(trial, command, { columns: 90, rows: 20 })
  await person.sees('20 90')
  person.types('\r')
  expect(await person.ended()).toEqual({ code: 3, leftOn: [] })
  expect(person.said).toContain('[new ended with code 3]')
})

test('who attaches when the beginning of the output is gone sees its end, and the program is asked to draw itself', async () => {
  await using trial = await scene.start({ args: ['--buffer-bytes', '65536'] })
  const client = await trial.client()
  const script = 'trap "echo drawn-anew" WINCH; seq 1 60000; echo ready; while :; do read -t 0.2 -r _; done'
  const { id } = await client.open({ command: ['bash', '-c', script], size: { columns: 80, rows: 24 } })
  await eventually(async () => (await client.session(id)).info.offset > 400_000, 'the end of the numbers')
  const person = await attach(trial, { id })
  await person.sees(/^59990\n.*60000\nready\n/ms)
  await person.sees('drawn-anew')
})

test.each([
  ['exit 7', 7, '[shell ended with code 7]'],
  ['kill -KILL $$', 137, '[shell ended by SIGKILL]'],
])('when the program ends by %s, so does the command, with the same', async (line, code, said) => {
  await using trial = await scene.start()
  const person = await attach(trial, await openShell(await trial.client()))
  await person.sees('$ ')
  person.types(`${line}\r`)
  expect(await person.ended()).toEqual({ code, leftOn: [] })
  expect(person.said).toContain(said)
})

test('the session has the size of the terminal, also after that has changed', async () => {
  await using trial = await scene.start()
  const person = await attach(trial, await openShell(await trial.client()), { columns: 100, rows: 30 })
  await person.sees('$ ')
  person.types('stty size\r')
  await person.sees('30 100')
  person.resizes(72, 18)
  await eventually(async () => {
    const [info] = await (await trial.client()).list()
    return info!.size.columns === 72 && info!.size.rows === 18
  }, 'the new size')
  person.types('stty size\r')
  await person.sees('18 72')
})

test('every byte that is typed reaches the program unchanged; Ctrl-C and Ctrl-Z too', async () => {
  await using trial = await scene.start()
  const client = await trial.client()
  const script = 'stty raw -echo; echo ready; head -c 256 | od -An -v -tx1'
  const session = await client.open({ id: 'raw', command: ['bash', '-c', script] })
  await prints(trial, session, 'ready')
  const person = await attach(trial, session, { args: ['--detach-key', 'none'] })
  await person.sees('ready')
  const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  person.types(all)
  expect(await person.ended()).toEqual({ code: 0, leftOn: [] })
  const shown = [...person.said.matchAll(/(?: [0-9a-f]{2}){16}/g)].map(([row]) => row.trim())
  expect(shown.join(' ')).toBe([...all].map((byte) => byte.toString(16).padStart(2, '0')).join(' '))
})

test('Ctrl-Z stops the program inside and not the attachment', async () => {
  await using trial = await scene.start()
  const person = await attach(trial, await openShell(await trial.client()))
  await person.sees('$ ')
  person.types("bash -c 'echo inside-$((6*7)); exec cat'\r")
  await person.sees('inside-42')
  person.types('\x1a')
  await person.sees('Stopped')
  person.types('echo still-$((6*7))\r')
  await person.sees('still-42')
})

test('another key detaches where one is named, also in the form that tells all keys apart', async () => {
  await using trial = await scene.start()
  const shell = await openShell(await trial.client())
  for (const typed of ['\x11', '\x1b[113;5u']) {
    const person = await attach(trial, shell, { args: ['--detach-key', 'ctrl-q'] })
    await person.sees('$ ')
    person.types(typed)
    expect(await person.ended()).toEqual({ code: 0, leftOn: [] })
  }
})

const ends: [how: string, code: number, end: (person: Person, pid: number) => void | Promise<void>][] = [
  ['the key that detaches', 0, (person) => person.types('\x1d')],
  ['SIGTERM', 0, (_, pid) => void process.kill(pid, 'SIGTERM')],
  ['SIGHUP', 0, (_, pid) => void process.kill(pid, 'SIGHUP')],
  ['SIGINT', 130, (_, pid) => void process.kill(pid, 'SIGINT')],
  ['SIGQUIT', 131, (_, pid) => void process.kill(pid, 'SIGQUIT')],
  ['an exception that nobody catches', 1, (_, pid) => void process.kill(pid, 'SIGUSR2')],
]
test.each(ends)('the terminal is put back when the attachment ends by %s', async (_, code, end) => {
  await using trial = await scene.start()
  const session = await openFullScreen(trial, await trial.client())
  const strike = "process.on('SIGUSR2', () => { throw new Error('struck') })"
  const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(strike)}` }
  const person = await attach(trial, session, { env })
  await person.sees('full screen')
  await eventually(() => person.said.includes('\x1b[>1u'), 'the modes of the program')
  await end(person, await person.pid())
  expect(await person.ended()).toEqual({ code, leftOn: [] })
})

test('the terminal is put back when the program ends without doing so', async () => {
  await using trial = await scene.start()
  const client = await trial.client()
  for (const end of [(session: Session) => session.signal('SIGKILL'), (session: Session) => session.close()]) {
    const session = await openFullScreen(trial, client)
    const person = await attach(trial, session)
    await person.sees('full screen')
    await end(session)
    expect((await person.ended()).leftOn).toEqual([])
  }
})

test('an upgrade of the daemon is not noticed', async () => {
  await using trial = await scene.start({ keeper: true })
  const client = await trial.client()
  const person = await attach(trial, await openShell(client))
  await person.sees('$ ')
  for (const round of [1, 2]) {
    expect((await client.upgrade()).outcome).toBe('handed-over')
    person.types(`echo round-$((${round}+10))\r`)
    await person.sees(`round-${round + 10}`)
  }
  expect(person.said).not.toContain('lost')
  person.types('exit 5\r')
  expect(await person.ended()).toEqual({ code: 5, leftOn: [] })
})

test('an end of which nobody knows how it was is no success', async () => {
  await using trial = await scene.start()
  const client = await trial.client()
  const person = await attach(trial, await openShell(client))
  await person.sees('$ ')
  // Without a keeper the shell has lost its parent by this.
  expect((await client.upgrade()).outcome).toBe('handed-over')
  person.types('exit 0\r')
  expect(await person.ended()).toEqual({ code: 1, leftOn: [] })
  expect(person.said).toContain('[SESSION_LOST]')
})

test('a crash of the daemon is survived with the terminal as it was', async () => {
  await using trial = await scene.start({ keeper: true })
  const person = await attach(trial, await openShell(await trial.client()))
  await person.sees('$ ')
  person.types('echo one-$((6*7))\r')
  await person.sees('one-42')
  await trial.kill()
  await person.sees('bytes of output may be lost]')
  person.types('echo two-$((6*7))\r')
  await person.sees('two-42')
  person.types('exit 6\r')
  expect(await person.ended()).toEqual({ code: 6, leftOn: [] })
})

test('a connection that stays lost is said; the session that died with its daemon ends the attachment', async () => {
  await using trial = await scene.start()
  const session = await openFullScreen(trial, await trial.client())
  const person = await attach(trial, session)
  await person.sees('full screen')
  await trial.kill()
  await person.sees('[the connection is lost; trying again]')
  await trial.launch()
  expect(await person.ended()).toEqual({ code: 2, leftOn: [] })
  expect(person.said).toContain('[SESSION_UNKNOWN]')
})

test('the key that detaches works without a connection too', async () => {
  await using trial = await scene.start()
  const session = await openFullScreen(trial, await trial.client())
  const person = await attach(trial, session)
  await person.sees('full screen')
  await trial.kill()
  await person.sees('[the connection is lost; trying again]')
  person.types('vain')
  person.types('\x1d')
  expect(await person.ended()).toEqual({ code: 0, leftOn: [] })
  await trial.launch()
})
