import { readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import type { DaemonClient, Session } from '../../src/sessions/client.ts'
import type { SessionExit } from '../../src/sessions/protocol.ts'
import { eventually, settled } from '../support/sessions/eventually.ts'
import { FollowedStream, FollowedText } from '../support/sessions/followed.ts'
import { marksIn, recordsIn } from '../support/sessions/marks.ts'
import { numbered } from '../support/sessions/numbered-stream.ts'
import { descriptorsOf, mastersOf } from '../support/sessions/processes.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'

// The scenarios *Sessions*, by number: those about upgrades that succeed. Real daemons, terminals and programs.

const scene = sessionScene()
const keepers = [
  { keeper: false, how: 'without a keeper' },
  { keeper: true, how: 'with a keeper' },
]

async function upgraded(client: DaemonClient): Promise<number> {
  const { outcome, successor, reason } = await client.upgrade()
  expect({ outcome, reason }).toEqual({ outcome: 'handed-over', reason: null })
  return successor!
}

const shells = (client: DaemonClient, count: number) =>
  Promise.all(Array.from({ length: count }, () => client.open({ command: ['sh'], env: { PS1: '$ ' } })))

test.each(keepers)(
  '1: three shells, three upgrades in a row, $how: same pids, same clients still connected, nothing repeated or missing on screen',
  async ({ keeper }) => {
    await using trial = await scene.start({ keeper })
    const clients = [await trial.client({ reconnect: false }), await trial.client({ reconnect: false })]
    const typed = (await shells(clients[0]!, 3)).map((session) => new TypedShell(session))
    const watched = await Promise.all(
      typed.map(async ({ session }) => new FollowedText(await clients[1]!.session(session.id))),
    )
    const before = (await clients[0]!.list()).map(({ id, pid }) => ({ id, pid }))
    const daemons = new Set([await trial.pid()])
    for (let round = 1; round <= 3; round += 1) {
      for (const shell of typed) await shell.asks(`echo before-$((${round} * 100))`, `before-${round * 100}`)
      daemons.add(await upgraded(clients[0]!))
      for (const shell of typed)
        await shell.asks(`echo after-$((${round} * 100)) $$`, new RegExp(`after-${round * 100} \\d+`))
    }
    expect(daemons.size).toBe(4)
    expect((await clients[1]!.list()).map(({ id, pid }) => ({ id, pid }))).toEqual(before)
    for (const [index, { session, screen }] of typed.entries()) {
      for (let round = 1; round <= 3; round += 1) {
        expect(screen.text.split(`before-${round * 100}`)).toHaveLength(2)
        expect(screen.text.split(`after-${round * 100} ${session.info.pid}`)).toHaveLength(2)
      }
      const [again] = [new FollowedText(await (await trial.client()).session(session.id))]
      await again.reaches(screen.offset)
      await watched[index]!.reaches(screen.offset)
      expect(again.text).toBe(screen.text)
      expect(watched[index]!.text).toBe(screen.text)
    }
  },
)

test.each(keepers)(
  '3: sixty-four adopted sessions, $how: file operations in the daemon do not stall',
  async ({ keeper }) => {
    // One thread for them: a single read that waits in it would stall all else.
    await using trial = await scene.start({ keeper, env: { UV_THREADPOOL_SIZE: '1' } })
    const client = await trial.client({ reconnect: false })
    for (let index = 0; index < 64; index += 1) await client.open({ command: scene.programs.idle() })
    await upgraded(client)
    // Opening looks at the directory and the program; an end is written down; both need what a waiting read could hold.
    for (let code = 1; code <= 5; code += 1) {
      const session = await client.open({ command: scene.programs.stream({ bytes: 100_000, code }), cwd: '/' })
      expect(await new FollowedStream(session).ends()).toMatchObject({ code, offset: 100_000 })
    }
    await upgraded(client)
    expect(await client.list()).toHaveLength(64 + 5)
  },
)

test.each(keepers)('5: a resize after an upgrade, $how: `stty size` inside shows it', async ({ keeper }) => {
  await using trial = await scene.start({ keeper })
  const client = await trial.client({ reconnect: false })
  const session = await client.open({ command: ['sh'], size: { columns: 81, rows: 25 } })
  const shell = new TypedShell(session)
  await shell.asks('stty size', '25 81')
  await session.resize({ columns: 90, rows: 30 })
  await upgraded(client)
  await shell.asks('stty size', '30 90')
  await session.resize({ columns: 101, rows: 33 })
  await shell.asks('stty size', '33 101')
  await upgraded(client)
  expect((await client.list())[0]!.size).toEqual({ columns: 101, rows: 33 })
})

test('both daemons write down where each session was handed over, and the hash of what it had printed', async () => {
  await using trial = await scene.start()
  const client = await trial.client({ reconnect: false })
  const command = scene.programs.stream({ bytes: 3_000_000, rate: 2_000_000, begin: 1, pause: 1 })
  const streams = [
    await FollowedStream.begin(await client.open({ command })),
    await FollowedStream.begin(await client.open({ command })),
  ]
  for (const stream of streams) await stream.reaches(50_000)
  const journals = join(trial.directory, 'journals')
  /** What a process has recorded of its side. */
  const marksOf = async (pid: number, machine: string) => {
    const folder = (await readdir(journals)).find((name) => name.endsWith(`-${pid}`))!
    return marksIn(await recordsIn(join(journals, folder)), machine)
  }
  const predecessor = await trial.pid()
  const successor = await upgraded(client)
  const marks = await marksOf(successor, 'daemon-takeover')
  expect(marks.map(({ handle }) => handle)).toEqual(streams.map(({ session }) => session.handle))
  expect(await marksOf(predecessor, 'daemon-handoff')).toEqual(marks)
  for (const { offset, crc32: hash } of marks) {
    expect(offset).toBeGreaterThan(50_000)
    expect(hash).toBe(crc32(numbered(0, offset)))
  }
  for (const stream of streams) {
    await stream.reaches(3_000_000)
    await stream.session.write('x')
    await stream.ends()
  }
})

describe('17: while an upgrade is under way', () => {
  test.each(keepers)(
    'a session opened, resized, closed or exiting is served as always, in one place only, $how',
    async ({ keeper }) => {
      await using trial = await scene.start({ keeper })
      const client = await trial.client({ reconnect: false })
      for (let round = 0; round < 4; round += 1) {
        const [resized, closed, ending] = [
          await client.open({ command: ['sh'] }),
          await client.open({ command: scene.programs.stubborn() }),
          await client.open({ command: scene.programs.echo({ bytes: 1000, code: 7 }) }),
        ] as const
        const shell = new TypedShell(resized)
        const output = new FollowedStream(ending)
        await output.reaches(16)
        // Without a keeper nobody can know how a program ends that has been handed over, and that is what is said then.
        const known = (end: Pick<SessionExit, 'code' | 'signal'>, { lost }: SessionExit) =>
          keeper || !lost ? { ...end, lost: false } : { code: null, signal: null, lost: true }
        const upgrade = upgraded(client)
        // Earlier and later in the handoff from round to round.
        await new Promise((resolve) => setTimeout(resolve, round * 60))
        const opened = client.open({ command: scene.programs.stream({ bytes: 200_000, code: round, pause: 1 }) })
        const exit = closed.close()
        await Promise.all([resized.resize({ columns: 60 + round, rows: 20 }), ending.write(numbered(16, 1000))])
        expect(await output.ends()).toMatchObject({
          offset: 1016,
          ...known({ code: 7, signal: null }, await ending.exit),
        })
        expect(await exit).toMatchObject(known({ code: null, signal: 'SIGKILL' }, await exit))
        const session = await opened
        const stream = new FollowedStream(session)
        await stream.reaches(200_000)
        await session.write(Buffer.from('x'))
        await shell.asks('stty size', `20 ${60 + round}`)
        const daemon = await upgrade
        expect(await stream.ends()).toMatchObject(known({ code: round, signal: null }, await session.exit))
        const daemons = async () => (await trial.processes.all()).filter(isDaemon).map(({ pid }) => pid)
        await eventually(async () => (await daemons()).length === 1, 'the end of the predecessor')
        expect(await daemons()).toEqual([daemon])
        await resized.close()
      }
    },
  )
})

const isDaemon = ({ command }: { command: string }) => /^\S*node\S* \S*daemon-main/.test(command)

test.each(keepers)(
  '20: ten sessions opened, handed over and ended, five times, $how: descriptors and terminals are back where they began, and no shell holds another’s master',
  async ({ keeper }) => {
    await using trial = await scene.start({ keeper })
    const client = await trial.client({ reconnect: false })
    const keeperPid = (await client.info()).keeper?.pid
    await upgraded(client)
    const held = async () => ({
      daemon: (await descriptorsOf(await trial.pid())).length,
      keeper: keeperPid === undefined ? 0 : (await descriptorsOf(keeperPid)).length,
      terminals: await terminalsOf((await trial.processes.all()).map(({ pid }) => pid)),
    })
    const before = await settled(held)
    for (let round = 0; round < 5; round += 1) {
      const sessions: Session[] = []
      for (let index = 0; index < 10; index += 1) sessions.push(await client.open({ command: ['sh'] }))
      await upgraded(client)
      for (const { info } of sessions) expect(await mastersOf(info.pid)).toBe(0)
      await Promise.all(
        sessions.map((session, index) => (index % 2 === 0 ? session.write('exit 0\n') : session.close())),
      )
      await Promise.all(sessions.map(({ exit }) => exit))
    }
    expect(await settled(held)).toEqual(before)
    expect(await trial.processes.zombies()).toEqual([])
  },
)

/** Masters and slaves that these processes hold. */
async function terminalsOf(pids: number[]): Promise<number> {
  const links = await Promise.all(pids.map((pid) => descriptorsOf(pid).catch(() => [])))
  return links.flat().filter((path) => /^\/dev\/(ptmx|pts\/)/.test(path)).length
}

test('21: 512 sessions are handed over', async () => {
  await using trial = await scene.start({ keeper: true })
  const client = await trial.client({ reconnect: false })
  for (let index = 0; index < 512; index += 1) await client.open({ id: `n${index}`, command: scene.programs.echo() })
  const before = (await client.list()).map(({ id, pid }) => ({ id, pid }))
  const daemon = await upgraded(client)
  expect((await client.info()).pid).toBe(daemon)
  expect(await mastersOf(daemon)).toBe(512)
  expect(await readlink(`/proc/${daemon}/exe`)).toBe(process.execPath)
  expect((await client.list()).map(({ id, pid }) => ({ id, pid }))).toEqual(before)
  for (const index of [0, 255, 511]) {
    const session = await client.session(`n${index}`)
    const output = new FollowedStream(session)
    await session.write(numbered(16, 5000))
    await output.reaches(5016)
  }
})
