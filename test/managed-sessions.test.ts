import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseConfig } from '../src/config.ts'
import { type Controller, openController } from '../src/controller.ts'
import type { Session } from '../src/sessions/client.ts'
import { commandOf } from './support/sessions/daemon-trial.ts'
import { eventually } from './support/sessions/eventually.ts'
import { FollowedText } from './support/sessions/followed.ts'
import { MarkedProcesses } from './support/sessions/processes.ts'
import { sessionScene } from './support/sessions/scene.ts'

// `controller.sessions`, with daemons as they are.

const scene = sessionScene()
const shell = { command: ['sh', '-c', 'echo begun; read line; echo "got $line"; exit 7'] }

let folder: string
let processes: MarkedProcesses
let controller: Controller

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'instar-sessions-'))
  processes = new MarkedProcesses()
  Object.assign(process.env, processes.environment)
})

afterEach(async () => {
  await controller.daemon.stop()
  await controller.close()
  for (const name of Object.keys(processes.environment)) delete process.env[name]
  expect((await processes.all()).filter(({ pid }) => pid !== process.pid)).toEqual([])
  await rm(folder, { recursive: true, force: true })
})

/** @param home Within a folder of the test's own. */
async function open({ isKept = false, home = 'home' } = {}): Promise<Controller> {
  const sessions = { command: commandOf(scene.daemon), keeper: isKept ? scene.daemon.keeper : null }
  const config = parseConfig({ sessions: { autoUpdate: false } }, folder)
  controller = await openController({ home: join(folder, home), config, schedule: false, sessions })
  return controller
}

/** Types a line, and follows the session to its end. */
async function finish(session: Session, screen = new FollowedText(session)): Promise<void> {
  await screen.says('begun')
  await session.write('x\n')
  await screen.says('got x')
  expect(await screen.ends()).toMatchObject({ code: 7, signal: null, lost: false })
}

/** Resolves when it is waited for: then its sockets are closed. */
async function killDaemon(): Promise<number> {
  const { pid } = (await controller.daemon.status()).running!
  process.kill(pid, 'SIGKILL')
  await eventually(() => !existsSync(`/proc/${pid}`), 'its end')
  return pid
}

test('a session begins where no daemon ran, goes on through an update, and says how it ended', async () => {
  const { sessions, daemon } = await open({ isKept: true })
  const session = await sessions.open(shell)
  const screen = new FollowedText(session)
  await screen.says('begun')
  expect((await sessions.list()).map(({ id }) => id)).toEqual([session.id])
  const again = await sessions.get(session.id)
  expect(again.info.pid).toBe(session.info.pid)
  expect(await daemon.update()).toMatchObject({ outcome: 'handed-over', sessions: 1 })
  await finish(session, screen)
  expect(await again.exit).toMatchObject({ code: 7 })
})

test.each([
  ['', 'home'],
  [', also by another short path', join('x'.repeat(60), 'y'.repeat(60))],
])('after a stop the next session begins with a daemon of its own%s', async (_, home) => {
  const { sessions, daemon } = await open({ home })
  const { exit: ended } = await sessions.open(shell)
  expect(await daemon.stop()).toEqual({ ended: 1 })
  expect(await sessions.list()).toEqual([])
  await expect(sessions.get('a')).rejects.toMatchObject({ code: 'DAEMON_NOT_RUNNING' })
  await finish(await sessions.open(shell))
  await daemon.stop()
  await finish(await sessions.open(shell))
  expect(await ended).toMatchObject({ signal: 'SIGHUP' })
})

test('after the crash of a daemon without a keeper none is waited for, and the next session begins with a new one', async () => {
  const { sessions } = await open()
  await sessions.open(shell)
  await killDaemon()
  expect(await sessions.list()).toEqual([])
  await expect(sessions.get('a')).rejects.toMatchObject({ code: 'DAEMON_NOT_RUNNING' })
  await finish(await sessions.open(shell))
})

test('after the crash of one with a keeper everything is asked of the next', async () => {
  const { sessions, daemon } = await open({ isKept: true })
  const first = await sessions.open(shell)
  const killed = await killDaemon()
  const second = await sessions.open(shell)
  expect((await sessions.list()).map(({ id }) => id)).toEqual([first.id, second.id])
  expect((await daemon.status()).running!.pid).not.toBe(killed)
  await finish(second)
  await first.write('x\n')
  expect(await first.exit).toMatchObject({ code: 7, lost: false })
})

test('a session that is disposed is detached from, and lives on', async () => {
  const { sessions } = await open()
  const { id } = await sessions.open(shell)
  {
    await using session = await sessions.get(id)
    await new FollowedText(session).says('begun')
  }
  await finish(await sessions.get(id))
})

test('every call can be given up', async () => {
  const { sessions } = await open()
  const reason = new Error('enough')
  const signal = AbortSignal.abort(reason)
  const calls = () =>
    Promise.allSettled([sessions.open(shell, { signal }), sessions.list({ signal }), sessions.get('a', { signal })])
  const givenUp = Array(3).fill({ status: 'rejected', reason })
  expect(await calls()).toEqual(givenUp)
  await sessions.open(shell)
  expect(await calls()).toEqual(givenUp)
  expect(await sessions.list()).toHaveLength(1)
})
