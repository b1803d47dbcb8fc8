import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { serveControl } from '../../src/control/serve.ts'
import { FakeController, staged } from '../support/fake-controller.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { Host, server } from '../support/host.ts'
import { linesOf, run, type Started, start, temporary } from '../support/instar.ts'

// The command line with a controller: the one that runs, or one of its own. Real processes, a registry on loopback.

const on = (host: Host, ...args: string[]): Started =>
  start(['--home', host.home, '--config', host.configFile, ...args], { cwd: host.directory })

const answers = (url: string) =>
  fetch(url).then(
    (response) => response.ok,
    () => false,
  )

async function upJson(host: Host): Promise<{ up: Started; events: () => any[] }> {
  const up = on(host, 'up', '--json')
  await up.says('"event":"launched"')
  return { up, events: () => linesOf(up.said.stdout.slice(0, up.said.stdout.lastIndexOf('\n') + 1)) }
}

test('up checks and launches every runtime, is reached by other commands, and stops all of it at SIGTERM', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  const { up, events } = await upJson(host)
  const launched = events().find(({ event }) => event === 'launched')
  expect(events().find(({ event }) => event === 'checked')).toMatchObject({
    runtime: 'tool',
    outcome: 'staged',
    version: '1.1.0',
  })
  expect(launched).toMatchObject({ type: 'progress', runtime: 'tool', version: '1.1.0', arm: 'current' })
  expect(await answers(launched.url)).toBe(true)

  const status = await on(host, 'status', '--json').ended
  expect(status).toMatchObject({ code: 0, stderr: '' })
  expect(JSON.parse(status.stdout)).toMatchObject({
    schema: 1,
    home: host.home,
    controller: { pid: up.child.pid },
    runtimes: [{ name: 'tool', running: { version: '1.1.0', pid: launched.pid } }],
  })
  const second = await on(host, 'up', '--json').ended
  expect(second).toMatchObject({ code: 1, stdout: '' })
  expect(linesOf(second.stderr)).toMatchObject([
    { type: 'error', code: 'HOME_LOCKED', details: { holder: { pid: up.child.pid } } },
  ])

  up.child.kill('SIGTERM')
  const { code, stdout } = await up.ended
  expect(code).toBe(0)
  expect(linesOf(stdout).at(-1)).toEqual({ type: 'result', schema: 1, outcome: 'stopped' })
  expect(await answers(launched.url)).toBe(false)
  expect(existsSync(join(host.home, 'control.sock'))).toBe(false)
  expect(await host.residue()).toEqual([])
})

test('up says for a person what it did, and Ctrl-C ends it with 130 and everything it started', async () => {
  await using host = await Host.make()
  host.registry.misbehave('packument', 'status')
  const up = on(host, 'up')
  await up.says('tool: runs 1.0.0 (bundled), pid')
  expect(up.said.stdout).toMatch(
    /^home .*\ncontroller pid \d+\nconfiguration .*\naddress http:.*\nconsole http:.*#token=.*\ntool: check-failed.*\ntool: runs 1\.0\.0 \(bundled\), pid \d+, http:.*\n$/,
  )
  const url = up.said.stdout.match(/(?<=pid \d+, )http:\S+/)![0]
  up.child.kill('SIGINT')
  expect((await up.ended).code).toBe(130)
  expect(await answers(url)).toBe(false)
})

// Only there can calls of libc be replaced from outside.
test.runIf(process.platform === 'linux')(
  'a journal that fails ends up, with its code, for whoever started it',
  async () => {
    await using disk = await FaultyDisk.build()
    await using host = await Host.make()
    host.publish('1.1.0')
    const fault = { calls: 'write', path: '/home/journal', at: 8, error: 'EIO' } as const
    const env = disk.environment(fault, join(host.directory, 'log'))
    const up = start(['--home', host.home, '--config', host.configFile, 'up', '--json'], { cwd: host.directory, env })
    const { code, stdout, stderr } = await up.ended
    expect(code).toBe(1)
    // Whether the check has been told by then is a matter of which records were flushed together.
    expect(linesOf(stdout)[0]).toMatchObject({ event: 'up' })
    expect(linesOf(stderr).at(-1)).toMatchObject({ type: 'error', code: 'JOURNAL_WRITE_FAILED' })
    expect(existsSync(join(host.home, 'control.sock'))).toBe(false)
    expect(await on(host, 'journal', 'verify').ended).toMatchObject({ code: 0 })
  },
)

test('two checks at once, with no controller there, are one fetch with one answer', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  const gate = host.registry.hold('tarball')
  const first = on(host, 'runtime', 'check', 'tool', '--json')
  await gate.reached
  const second = on(host, 'runtime', 'check', 'tool', '--json')
  await host.isAsked()
  gate.release()
  for (const { code, stdout } of [await first.ended, await second.ended]) {
    expect(code).toBe(0)
    expect(linesOf(stdout).at(-1)).toEqual({
      type: 'result',
      schema: 1,
      runtime: 'tool',
      outcome: 'staged',
      version: '1.1.0',
      from: '1.0.0',
    })
  }
  expect(host.registry.requests.filter(({ kind }) => kind === 'tarball')).toHaveLength(1)
  expect(await host.residue()).toEqual([])
})

test('a check shows bytes and rate while it fetches, to a program line by line, to a pipe phase by phase', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  const { stdout } = await on(host, 'runtime', 'check', 'tool', '--json').ended
  const shown = linesOf(stdout).filter(({ type }) => type === 'progress')
  const amounts = { bytes: expect.any(Number), total: expect.any(Number), bytesPerSecond: expect.any(Number) }
  expect(shown.find(({ phase }) => phase === 'fetching')).toEqual({
    type: 'progress',
    phase: 'fetching',
    version: '1.1.0',
    ...amounts,
  })
  host.publish('1.2.0')
  const { stderr } = await on(host, 'runtime', 'check', 'tool').ended
  expect(stderr).toBe('tool: fetching\ntool: verifying\ntool: sealing\ntool: qualifying\n')
})

test('Ctrl-C during a check ends it with 130 and leaves nothing of it', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  const gate = host.registry.hold('tarball')
  const check = on(host, 'runtime', 'check', 'tool', '--json')
  await gate.reached
  check.child.kill('SIGINT')
  const { code, stdout, stderr } = await check.ended
  gate.release()
  expect(code).toBe(130)
  expect(linesOf(stdout).filter(({ type }) => type === 'result')).toEqual([])
  expect(linesOf(stderr)).toMatchObject([{ type: 'error', code: 'ABORTED' }])
  expect(await host.residue()).toEqual([])
  expect(await host.releaseFolders()).toEqual([])
})

test('a check that keeps the old version exits with 5, one that learned nothing with 1', async () => {
  await using host = await Host.make()
  host.publish('1.1.0', 'process.exit(3)')
  const rejected = await on(host, 'runtime', 'check', 'tool').ended
  expect(rejected.code).toBe(5)
  expect(rejected.stdout).toMatch(/^tool: rejected 1\.1\.0 \(in use: 1\.0\.0\): .*\[RUNTIME_EXITED\]\n$/)
  const status = async (...more: string[]) => (await on(host, 'runtime', 'status', 'tool', ...more).ended).stdout
  expect(await status()).toMatch(/last check +\d{4}-\d\d-\d\dT\S+ rejected 1\.1\.0 .*ended/)
  await host.registry[Symbol.asyncDispose]()
  const failed = await on(host, 'runtime', 'check', 'tool', '--json').ended
  expect(failed.code).toBe(1)
  expect(linesOf(failed.stdout).at(-1)).toMatchObject({ outcome: 'check-failed' })
  expect(JSON.parse(await status('--json')).runtime.lastCheck).toEqual({
    at: expect.stringMatching(/^\d{4}-.*Z$/),
    outcome: 'check-failed',
    version: null,
    reason: expect.any(String),
  })
})

test('what launch starts goes on when the command has ended, and stop ends it', async () => {
  await using host = await Host.make()
  const launched = linesOf((await on(host, 'runtime', 'launch', 'tool', '--json', '--', '--extra').ended).stdout).at(-1)
  expect(launched).toMatchObject({ type: 'result', runtime: 'tool', version: '1.0.0', arm: 'bundled' })
  expect(await answers(launched.url)).toBe(true)
  const { stdout } = await on(host, 'runtime', 'status', 'tool', '--json').ended
  expect(JSON.parse(stdout).runtime.running).toMatchObject({ pid: launched.pid })
  expect(await on(host, 'runtime', 'stop', 'tool').ended).toMatchObject({
    code: 0,
    stdout: `tool: ended 1.0.0, pid ${launched.pid}\n`,
  })
  expect(await answers(launched.url)).toBe(false)
})

test('a launch that ends on the fallback says instead of what, and exits with 5', async () => {
  await using host = await Host.make()
  host.publish('1.1.0', server('1.1.0', 'if (!process.env.INSTAR_QUALIFYING) process.exit(1)'))
  await on(host, 'runtime', 'check', 'tool').ended
  const { code, stdout } = await on(host, 'runtime', 'launch', 'tool', '--json').ended
  expect(code).toBe(5)
  expect(linesOf(stdout).at(-1)).toMatchObject({ version: '1.0.0', arm: 'bundled', insteadOf: '1.1.0' })
  await on(host, 'runtime', 'stop', 'tool').ended
  const told = await on(host, 'runtime', 'launch', 'tool').ended
  expect(told).toMatchObject({ code: 5, stdout: expect.stringMatching(/runs 1\.0\.0 \(bundled\) instead of 1\.1\.0/) })
  await on(host, 'runtime', 'stop', 'tool').ended
  // Banned by now, so it is no longer the first choice.
  expect(await on(host, 'runtime', 'launch', 'tool').ended).toMatchObject({ code: 0 })
  await on(host, 'runtime', 'stop', 'tool').ended
})

test('what is listed as the next launch leaves out what is banned, with a controller and without', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  await on(host, 'runtime', 'check', 'tool').ended
  await on(host, 'runtime', 'ban', 'tool', '1.1.0').ended
  for (const command of [['runtime', 'list'], ['status']]) {
    const { stdout } = await on(host, ...command).ended
    expect(stdout).toMatch(/^NAME +PACKAGE +NEXT LAUNCH/m)
    expect(stdout).toMatch(/^tool +tool +1\.0\.0 +1\.0\.0 /m)
  }
  expect((await on(host, 'runtime', 'status', 'tool').ended).stdout).toMatch(/next launch +1\.0\.0\n/)
})

test('bans, rollbacks and prunes are done by hand', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  await on(host, 'runtime', 'check', 'tool').ended
  expect(await on(host, 'runtime', 'rollback', 'tool').ended).toMatchObject({ code: 0 })
  expect(await on(host, 'runtime', 'rollback', 'tool').ended).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('[NOTHING_TO_ROLL_BACK]'),
  })
  expect(await on(host, 'runtime', 'unban', 'tool', '1.1.0').ended).toMatchObject({ code: 0 })
  expect(await on(host, 'runtime', 'ban', 'tool', '1.2.0', '--reason', 'it bites').ended).toMatchObject({ code: 0 })
  expect(await on(host, 'runtime', 'ban', 'tool', 'v1').ended).toMatchObject({ code: 2 })
  expect(await on(host, 'runtime', 'prune', 'tool').ended).toMatchObject({ code: 0 })
  const { stdout } = await on(host, 'runtime', 'status', 'tool').ended
  expect(stdout).toMatch(/^banned +1\.2\.0 \(it bites\)$/m)
  expect(stdout).not.toContain('banned      1.1.0')
  expect(await on(host, 'runtime', 'check', 'tol').ended).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('did you mean "tool"?'),
  })
})

test('the journal is read, followed through controllers that come and go, shown and exported', async () => {
  await using host = await Host.make()
  await on(host, 'runtime', 'check', 'tool').ended
  const tail = on(host, 'journal', 'tail', '-f', '--from', '1', '--json')
  await tail.says('"seq":1,')
  const { up } = await upJson(host)
  await tail.says('runtime-launch')
  up.child.kill('SIGTERM')
  await up.ended
  await on(host, 'runtime', 'ban', 'tool', '9.9.9').ended
  await tail.says('runtime-adjust')
  tail.child.kill('SIGINT')
  const { code, stdout } = await tail.ended
  expect(code).toBe(130)
  const seqs = linesOf(stdout).map(({ seq }) => seq)
  expect(seqs).toEqual(seqs.map((_, index) => index + 1))

  const exported = linesOf((await on(host, 'journal', 'export').ended).stdout)
  expect(exported.slice(0, seqs.length).map(({ seq }) => seq)).toEqual(seqs)
  const { runs } = JSON.parse((await on(host, 'journal', 'runs', '--json').ended).stdout)
  const launch = runs.find(({ machine }: { machine: string }) => machine.startsWith('runtime-launch@'))
  const now = JSON.parse((await on(host, 'journal', 'show', launch.run, '--json').ended).stdout)
  expect(now).toMatchObject({ schema: 1, run: { status: 'done' } })
  const then = await on(host, 'journal', 'show', launch.run, '--at', String(launch.startedSeq), '--json').ended
  expect(JSON.parse(then.stdout)).toMatchObject({ run: { status: 'active' } })
  expect(await on(host, 'journal', 'show', 'runtime-launch-999').ended).toMatchObject({ code: 2 })
  const never = await on(host, 'journal', 'show', launch.run, '--at', '999999', '--json').ended
  expect(never).toMatchObject({ code: 2, stdout: '' })
  expect(linesOf(never.stderr)).toMatchObject([{ type: 'error', code: 'SEQUENCE_UNKNOWN' }])
  expect(await on(host, 'journal', 'verify').ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/sound/) })
  expect(await on(host, 'journal', 'repair').ended).toMatchObject({ code: 0 })
  expect(await readdir(join(host.home, 'journal'))).not.toHaveLength(0)
})

test.each([
  ['REGISTRY_TIMEOUT', 6],
  ['REGISTRY_UNREACHABLE', 1],
])('a check that %s kept from learning anything ends with %d', async (code, expected) => {
  const home = await temporary()
  const controller = new FakeController(home)
  controller.check = async () => ({ ...staged, outcome: 'check-failed', version: null, code, reason: 'so it was' })
  await using _ = await serveControl(controller)
  const { code: ended, stdout } = await run(['--home', home, 'runtime', 'check', 'tool', '--json'])
  expect(JSON.parse(stdout)).toMatchObject({ type: 'result', outcome: 'check-failed', code })
  expect(ended).toBe(expected)
})
