import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { DaemonClient, Output, Session } from '../../src/sessions/client.ts'
import type { DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { eventually, settled } from '../support/sessions/eventually.ts'
import type { Misbehaviour } from '../support/sessions/fake-successor.ts'
import { FollowedStream } from '../support/sessions/followed.ts'
import { NumberedCheck, numbered } from '../support/sessions/numbered-stream.ts'
import { descriptorsOf } from '../support/sessions/processes.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'
import type { Tampering } from '../support/sessions/tampering-successor.ts'

// The scenarios *Sessions*, by number: upgrades that fail, and input that is refused.

const fake = 'test/support/sessions/fake-successor.ts'
const tampering = 'test/support/sessions/tampering-successor.ts'
const scene = sessionScene(fake, tampering)

/** Everything of a daemon that a failed upgrade must not change. */
async function stateOf(trial: DaemonTrial, client: DaemonClient) {
  const { pid, generation } = await client.info()
  return {
    pid,
    generation,
    descriptors: (await descriptorsOf(pid)).length,
    processes: (await trial.processes.all()).map(({ pid }) => pid).sort(),
    sessions: (await client.list()).map(({ id, pid }) => ({ id, pid })),
    files: await trial.strayFiles(),
  }
}

/** A client that takes nothing for a while, so that much waits for it, and then everything. */
class LaggingClient {
  private readonly check = new NumberedCheck()
  private readonly pieces: Output

  constructor(session: Session) {
    this.pieces = session.output({ from: 0 })
  }

  /** @throws where a byte is missing that was not told to be gone, or the connection was lost. */
  async catchUp(offset: number): Promise<void> {
    while (this.check.offset < offset) {
      const { value } = await this.pieces.next()
      if (value === undefined) throw new Error('the output of a session that goes on has ended')
      if ('bytes' in value) this.check.take(value.bytes)
      else this.check.skipTo(value.to)
    }
  }
}

/** Sessions that print and that are typed into, a client that lags, and all of it served as before. */
class Served {
  private constructor(
    private readonly trial: DaemonTrial,
    private readonly client: DaemonClient,
    private readonly stream: FollowedStream,
    private readonly echo: FollowedStream,
    private readonly lagging: LaggingClient,
    private readonly before: Awaited<ReturnType<typeof stateOf>>,
  ) {}

  static async begin(trial: DaemonTrial, client: DaemonClient): Promise<Served> {
    const command = scene.programs.stream({ rate: 4_000_000, begin: 1 })
    const stream = await FollowedStream.begin(await client.open({ command }))
    const echo = new FollowedStream(await client.open({ command: scene.programs.echo() }))
    await echo.reaches(16)
    const other = await trial.client({ reconnect: false })
    const lagging = new LaggingClient(await other.session(stream.session.id))
    await lagging.catchUp(1)
    return new Served(trial, client, stream, echo, lagging, await stateOf(trial, client))
  }

  /** Resolves when more waits for the client that lags than any queue on the way takes. */
  async lag(): Promise<void> {
    await this.stream.reaches(this.stream.offset + 2_000_000)
  }

  async goesOn(): Promise<void> {
    const { printed } = this.echo
    await this.echo.session.write(numbered(printed, 1000))
    await this.echo.reaches(printed + 1000)
    await this.stream.reaches(this.stream.offset + 10_000)
    expect(this.stream.gaps).toEqual([])
    await this.lagging.catchUp(this.stream.offset)
    const now = () => stateOf(this.trial, this.client)
    await eventually(
      async () => JSON.stringify(await now()) === JSON.stringify(this.before),
      'the state of before',
    ).catch(async () => expect(await now()).toEqual(this.before))
  }
}

const fakeSuccessor = (how: Misbehaviour) => [process.execPath, scene.compiled.file(fake), how]
/** As the child of a shell that waits for it. */
const wrapped = (how: Misbehaviour) => ['/bin/sh', '-c', '"$@"; exit', 'sh', ...fakeSuccessor(how)]

describe('6: the predecessor serves on, the requester learns the reason, and nothing is left over, where the successor', () => {
  const failed = (message: RegExp) => ({ code: 'HANDOFF_FAILED', message: expect.stringMatching(message) })
  const refused = { code: 'SNAPSHOT_INVALID', message: expect.stringContaining('does not like it') }
  const silent = { code: 'HANDOFF_TIMEOUT' }
  const reasons: Record<Misbehaviour, object> = {
    'never says anything': silent,
    'ends at once': failed(/code 3/),
    'throws at once': failed(/code 1/),
    'says what nobody understands': failed(/./),
    'reads another format': { code: 'SNAPSHOT_UNSUPPORTED' },
    'never is prepared': silent,
    'says nak to the plan': refused,
    'ends while it prepares': failed(/code 4/),
    'closes its channel': failed(/./),
    'never acks': silent,
    'ends before the ack': failed(/code 5/),
    'is killed before the ack': failed(/SIGKILL/),
    'throws before the ack': failed(/code 1/),
    'says nak to the draft': refused,
    'says nak to the delta': refused,
    'closes its channel before the ack': failed(/./),
  }
  const slow = (Object.keys(reasons) as Misbehaviour[]).filter((how) => reasons[how] === silent)
  const quick = (Object.keys(reasons) as Misbehaviour[]).filter((how) => reasons[how] !== silent)

  async function fails(hows: readonly Misbehaviour[], keeper: boolean, commandOf = fakeSuccessor): Promise<void> {
    await using trial = await scene.start({ keeper })
    const client = await trial.client({ reconnect: false })
    const served = await Served.begin(trial, client)
    for (const how of hows) {
      const { pid } = await client.info()
      await served.lag()
      const result = await client.upgrade({ command: commandOf(how) })
      expect(result, how).toMatchObject({
        outcome: 'kept',
        predecessor: pid,
        freezeMs: null,
        reason: { message: expect.stringMatching(/./), ...reasons[how] },
      })
      await served.goesOn()
    }
    expect((await client.upgrade()).outcome).toBe('handed-over')
  }

  test(`${quick.join(', ')}; without a keeper`, () => fails(quick, false))
  test(`${quick.join(', ')}; with a keeper`, () => fails(quick, true))
  // Each in a daemon of its own: what is waited for is the time that a successor is given.
  test(`${slow.join(', ')}; never acks behind a shell`, async () => {
    await Promise.all([...slow.map((how) => fails([how], true)), fails(['never acks'], true, wrapped)])
  })

  test('cannot be started', async () => {
    await using trial = await scene.start()
    const client = await trial.client({ reconnect: false })
    const served = await Served.begin(trial, client)
    await served.lag()
    const result = await client.upgrade({ command: ['/nowhere/at/all'] })
    expect(result).toMatchObject({ outcome: 'kept', successor: null, reason: { code: 'HANDOFF_FAILED' } })
    await served.goesOn()
  })
})

describe('8: while an upgrade is under way', () => {
  test('another request for it gets the same answer, and there is one handoff', async () => {
    await using trial = await scene.start()
    const [one, other] = [await trial.client({ reconnect: false }), await trial.client({ reconnect: false })]
    await one.open({ command: scene.programs.idle() })
    const [first, second, third] = await Promise.all([one.upgrade(), other.upgrade(), one.upgrade()])
    expect(first).toMatchObject({ outcome: 'handed-over', sessions: 1 })
    expect(second).toEqual(first)
    expect(third).toEqual(first)
    expect(await one.info()).toMatchObject({ generation: 2, pid: first.successor })
  })

  test.each([0, 20, 60, 120])('a stop after %i ms waits or is refused, and never races', async (delayMs) => {
    await using trial = await scene.start()
    const client = await trial.client({ reconnect: false })
    const session = await client.open({ command: ['sh'] })
    const upgrade = client.upgrade()
    await new Promise((resolve) => setTimeout(resolve, delayMs))
    const stopped = client.stop().catch((error) => error)
    const { outcome } = await upgrade
    const answer = await stopped
    if (answer.code === undefined) {
      expect(answer).toEqual({ sessions: 1 })
      await eventually(async () => (await trial.processes.all()).length === 0, 'the end of all')
      expect(existsSync(trial.socket)).toBe(false)
    } else {
      expect(outcome).toBe('handed-over')
      expect(answer.code).toMatch(/^(DAEMON_BUSY|HANDOFF_)/)
      expect((await client.list()).map(({ pid }) => pid)).toEqual([session.info.pid])
    }
  })
})

test('9: the new version is asked for after the predecessor has gone; the environment of the old one cannot make the new one lie', async () => {
  const environment = { INSTAR_VERSION: '1.2.3', npm_package_version: '1.2.3', VERSION: '1.2.3' }
  await using trial = await scene.start({ env: environment })
  const client = await trial.client({ reconnect: false })
  const old = await client.info()
  expect(old.version).toBe(JSON.parse(await readFile(join(import.meta.dirname, '../../package.json'), 'utf8')).version)

  const newer = join(trial.directory, '..', 'newer')
  await scene.compiled.copy(newer, 'src/sessions/daemon-main.ts', '9.9.9')

  const told = new Promise<{ version: string; pid: number }>((resolve) => {
    client.onEvent((event) => {
      if (event.type === 'handed-over') resolve(event)
    })
  })
  const command = [process.execPath, join(newer, 'src/sessions/daemon-main.js')]
  const { successor } = await client.upgrade({ command })
  // What is left of it is for its parent, this process, to hear of.
  await eventually(async () => !existsSync(`/proc/${old.pid}`), 'the end of the predecessor')
  expect(await client.info()).toMatchObject({ version: '9.9.9', pid: successor, generation: old.generation + 1 })
  expect(await told).toMatchObject({ version: '9.9.9', pid: successor })
})

describe('10: a snapshot is refused with a code and nothing is adopted, where it names', () => {
  const names: Tampering[] = [
    'a descriptor that is no terminal',
    'the descriptor of another session',
    'a dead pid',
    'a session twice',
    'sizes of 10^9',
    'another format version',
    'no list of sessions',
    'sizes of 10^9 in the draft',
    'a session that is not in the draft',
    'a number that is none',
    'sizes of 10^9 in the delta',
    'a session twice in the delta',
    'a session that is not in the delta',
    'bytes that are not there',
  ]
  test('each of them', async () => {
    await using trial = await scene.start()
    const client = await trial.client({ reconnect: false })
    const served = await Served.begin(trial, client)
    for (const how of names) {
      await served.lag()
      // The real successor's channel is not for the program between.
      const middle = ['/usr/bin/env', '-u', 'NODE_CHANNEL_FD', process.execPath, scene.compiled.file(tampering)]
      const result = await client.upgrade({ command: [...middle, scene.daemon.main, how] })
      const code = how === 'another format version' ? /^SNAPSHOT_(UNSUPPORTED|INVALID)$/ : /^SNAPSHOT_INVALID$/
      expect(result, how).toMatchObject({ outcome: 'kept', reason: { code: expect.stringMatching(code) } })
      await served.goesOn()
    }
  })
})

describe('13: an error says so, where', () => {
  test('`cwd` is missing or no directory, or the program is not found', async () => {
    await using trial = await scene.start()
    const client = await trial.client({ reconnect: false })
    const file = join(trial.directory, 'lock')
    const refusals = [
      [{ cwd: join(trial.directory, 'nowhere') }, 'SESSION_CWD_INVALID', /nowhere/],
      [{ cwd: file }, 'SESSION_CWD_INVALID', /not a directory/],
      [{ cwd: 'relative' }, 'SESSION_CWD_INVALID', /relative/],
      [{ command: ['no-such-shell'] }, 'SESSION_COMMAND_INVALID', /no-such-shell/],
      [{ command: [file] }, 'SESSION_COMMAND_INVALID', /lock/],
      [{ command: [trial.directory] }, 'SESSION_COMMAND_INVALID', /./],
      [{ size: { columns: 1_000_000_000, rows: 24 } }, 'PARAMETERS_INVALID', /columns/],
      [{ id: '../../escape' }, 'PARAMETERS_INVALID', /id/],
    ] as const
    for (const [params, code, message] of refusals)
      await expect(client.open(params as never)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      })
    expect(await client.list()).toEqual([])
    await client.open({ id: 'twice', command: scene.programs.idle() })
    await expect(client.open({ id: 'twice' })).rejects.toMatchObject({ code: 'SESSION_EXISTS' })
    await expect(client.session('other')).rejects.toMatchObject({ code: 'SESSION_UNKNOWN' })
  })

  test.each([{ keeper: false }, { keeper: true }])(
    'the program turns out to be none (keeper: $keeper); its terminal is given back',
    async ({ keeper }) => {
      await using trial = await scene.start({ keeper })
      const client = await trial.client({ reconnect: false })
      const script = join(trial.directory, 'script')
      await writeFile(script, '#!/no/such/interpreter\n', { mode: 0o700 })
      const daemon = await trial.pid()
      const before = await settled(() => descriptorsOf(daemon))
      for (let attempt = 0; attempt < 5; attempt += 1) {
        const opened = client.open({ command: [script] })
        if (keeper) await expect(opened).rejects.toMatchObject({ code: 'SESSION_COMMAND_INVALID' })
        // Only when it has begun is it known, and its terminal says so.
        else expect(await (await opened).exit).toMatchObject({ code: 1 })
      }
      expect(await settled(() => descriptorsOf(daemon))).toEqual(before)
      await rm(script)
    },
  )

  test.each(['64kb', '0x40', '1e6', '-1', '', '64 '])(
    '`--buffer-bytes=%s` is refused, and not read as another number',
    async (bytes) => {
      await using trial = await scene.start()
      const args = [scene.daemon.main, 'start', '--directory', join(trial.directory, '..', 'other'), '--name', 'other']
      const run = promisify(execFile)(process.execPath, [...args, `--buffer-bytes=${bytes}`])
      await expect(run).rejects.toMatchObject({ stderr: expect.stringMatching(/^USAGE: .*buffer-bytes/) })
      expect(existsSync(join(trial.directory, '..', 'other', 'daemon.sock'))).toBe(false)
    },
  )
})

describe('14: the socket', () => {
  test.each([{ keeper: false }, { keeper: true }])(
    'of a dead daemon is taken over (keeper: $keeper)',
    async ({ keeper }) => {
      await using trial = await scene.start({ keeper })
      const stale = await stat(trial.socket)
      await trial.killAll()
      expect(existsSync(trial.socket)).toBe(true)
      await trial.launch()
      expect((await stat(trial.socket)).ino).not.toBe(stale.ino)
      const shell = new TypedShell(await (await trial.client()).open({ command: ['sh'] }))
      await shell.asks('echo a-$((40 + 2))', 'a-42')
    },
  )

  test.each([{ keeper: false }, { keeper: true }])(
    'of a live daemon is never unlinked (keeper: $keeper)',
    async ({ keeper }) => {
      await using trial = await scene.start({ keeper })
      const client = await trial.client({ reconnect: false })
      const before = await stat(trial.socket)
      for (const second of [
        [...trial.daemonCommand, 'start', ...trial.daemonArguments],
        [
          scene.daemon.keeper,
          '--directory',
          trial.directory,
          '--',
          ...trial.daemonCommand,
          'kept',
          ...trial.daemonArguments,
        ],
      ]) {
        const child = spawn(second[0]!, second.slice(1), { stdio: 'ignore' })
        expect(await new Promise((resolve) => child.on('exit', resolve)), second.join(' ')).not.toBe(0)
        expect((await stat(trial.socket)).ino).toBe(before.ino)
        expect((await client.info()).generation).toBe(1)
      }
      expect((await client.upgrade()).outcome).toBe('handed-over')
      expect((await stat(trial.socket)).ino).toBe(before.ino)
    },
  )
})
