import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { SupervisionContext } from '../machines/index.ts'
import { parseConfig } from '../src/config.ts'
import { type Controller, type ControllerOptions, openController } from '../src/controller.ts'
import { supervisionEffects } from '../src/flows/daemon-supervision.ts'
import { openHome } from '../src/home.ts'
import { packageVersion } from '../src/package-info.ts'
import { connectDaemon } from '../src/sessions/client.ts'
import { daemonDirectory } from '../src/sessions/daemon-place.ts'
import type { DaemonInfo } from '../src/sessions/protocol.ts'
import { startDaemon } from '../src/sessions/start-daemon.ts'
import { type Compiled, compile } from './support/compiled.ts'
import { eventually } from './support/sessions/eventually.ts'
import { MarkedProcesses } from './support/sessions/processes.ts'
import type { Part } from './support/sessions/stand-in-daemon.ts'

const standInPath = 'test/support/sessions/stand-in-daemon.ts'
const current = { version: packageVersion }
const old = { version: '0.0.1' }

let compiled: Compiled
let home: string
let folder: string
let processes: MarkedProcesses
let opened: Controller[]

beforeAll(async () => {
  compiled = await compile(standInPath)
})

afterAll(() => compiled.remove())

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'instar-daemons-'))
  home = join(folder, 'home')
  processes = new MarkedProcesses()
  Object.assign(process.env, processes.environment)
  opened = []
})

afterEach(async () => {
  for (const controller of opened) await controller.close()
  for (const { pid } of await processes.all()) if (pid !== process.pid) process.kill(pid, 'SIGKILL')
  for (const name of Object.keys(processes.environment)) delete process.env[name]
  await rm(folder, { recursive: true, force: true })
})

const commandOf = (part: Part): [string, ...string[]] => [
  process.execPath,
  compiled.file(standInPath),
  JSON.stringify(part),
]

interface Opening extends Partial<ControllerOptions> {
  readonly autoUpdate?: boolean
}

/** A controller of a host whose daemons play this part. */
async function open(part: Part = current, { autoUpdate = true, ...options }: Opening = {}): Promise<Controller> {
  const config = parseConfig({ sessions: { autoUpdate, daemons: ['main', 'second'] } }, folder)
  const sessions = { command: commandOf(part), keeper: null }
  const controller = await openController({ home, config, schedule: false, sessions, ...options })
  opened.push(controller)
  return controller
}

/** Starts one beside the controller. */
async function start(part: Part = current): Promise<DaemonInfo> {
  await openHome(home)
  const directory = daemonDirectory(home, 'main')
  const signal = new AbortController().signal
  return startDaemon({ directory, name: 'main', command: commandOf(part), keeper: null, signal })
}

const supervision = (controller: Controller) =>
  controller.runs().find(({ machine, key }) => machine.startsWith('daemon-supervision') && key === 'main')
const contextOf = (controller: Controller) => supervision(controller)!.context as SupervisionContext
const isIn = (controller: Controller, value: unknown) => () =>
  JSON.stringify(supervision(controller)?.value) === JSON.stringify(value)
const noticesOf = (controller: Controller) => controller.notices().map(({ type }) => type)
const isGone = (pid: number) => async () => !(await processes.all()).some((process) => process.pid === pid)

// ---- starting

test('a daemon that is started answers, in a directory that is closed to others', async () => {
  const controller = await open()
  expect(await controller.daemon.status()).toMatchObject({ state: 'absent', running: null })
  const started = await controller.daemon.start()
  expect(await controller.daemon.status()).toMatchObject({
    state: 'running',
    running: { pid: started.pid, version: packageVersion, standing: 'same' },
  })
  expect((await stat(controller.daemon.directory)).mode & 0o777).toBe(0o700)
  expect((await stat(join(controller.daemon.directory, 'daemon.log'))).mode & 0o777).toBe(0o600)
})

test('a daemon outlives its controller, and the next one adopts it', async () => {
  const first = await open()
  const { pid } = await first.daemon.start()
  await first.close()
  const next = await open()
  expect(await next.daemon.start()).toMatchObject({ pid })
})

test('two that start one at once get the same', async () => {
  const controller = await open()
  const [one, other] = await Promise.all([controller.daemon.start(), controller.daemon.start()])
  expect(one).toEqual(other)
})

test('several daemons are kept apart', async () => {
  const controller = await open()
  const main = await controller.daemons.get('main').start()
  const second = await controller.daemons.get('second').start()
  expect(main.pid).not.toBe(second.pid)
  await controller.daemons.get('main').stop()
  expect(await controller.daemons.get('second').status()).toMatchObject({ running: { pid: second.pid } })
  expect(() => controller.daemons.get('secnd')).toThrow('did you mean "second"?')
})

test('one that does not start is told with the end of its log, and nothing of it is left', async () => {
  await expect(start({ ...current, refuses: 'PTY_UNAVAILABLE: no terminals here' })).rejects.toMatchObject({
    code: 'DAEMON_SPAWN_FAILED',
    message: expect.stringContaining('PTY_UNAVAILABLE: no terminals here'),
  })
  expect((await processes.all()).filter(({ pid }) => pid !== process.pid)).toEqual([])
})

test('a program that is not there is named', async () => {
  const signal = new AbortController().signal
  const command = [join(folder, 'missing')]
  await expect(
    startDaemon({ directory: daemonDirectory(home, 'main'), name: 'main', command, keeper: null, signal }),
  ).rejects.toMatchObject({ code: 'DAEMON_SPAWN_FAILED' })
})

test('a second daemon is not started where one answers', async () => {
  await start()
  await expect(start()).rejects.toMatchObject({ code: 'DAEMON_RUNNING' })
})

test('a daemon that was started by somebody else is adopted', async () => {
  const controller = await open()
  const { pid } = await start()
  expect(await controller.daemon.start()).toMatchObject({ pid })
})

test('a directory that others may look into is closed', async () => {
  await openHome(home)
  const directory = daemonDirectory(home, 'main')
  await mkdir(directory, { recursive: true })
  await chmod(directory, 0o755)
  await start()
  expect((await stat(directory)).mode & 0o777).toBe(0o700)
})

// ---- updates

test('an older daemon is updated in the background when the host was upgraded', async () => {
  const before = await open(old)
  const { pid } = await before.daemon.start()
  await before.close()
  const after = await open(current, { schedule: true })
  await eventually(isIn(after, { running: 'upToDate' }))
  expect(await after.daemon.status()).toMatchObject({ running: { version: packageVersion, standing: 'same' } })
  expect(noticesOf(after)).toContain('daemon.updated')
  expect(await isGone(pid)()).toBe(true)
})

test('where the configuration says so an older daemon waits for a person', async () => {
  await start(old)
  const controller = await open(current, { schedule: true, autoUpdate: false })
  await eventually(isIn(controller, { running: 'outdated' }))
  expect(await controller.daemon.status()).toMatchObject({ running: { standing: 'older' }, kept: null })
  expect(await controller.daemon.update()).toMatchObject({ outcome: 'handed-over', version: packageVersion })
})

test('the new version is asked for after the old daemon is gone', async () => {
  const { pid } = await start(old)
  const controller = await open()
  const updated = await controller.daemon.update()
  expect(updated).toMatchObject({ outcome: 'handed-over', predecessor: pid, version: packageVersion, freezeMs: 1.5 })
  expect(await isGone(pid)()).toBe(true)
})

test('two updates at once are one handoff with equal answers', async () => {
  const controller = await open()
  await controller.daemon.start()
  const [one, other] = await Promise.all([controller.daemon.update(), controller.daemon.update()])
  expect(one).toEqual(other)
  expect(await controller.daemon.status()).toMatchObject({ running: { generation: 2 } })
})

test('an update that fails keeps the old daemon, says why, and is not tried again by itself', async () => {
  const { pid } = await start({ ...old, upgrade: 'nak' })
  const controller = await open(current, { schedule: true })
  await eventually(isIn(controller, { running: 'keptOld' }))
  expect(await controller.daemon.status()).toMatchObject({
    running: { pid, version: '0.0.1' },
    kept: { code: 'SNAPSHOT_INVALID', message: 'no' },
  })
  expect(await controller.daemon.update()).toMatchObject({ outcome: 'kept', predecessor: pid, successor: null })
  expect(noticesOf(controller).filter((type) => type === 'daemon.updateFailed')).toHaveLength(2)
})

test('a daemon that dies while it hands over is told, and what is there is looked for', async () => {
  await start({ ...current, upgrade: 'dies' })
  const controller = await open()
  await expect(controller.daemon.update()).rejects.toMatchObject({ code: 'DAEMON_GONE' })
  await eventually(isIn(controller, 'absent'))
})

test('where none runs there is nothing to update', async () => {
  const controller = await open()
  await expect(controller.daemon.update()).rejects.toMatchObject({ code: 'DAEMON_NOT_RUNNING', exitCode: 3 })
})

test('an update that a closing controller leaves is not done twice', async () => {
  await start({ ...current, lingersMs: 3_000 })
  const first = await open()
  const asked = first.daemon.update()
  // Expected from here on: the closing rejects it before it is done itself.
  const left = expect(asked).rejects.toMatchObject({ code: 'CONTROLLER_CLOSED' })
  const generation = async () => (await first.daemon.status()).running?.generation
  await eventually(async () => (await generation()) === 2)
  await first.close()
  await left
  const next = await open()
  await eventually(isIn(next, { running: 'upToDate' }))
  expect(await next.daemon.status()).toMatchObject({ running: { generation: 2 } })
  expect(contextOf(next).answers).toMatchObject([{ wish: 'update', failure: null }])
})

// ---- restart and stop

test('a restart ends the sessions, says how many, and starts another daemon', async () => {
  const controller = await open({ ...current, sessions: 3 })
  const { pid } = await controller.daemon.start()
  const { ended, daemon } = await controller.daemon.restart()
  expect(ended).toBe(3)
  expect(daemon.pid).not.toBe(pid)
  expect(await controller.daemon.status()).toMatchObject({ running: { pid: daemon.pid } })
})

test('a stop ends the daemon and leaves no process and no socket', async () => {
  const controller = await open({ ...current, sessions: 2 })
  await controller.daemon.start()
  expect(await controller.daemon.stop()).toEqual({ ended: 2 })
  expect((await processes.all()).filter(({ pid }) => pid !== process.pid)).toEqual([])
  expect(await readdir(controller.daemon.directory)).toEqual(['daemon.log'])
  expect(await controller.daemon.stop()).toEqual({ ended: 0 })
})

test('a stop during an update waits for it, and what is asked for after it is refused', async () => {
  const controller = await open()
  await controller.daemon.start()
  const updated = controller.daemon.update()
  await eventually(isIn(controller, 'updating'))
  const stopped = controller.daemon.stop()
  await eventually(() => contextOf(controller).waiting.length > 0)
  await expect(controller.daemon.restart()).rejects.toMatchObject({ code: 'DAEMON_STOPPING' })
  expect(await updated).toMatchObject({ outcome: 'handed-over' })
  expect(await stopped).toEqual({ ended: 0 })
  expect(await controller.daemon.status()).toMatchObject({ state: 'absent' })
})

// ---- a daemon that goes by itself

test('a daemon that dies is noticed, and the next is started when it is asked for', async () => {
  const controller = await open()
  const { pid } = await controller.daemon.start()
  await eventually(isIn(controller, { running: 'upToDate' }))
  process.kill(pid, 'SIGKILL')
  await eventually(isIn(controller, 'absent'))
  expect(noticesOf(controller)).toContain('daemon.lost')
  // Its socket is still there, and nobody listens.
  expect(existsSync(join(controller.daemon.directory, 'daemon.sock'))).toBe(true)
  await rm(join(controller.daemon.directory, 'daemon.sock'))
  expect((await controller.daemon.start()).pid).not.toBe(pid)
})

test('a handoff that somebody else asked for is followed', async () => {
  const controller = await open()
  await controller.daemon.start()
  await eventually(isIn(controller, { running: 'upToDate' }))
  await using client = await connectDaemon({
    path: join(controller.daemon.directory, 'daemon.sock'),
    reconnect: false,
  })
  const { successor } = await client.upgrade({ command: commandOf(current) })
  await eventually(() => contextOf(controller).daemon?.pid === successor)
  expect(noticesOf(controller)).not.toContain('daemon.lost')
})

test('what the configuration no longer names is left running', async () => {
  const first = await open()
  const { pid } = await first.daemons.get('second').start()
  await first.close()
  const config = parseConfig({}, folder)
  const next = await open(current, { config })
  expect(next.runs().filter(({ key, status }) => key === 'second' && status === 'active')).toEqual([])
  expect((await processes.all()).some((process) => process.pid === pid)).toBe(true)
})

test('an update finds that its handoff has taken place, and takes no daemon of another version for that', async () => {
  const { pid } = await start(old)
  const command = commandOf(current)
  const world = { home, version: packageVersion, command, keeper: () => null, scrollbackBytes: 1, shell: undefined }
  const { update } = supervisionEffects(world)
  // A keeper has brought back the old version since it was known, by another process.
  const before = { pid: 1, version: old.version, node: '', generation: 1, keeper: null, standing: 'older' } as const
  const tools = { signal: new AbortController().signal } as Parameters<typeof update>[1]
  const first = await update({ name: 'main', daemon: before }, tools)
  expect(first).toMatchObject({
    handoff: { outcome: 'handed-over', predecessor: pid },
    daemon: { version: packageVersion },
  })
  expect(first.daemon.pid).not.toBe(pid)
  expect(await update({ name: 'main', daemon: before }, tools)).toMatchObject({
    handoff: { outcome: 'handed-over', predecessor: 1, successor: first.daemon.pid, freezeMs: null },
  })
})

// ---- places

test('a home whose path is too long for a socket has daemons all the same, and nothing is left of the short one', async () => {
  home = join(folder, 'x'.repeat(60), 'y'.repeat(60))
  const before = await privateDirectories()
  const { pid } = await start()
  const controller = await open()
  expect(await controller.daemon.start()).toMatchObject({ pid })
  await controller.daemon.stop()
  expect(await privateDirectories()).toEqual(before)
  expect(await readdir(controller.daemon.directory)).toEqual(['daemon.log'])
})

const privateDirectories = async () => (await readdir(tmpdir())).filter((name) => /^instar-......$/.test(name))

test('sessions of a daemon that does not run are none, and none is started to look', async () => {
  const controller = await open()
  expect(await controller.sessions.list()).toEqual([])
  await expect(controller.sessions.get('a')).rejects.toMatchObject({ code: 'DAEMON_NOT_RUNNING' })
  expect(existsSync(controller.daemon.directory)).toBe(false)
})

test('the log of a daemon is appended to', async () => {
  await start({ ...current, refuses: 'first' }).catch(() => {})
  await start({ ...current, refuses: 'second' }).catch((error: Error) => {
    expect(error.message).not.toContain('first')
  })
  expect(await readFile(join(daemonDirectory(home, 'main'), 'daemon.log'), 'utf8')).toBe('first\nsecond\n')
})
