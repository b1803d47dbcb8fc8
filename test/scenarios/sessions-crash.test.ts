import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { DaemonClient } from '../../src/sessions/client.ts'
import type { Output } from '../../src/sessions/client-output.ts'
import type { Gap } from '../../src/sessions/protocol.ts'
import type { DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { eventually, settled } from '../support/sessions/eventually.ts'
import { FollowedStream, FollowedText } from '../support/sessions/followed.ts'
import { numbered } from '../support/sessions/numbered-stream.ts'
import { mastersOf } from '../support/sessions/processes.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'

// The scenarios *Sessions*, by number: those in which a daemon or a program dies.

const scene = sessionScene()

/** What may have been read of a session and not delivered when a daemon is killed. */
const lossBytesMax = 256 * 1024

const daemonsOf = async (trial: DaemonTrial) =>
  (await trial.processes.all())
    .filter(({ command }) => /^\S*node\S* \S*daemon-main/.test(command))
    .map(({ pid }) => pid)

/** Resolves when one daemon is left, it answers, and it alone (beside the keeper) holds the terminals. */
async function settles(trial: DaemonTrial, client: DaemonClient, sessions: number): Promise<number> {
  await eventually(async () => {
    const daemons = await daemonsOf(trial)
    if (daemons.length !== 1) return false
    const { pid } = await client.info()
    return pid === daemons[0] && (await mastersOf(pid)) === sessions
  }, 'one daemon that holds every terminal')
  return (await client.info()).pid
}

describe('4: an adopted shell', () => {
  test('exits with 7, or dies by SIGKILL: the client sees code 7, or the signal', async () => {
    await using trial = await scene.start({ keeper: true })
    const client = await trial.client({ reconnect: false })
    const [exiting, killed] = [await client.open({ command: ['sh'] }), await client.open({ command: ['sh'] })]
    expect((await client.upgrade()).outcome).toBe('handed-over')
    await exiting.write(Buffer.from('exit 7\n'))
    expect(await exiting.exit).toMatchObject({ code: 7, signal: null, lost: false })
    process.kill(killed.info.pid, 'SIGKILL')
    expect(await killed.exit).toMatchObject({ code: null, signal: 'SIGKILL', lost: false })
    expect(await trial.processes.zombies()).toEqual([])
  })

  test('that ends where nobody could know how is told as lost, and never as 0', async () => {
    await using trial = await scene.start()
    const client = await trial.client({ reconnect: false })
    const session = await client.open({ command: ['sh'] })
    const screen = new FollowedText(session)
    expect((await client.upgrade()).outcome).toBe('handed-over')
    await session.write(Buffer.from('exit 0\n'))
    expect(await screen.ends()).toMatchObject({ code: null, signal: null, lost: true })
  })

  test('that exits while no daemon runs is told with its code by the next one', async () => {
    await using trial = await scene.start({ keeper: true })
    const client = await trial.client()
    const bytes = 5000
    const session = await client.open({ command: scene.programs.stream({ bytes, pause: 1, code: 42 }) })
    const output = new FollowedStream(session)
    await output.reaches(bytes)
    // The program gets its byte when the daemon has been killed: it is in the terminal by then.
    process.kill(session.info.pid, 'SIGSTOP')
    await session.write(Buffer.from('x'))
    await client.info()
    const killed = trial.kill()
    process.kill(session.info.pid, 'SIGCONT')
    await killed
    expect(await output.ends()).toMatchObject({ code: 42, lost: false, offset: expect.any(Number) })
  })
})

test('a keeper is killed: sessions go on, their ends are known or told as lost, and the daemon can be replaced and stopped', async () => {
  await using trial = await scene.start({ keeper: true })
  const client = await trial.client({ reconnect: false })
  const shell = new TypedShell(await client.open({ command: ['sh'] }))
  const closed = await client.open({ command: ['sh'] })
  const holding = new TypedShell(await client.open({ command: ['sh'] }))
  await holding.asks('sleep 60 & echo b-$((40 + 2))', 'b-42')
  process.kill((await client.info()).keeper!.pid, 'SIGKILL')
  await eventually(async () => (await client.info()).keeper === null, 'the loss of the keeper')
  await shell.asks('echo a-$((40 + 2))', 'a-42')
  await shell.session.write('exit 3\n')
  await holding.session.write('exit 3\n')
  for (const { exit } of [shell.session, holding.session]) expect(await exit).toMatchObject({ code: null, lost: true })
  const own = await client.open({ command: ['sh', '-c', 'exit 7'] })
  expect(await own.exit).toMatchObject({ code: 7, lost: false })
  expect((await client.upgrade()).outcome).toBe('handed-over')
  await closed.close()
  await client.open({ command: ['sh'] })
  expect(await client.stop()).toEqual({ sessions: 1 })
  await eventually(async () => (await daemonsOf(trial)).length === 0, 'the end of the daemon')
  await trial.killAll() // of what the shell had left behind
})

test('what a daemon was told when it began is still so after an upgrade and a crash', async () => {
  const scrollbackBytes = 128 * 1024
  await using trial = await scene.start({ keeper: true, args: ['--buffer-bytes', String(scrollbackBytes)] })
  const client = await trial.client()
  expect((await client.upgrade()).outcome).toBe('handed-over')
  await trial.kill()
  await client.info() // while a connection is just breaking nobody knows whether something was opened
  const session = await client.open({ command: scene.programs.stream({ bytes: 1_000_000, pause: 1 }) })
  await new FollowedStream(session).reaches(1_000_000)
  const { start, offset } = (await client.list())[0]!
  expect(offset - start).toBeLessThanOrEqual(2 * scrollbackBytes)
})

describe('7: the predecessor is killed in the middle of a handoff', () => {
  // Over the whole length of one, from before the spawn to after its end.
  test('with a keeper: every session ends up with exactly one owner, and its clients go on', async () => {
    await using trial = await scene.start({ keeper: true })
    const client = await trial.client()
    const shells = [await client.open({ command: ['sh'] }), await client.open({ command: ['sh'] })].map(
      (session) => new TypedShell(session),
    )
    const stream = new FollowedStream(await client.open({ command: scene.programs.stream({ rate: 200_000 }) }))
    const { keeper } = await client.info()
    const started = performance.now()
    expect((await client.upgrade()).outcome).toBe('handed-over')
    const handoffMs = performance.now() - started
    const moments = 8
    for (let moment = 0; moment < moments; moment += 1) {
      const predecessor = (await client.info()).pid
      const asked = client.upgrade().catch((error) => error)
      await sleep((handoffMs * 1.2 * moment) / (moments - 1))
      try {
        process.kill(predecessor, 'SIGKILL')
      } catch {
        // It had handed over and ended.
      }
      await asked
      await settles(trial, client, 3)
      for (const [index, shell] of shells.entries())
        await shell.asks(`echo m-$((${moment} + ${index}00)) $$`, `m-${moment + index * 100} ${shell.session.info.pid}`)
      const { offset } = stream.looked()
      await stream.reaches(offset + 1000)
    }
    expect((await client.info()).keeper).toEqual(keeper)
    for (const { from, to } of stream.gaps) expect(to - from).toBeLessThanOrEqual(lossBytesMax)
    expect(await trial.processes.zombies()).toEqual([])
  })

  test('without a keeper: the shells are hung up, clients are told, and nothing is left', async () => {
    for (const delayMs of [0, 30, 60, 120]) {
      await using trial = await scene.start()
      const client = await trial.client({ reconnect: false })
      const session = await client.open({ command: ['sh'] })
      const exit = session.exit.catch((error) => error)
      const predecessor = (await client.info()).pid
      const asked = client.upgrade().catch((error) => error)
      await sleep(delayMs)
      process.kill(predecessor, 'SIGKILL')
      const result = await asked
      if ('outcome' in result && result.outcome === 'handed-over') {
        // It had come to its end first.
        expect((await client.list()).map(({ pid }) => pid)).toEqual([session.info.pid])
        continue
      }
      expect(result).toMatchObject({ code: 'DAEMON_GONE' })
      expect(await exit).toMatchObject({ code: 'DAEMON_GONE' })
      await eventually(async () => (await trial.processes.all()).length === 0, 'the end of all')
      await trial.launch()
      expect(await (await trial.client()).list()).toEqual([])
    }
  })
})

describe('19: the successor dies right after its ack', () => {
  test('the sessions live, the client is told, the next daemon serves them', async () => {
    await using trial = await scene.start({ keeper: true })
    const client = await trial.client()
    const shell = new TypedShell(await client.open({ command: ['sh'] }))
    const stream = new FollowedStream(await client.open({ command: scene.programs.stream({ rate: 100_000 }) }))
    await shell.asks('echo x-$((40 + 2))', 'x-42')
    const told: string[] = []
    client.onEvent((event) => {
      told.push(event.type)
      if (event.type === 'handed-over') process.kill(event.pid, 'SIGKILL')
    })
    const first = (await client.info()).pid
    const result = await client.upgrade().catch((error) => error)
    await eventually(async () => told.includes('handed-over'), 'word of the handoff')
    const third = await settles(trial, client, 2)
    expect([first, result.successor]).not.toContain(third)
    await shell.asks('echo y-$((40 + 2)) $$', `y-42 ${shell.session.info.pid}`)
    await stream.reaches(stream.offset + 1000)
    for (const { from, to } of stream.gaps) expect(to - from).toBeLessThanOrEqual(lossBytesMax)
  })
})

test('a client that has stopped taking anything: what was read for it and is lost is bounded and told, too', async () => {
  await using trial = await scene.start({ keeper: true })
  const client = await trial.client()
  const session = await client.open({ command: scene.programs.stream({ begin: 1 }) })
  const output = session.output()
  await session.write('x')
  await output.next()
  // Until every queue is full and nothing more is read.
  const other = await trial.client()
  await settled(async () => (await other.list())[0]!.offset)
  await trial.kill()
  const gap = await firstGap(output)
  expect(gap.to - gap.from).toBeGreaterThan(0)
  expect(gap.to - gap.from).toBeLessThanOrEqual(lossBytesMax)
})

async function firstGap(output: Output): Promise<Gap> {
  for await (const piece of output) if (!('bytes' in piece)) return piece
  throw new Error('nothing is missing')
}

describe('the daemon is killed with 64 sessions, twice', () => {
  test('all shells live on with the same pids, and what was read but not delivered is bounded and told', async () => {
    await using trial = await scene.start({ keeper: true })
    const client = await trial.client()
    const streams: FollowedStream[] = []
    for (let index = 0; index < 8; index += 1)
      streams.push(await FollowedStream.begin(await client.open({ command: scene.programs.stream({ begin: 1 }) })))
    const echoing: FollowedStream[] = []
    for (let index = 0; index < 56; index += 1)
      echoing.push(new FollowedStream(await client.open({ command: scene.programs.echo({ bytes: 100, code: index }) })))
    const before = (await client.list()).map(({ id, pid }) => ({ id, pid }))
    for (let round = 1; round <= 2; round += 1) {
      for (const stream of streams) await stream.reaches(stream.offset + 100_000)
      await trial.kill()
      await settles(trial, client, 64)
      expect((await client.list()).map(({ id, pid }) => ({ id, pid }))).toEqual(before)
    }
    for (const stream of streams) {
      await stream.reaches(stream.offset + 100_000)
      for (const { from, to } of stream.gaps) expect(to - from).toBeLessThanOrEqual(lossBytesMax)
      await stream.session.signal('SIGTERM')
      expect(await stream.ends()).toMatchObject({ signal: 'SIGTERM', lost: false })
    }
    for (const [index, echo] of echoing.entries()) {
      await echo.session.write(numbered(echo.printed, 100))
      expect(await echo.session.exit).toMatchObject({ code: index, lost: false })
    }
  })
})
