import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFailed, test } from 'vitest'
import { packageVersion } from '../../src/package-info.ts'
import type { DaemonClient } from '../../src/sessions/client.ts'
import { PackedPackage, type VersionChange } from '../support/packed.ts'
import { commandOf, type DaemonProgram, DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { FollowedStream } from '../support/sessions/followed.ts'
import { TerminalProgram } from '../support/sessions/terminal-program.ts'

// Daemons of several versions of this package, each installed from what `npm pack` makes of it.

const formats = (numbers: string) => ({
  file: 'dist/src/sessions/snapshot.js',
  from: 'snapshotFormats = [1]',
  to: `snapshotFormats = [${numbers}]`,
})
/** Reads and writes a newer format beside the one of now. */
const next: VersionChange = { version: '99.1.0', edits: [formats('1, 2')] }
/** Has forgotten the format of now. */
const far: VersionChange = { version: '99.2.0', edits: [formats('2')] }

let folder: string
let programs: TerminalProgram
const installed = new Map<string, DaemonProgram>()
const daemonOf = (version: string) => installed.get(version)!

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'instar-versions-'))
  programs = await TerminalProgram.build()
  await using packed = await PackedPackage.pack()
  for (const change of [undefined, next, far]) {
    const version = change?.version ?? packageVersion
    const place = join(folder, version)
    await packed.install(place, change)
    const dist = join(place, 'node_modules/instar/dist')
    installed.set(version, { main: join(dist, 'daemon.cjs'), keeper: join(dist, 'native/keeper') })
  }
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
  await programs?.[Symbol.asyncDispose]()
})

async function start(version: string, options: { keeper?: boolean } = {}): Promise<DaemonTrial> {
  const trial = await DaemonTrial.start(daemonOf(version), options)
  onTestFailed(async () => console.error(trial.finalLog || (await trial.log())))
  return trial
}

const upgrade = (client: DaemonClient, version: string) => client.upgrade({ command: commandOf(daemonOf(version)) })

/** By which formats daemons were to take over, in order. */
const formatsIn = (log: string) =>
  [...log.matchAll(/version (\S+), is to take over by format (\d+)/g)].map(([, version, format]) => [version, format])

test.each([
  { keeper: false, how: 'without' },
  { keeper: true, how: 'with' },
])(
  'from this version to a newer one, on to itself, and back, $how a keeper: each says its own version, every byte arrives',
  async ({ keeper }) => {
    await using trial = await start(packageVersion, { keeper })
    const client = await trial.client({ reconnect: false })
    const versions = [(await client.info()).version]
    const old = new FollowedStream(await client.open({ command: programs.stream({ rate: 500_000 }) }))
    for (const version of [next.version, next.version, packageVersion]) {
      expect(await upgrade(client, version)).toMatchObject({ outcome: 'handed-over', reason: null })
      versions.push((await client.info()).version)
      const session = await client.open({ command: programs.stream({ bytes: 100_000, code: 7 }) })
      expect(await new FollowedStream(session).ends()).toMatchObject({ code: 7, offset: 100_000 })
      await old.reaches(old.offset + 100_000)
    }
    expect(versions).toEqual([packageVersion, next.version, next.version, packageVersion])
    // The newest that both know: the newer one speaks its own only with itself.
    expect(formatsIn(await trial.log())).toEqual([
      [next.version, '1'],
      [next.version, '2'],
      [packageVersion, '1'],
    ])
    await old.session.close()
    // Without a keeper nobody is left who could know it.
    expect(await old.ends()).toMatchObject(keeper ? { signal: 'SIGHUP', lost: false } : { signal: null, lost: true })
  },
)

test('a successor that reads no format of its predecessor is refused by name, and everything serves on', async () => {
  await using trial = await start(packageVersion, { keeper: true })
  const client = await trial.client({ reconnect: false })
  const stream = new FollowedStream(await client.open({ command: programs.stream({ rate: 500_000 }) }))
  const before = await client.info()
  for (let time = 0; time < 2; time += 1) {
    const { outcome, successor, reason } = await upgrade(client, far.version)
    expect({ outcome, successor, code: reason?.code }).toEqual({
      outcome: 'kept',
      successor: null,
      code: 'SNAPSHOT_UNSUPPORTED',
    })
    expect(reason?.message).toBe('the successor reads the formats 2, this daemon writes 1')
    expect(await client.info()).toMatchObject({ pid: before.pid, generation: before.generation })
    await stream.reaches(stream.offset + 100_000)
  }
  // By way of a version that knows both it gets there.
  for (const { version } of [next, far]) {
    expect(await upgrade(client, version)).toMatchObject({ outcome: 'handed-over' })
    expect(await client.info()).toMatchObject({ version })
    await stream.reaches(stream.offset + 100_000)
  }
})

test('after a crash the daemon that comes back is of the version that served last', async () => {
  await using trial = await start(packageVersion, { keeper: true })
  const client = await trial.client()
  const session = await client.open({ command: programs.idle() })
  expect(await upgrade(client, next.version)).toMatchObject({ outcome: 'handed-over' })
  const dead = await trial.kill()
  const { version, pid } = await client.info()
  expect(version).toBe(next.version)
  expect(pid).not.toBe(dead)
  expect(await client.list()).toMatchObject([{ id: session.id, pid: session.info.pid }])
})
