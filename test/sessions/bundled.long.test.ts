import { existsSync } from 'node:fs'
import { cp, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFailed, onTestFinished, test } from 'vitest'
import pinned from '../../package.json' with { type: 'json' }
import { packageVersion } from '../../src/package-info.ts'
import { connectDaemon } from '../../src/sessions/client.ts'
import { PackedPackage } from '../support/packed.ts'
import { type Bundler, bundlers, HostRelease, packageFolder } from '../support/sessions/bundles.ts'
import { commandOf, DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { FollowedStream } from '../support/sessions/followed.ts'
import { MarkedProcesses, mastersClosedOnExec } from '../support/sessions/processes.ts'
import { TypedShell } from '../support/sessions/scene.ts'
import { TerminalProgram } from '../support/sessions/terminal-program.ts'

// Scenario *Sessions* 16: a host that bundlers make one program of, and that is the program of its daemons too.

const laterVersion = '99.1.0'
const locks = 'fs-native-extensions'

let folder: string
let programs: TerminalProgram
const source = (version: string) => join(folder, 'source', version)

beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'instar-bundled-')))
  programs = await TerminalProgram.build()
  await using packed = await PackedPackage.pack()
  await packed.install(source(packageVersion))
  await packed.install(source(laterVersion), { version: laterVersion })
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
  await programs?.[Symbol.asyncDispose]()
})

let releases = 0
const release = (bundler: Bundler, version: string, outside?: string[]) =>
  HostRelease.make(bundler, source(version), join(folder, `release-${++releases}`), outside)

async function start(host: HostRelease, options: { keeper: boolean }): Promise<DaemonTrial> {
  const trial = await DaemonTrial.start(host.daemon, options)
  onTestFailed(async () => console.error(trial.finalLog || (await trial.log())))
  return trial
}

test.each(Object.keys(bundlers) as Bundler[])(
  '16: a host bundled by %s: its bundle is the predecessor, the successor, and the daemon after a crash',
  async (bundler) => {
    const host = await release(bundler, packageVersion)
    await using trial = await start(host, { keeper: true })
    const client = await trial.client()
    const stream = new FollowedStream(await client.open({ command: programs.stream({ rate: 500_000 }) }))
    const shell = new TypedShell(await client.open({ command: ['sh'], env: { PS1: '$ ' } }))
    expect(await mastersClosedOnExec(await trial.pid())).toEqual([true, true])
    for (let round = 1; round <= 2; round += 1) {
      expect(await client.upgrade()).toMatchObject({ outcome: 'handed-over', reason: null })
      expect((await client.info()).version).toBe(packageVersion)
      await shell.asks(`echo after-$((${round} * 100)) $$`, `after-${round * 100} ${shell.session.info.pid}`)
      await stream.reaches(stream.offset + 100_000)
    }
    await stream.session.close()
    await stream.ends()
    await trial.kill()
    await client.info() // what is typed before the crash has been noticed goes with the dead daemon
    await shell.asks('echo crashed-$((100 * 3)) $$', `crashed-300 ${shell.session.info.pid}`)
    const running = await trial.processes.all()
    expect(running.find(({ command }) => command.includes(` ${host.main} session-daemon kept `))).toBeDefined()
    await shell.session.write(Buffer.from('exit 7\n'))
    expect(await shell.session.exit).toMatchObject({ code: 7 })
    // For which both packages with compiled parts have to be found.
    expect(await trial.log()).not.toContain('without a journal')
  },
)

test('16: a newer release of a host takes over from an older one, made by another bundler, and the older one may go', async () => {
  const older = await release('esbuild, as one module', packageVersion)
  const newer = await release('Vite, for servers', laterVersion)
  const home = await mkdtemp(join(tmpdir(), 'instar-bundled-home-'))
  const processes = new MarkedProcesses()
  onTestFinished(async () => {
    for (const { pid } of await processes.all()) process.kill(pid, 'SIGKILL')
  })
  const directory = join(home, 'sessions/main')
  try {
    const started = await older.tell(home, ['start'], processes.environment)
    expect(started).toMatchObject({ version: packageVersion, keeper: { pid: expect.any(Number) } })
    await using client = await connectDaemon({ path: join(directory, 'daemon.sock') })
    const shell = new TypedShell(await client.open({ command: ['sh'], env: { PS1: '$ ' } }))

    const updated = await newer.tell(home, ['update'], processes.environment)
    expect(updated).toMatchObject({ outcome: 'handed-over', version: laterVersion, sessions: 1 })
    await rm(dirname(older.main), { recursive: true })

    expect(await client.info()).toMatchObject({ version: laterVersion })
    await shell.asks('echo still-$((100 * 2)) $$', `still-200 ${shell.session.info.pid}`)
    const opened = new FollowedStream(await client.open({ command: programs.stream({ bytes: 100_000, code: 9 }) }))
    expect(await opened.ends()).toMatchObject({ code: 9, offset: 100_000 })
    const { pid } = await client.info()
    process.kill(pid, 'SIGKILL')
    await eventually(async () => (await client.info()).pid !== pid, 'another daemon')
    await shell.asks('echo crashed-$((100 * 3)) $$', `crashed-300 ${shell.session.info.pid}`)
    expect(await client.info()).toMatchObject({ version: laterVersion })
  } finally {
    await newer.tell(home, ['stop'], processes.environment)
    await eventually(async () => (await processes.all()).length === 0, 'the end of every process')
    expect(existsSync(join(directory, 'daemon.sock'))).toBe(false)
    await rm(home, { recursive: true })
  }
})

test('a bundle that does not say what its daemon is gets an error that says how', async () => {
  const host = await release('esbuild, as one module', packageVersion)
  const home = await mkdtemp(join(tmpdir(), 'instar-bundled-home-'))
  try {
    expect(await host.tell(home, ['start', 'careless'], {})).toMatchObject({
      code: 'DAEMON_SPAWN_FAILED',
      hint: expect.stringContaining('sessions.command'),
    })
  } finally {
    await rm(home, { recursive: true })
  }
})

const unusable: Record<string, { make(host: HostRelease): Promise<void>; says: string }> = {
  missing: { make: async () => {}, says: "Cannot find module 'node-pty/package.json'" },
  'of another version': {
    make: async (host) => {
      const manifest = JSON.stringify({ name: 'node-pty', version: '1.1.0' })
      await writeFile(join(await host.place('node-pty'), 'package.json'), manifest)
    },
    says: 'version 1.1.0 is not one of 1.2',
  },
  broken: {
    make: async (host) => {
      const place = await host.place('node-pty')
      await cp(join(packageFolder('node-pty'), 'lib'), join(place, 'lib'), { recursive: true })
      await cp(join(packageFolder('node-pty'), 'package.json'), join(place, 'package.json'))
      await cp(join(packageFolder('node-pty'), 'README.md'), join(place, 'build/Release/pty.node'))
    },
    says: 'Failed to load native module: pty.node',
  },
}

test.each(Object.keys(unusable))(
  'with a node-pty that is %s the daemon serves what it has; opening says what to install, and is possible after the next update',
  async (how) => {
    const whole = await release('esbuild, as one module', packageVersion)
    const lacking = await release('esbuild, as one module', packageVersion, [locks])
    await unusable[how]!.make(lacking)
    await using trial = await start(whole, { keeper: true })
    const client = await trial.client({ reconnect: false })
    const shell = new TypedShell(await client.open({ command: ['sh'], env: { PS1: '$ ' } }))
    expect(await client.upgrade({ command: commandOf(lacking.daemon) })).toMatchObject({ outcome: 'handed-over' })
    for (let time = 1; time <= 2; time += 1) {
      await expect(client.open({ id: 'again', command: ['sh'] })).rejects.toMatchObject({
        code: 'PTY_UNAVAILABLE',
        message: expect.stringContaining(unusable[how]!.says),
        hint: expect.stringContaining(`npm install node-pty@${pinned.optionalDependencies['node-pty']}`),
      })
      await expect(shell.session.resize({ columns: 90, rows: 20 })).rejects.toMatchObject({ code: 'PTY_UNAVAILABLE' })
      await shell.asks(`echo still-$((${time} * 100)) $$`, `still-${time * 100} ${shell.session.info.pid}`)
    }
    const place = join(dirname(lacking.main), 'node_modules/node-pty')
    await rm(place, { recursive: true, force: true })
    await symlink(packageFolder('node-pty'), place)
    expect(await client.upgrade()).toMatchObject({ outcome: 'handed-over' })
    const opened = new FollowedStream(
      await client.open({ id: 'again', command: programs.stream({ bytes: 1000, code: 4 }) }),
    )
    expect(await opened.ends()).toMatchObject({ code: 4, offset: 1000 })
    await shell.session.write(Buffer.from('exit 7\n'))
    expect(await shell.session.exit).toMatchObject({ code: 7 })
  },
)

test('without the package for its locks a daemon that nobody keeps does not start, and says what to install', async () => {
  const lacking = await release('esbuild, as one module', packageVersion, ['node-pty'])
  const started = start(lacking, { keeper: false })
  const error: Error = await started.catch((error) => error)
  expect(error.message).toContain("code: 'NATIVE_UNLOADABLE'")
  expect(error.message).toContain(`npm install ${locks}@${pinned.dependencies[locks]}`)
})
