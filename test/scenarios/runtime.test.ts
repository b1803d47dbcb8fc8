import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { Candidate } from '../../machines/index.ts'
import { parseConfig } from '../../src/config.ts'
import type { Controller } from '../../src/controller.ts'
import type { ManagedRuntime, Running } from '../../src/managed-runtime.ts'
import { cli, dist, Host, server } from '../support/host.ts'

// The scenarios *Runtime*, by number. Real controllers, real processes, a real registry on loopback.

const types = (controller: Controller) => controller.notices().map(({ type }) => type)

/** Dies at a launch, not in the trial before it. */
const diesAtLaunch = `if (!process.env.INSTAR_QUALIFYING) { console.error('it fell over'); process.exit(1) }`

async function launchAndStop(tool: ManagedRuntime): Promise<{ version: string; arm: string }> {
  const { version, arm, stop } = await tool.launch()
  await stop()
  return { version, arm }
}

async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let waitedMs = 0; !(await holds()); waitedMs += 20) {
    if (waitedMs > 20_000) throw new Error('it did not happen within 20 s')
    await sleep(20)
  }
}

test('1: a newer version is staged, the next launch uses it, and nothing else is left', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  const controller = await host.open()
  const tool = controller.runtime('tool')
  const progress: { phase?: string; bytes?: number; bytesPerSecond?: number }[] = []
  const onProgress = (seen: unknown) => progress.push(seen as object)

  expect(await tool.check({ onProgress })).toEqual({
    runtime: 'tool',
    outcome: 'staged',
    version: '1.1.0',
    from: '1.0.0',
  })
  expect(await host.residue()).toEqual([])
  expect(await host.releaseFolders()).toHaveLength(1)
  const running = await tool.launch()
  expect(running).toMatchObject({ version: '1.1.0', arm: 'current' })
  expect(await (await fetch(running.url!)).text()).toContain('tool 1.1.0')
  await running.stop()
  expect(await host.residue()).toEqual([])
  expect(progress.find(({ bytes }) => bytes! > 0)).toMatchObject({
    phase: 'fetching',
    bytesPerSecond: expect.any(Number),
  })
  expect(progress.map(({ phase }) => phase)).toEqual(expect.arrayContaining(['verifying', 'sealing', 'qualifying']))
})

test('2: a pointer that the upgraded host has overtaken is removed, and checks compare with what is bundled', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  const before = await host.open()
  await before.runtime('tool').check()
  await before.close()

  await host.bundle('1.1.0')
  await host.bundle('2.0.0')
  for (const version of ['1.1.0', '2.0.0']) {
    await using controller = await host.open({ config: host.config({}, version) })
    const tool = controller.runtime('tool')
    expect(await launchAndStop(tool)).toEqual({ version, arm: 'bundled' })
    expect((await tool.status()).current).toBeNull()
  }
  await using controller = await host.open({ config: host.config({}, '2.0.0') })
  expect(await controller.runtime('tool').check()).toMatchObject({
    outcome: 'up-to-date',
    version: '1.1.0',
    from: '2.0.0',
  })
  host.publish('2.0.1')
  expect(await controller.runtime('tool').check()).toMatchObject({ outcome: 'staged', version: '2.0.1' })
})

describe('3: a pointer that is not canonical is never executed, is repaired and reported', () => {
  type State = { pointer: { current: { version: string; path: string; digest: string } } }
  const damages: Record<string, (state: State, host: Host) => unknown> = {
    'no JSON': () => '{"pointer": {',
    'a relative path': ({ pointer }) => {
      pointer.current.path = 'releases/runtime/tool'
    },
    'a path outside the store': ({ pointer }, host) => {
      pointer.current.path = join(host.directory, 'elsewhere')
    },
    'a version with a v': ({ pointer }) => {
      pointer.current.version = 'v1.1.0'
    },
    'a version with blanks': ({ pointer }) => {
      pointer.current.version = ' 1.1.0'
    },
    'another digest': ({ pointer }) => {
      pointer.current.digest = 'f'.repeat(64)
    },
  }
  test.each(Object.entries(damages))('%s', async (_, damage) => {
    await using host = await Host.make()
    host.publish('1.1.0')
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    await tool.check()
    // What the damaged pointer would run, were it believed.
    await mkdir(join(host.directory, 'elsewhere', 'content'), { recursive: true })
    await writeFile(join(host.directory, 'elsewhere', 'content', 'main.mjs'), server('evil'))
    const state = JSON.parse(await readFile(host.stateFile, 'utf8'))
    await writeFile(host.stateFile, (damage(state, host) as string) ?? JSON.stringify(state))

    const { version } = await launchAndStop(tool)
    expect(version).toBe('1.0.0')
    expect(types(controller)).toContain('runtime.pointerRepaired')
    const { current, problems } = await tool.status()
    expect(current).toBeNull()
    expect(problems.length).toBeGreaterThan(0)
    expect(await tool.check()).toMatchObject({ outcome: 'staged', version: '1.1.0' })
  })

  test('through a symlink', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    await tool.check()
    const [folder] = await host.releaseFolders()
    await mkdir(join(host.directory, 'elsewhere'))
    execFileSync('mv', [join(host.releases, folder!), join(host.directory, 'elsewhere', folder!)])
    await symlink(join(host.directory, 'elsewhere', folder!), join(host.releases, folder!))
    expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
    expect(types(controller)).toContain('runtime.pointerRepaired')
  })
})

test('4: a staged version that exits before it is ready is struck, then banned; each launch ends on the fallback', async () => {
  await using host = await Host.make()
  host.publish('1.1.0', server('1.1.0', diesAtLaunch))
  await using controller = await host.open()
  const tool = controller.runtime('tool')
  await tool.check()

  expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
  expect(controller.notices().find(({ type }) => type === 'runtime.startFailed')).toMatchObject({
    version: '1.1.0',
    failure: { code: 'RUNTIME_EXITED', message: expect.stringContaining('it fell over') },
  })
  expect((await tool.status()).bans).toEqual([])
  expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
  const { bans, current } = await tool.status()
  expect(bans).toMatchObject([{ version: '1.1.0' }])
  expect(current).toBeNull()
  expect(await tool.check()).toMatchObject({ outcome: 'bad-version', version: '1.1.0' })
  await tool.unban('1.1.0')
  expect((await tool.status()).bans).toEqual([])
})

test('5: a failure that arrives after a newer version was staged bans only the one that failed', async () => {
  await using host = await Host.make({ runtime: { probationMs: 60_000, policy: { strikes: 1 } } })
  const trigger = join(host.directory, 'die')
  host.publish(
    '1.1.0',
    server(
      '1.1.0',
      `import { existsSync } from 'node:fs'; setInterval(() => existsSync(${JSON.stringify(trigger)}) && process.exit(1), 20)`,
    ),
  )
  await using controller = await host.open()
  const tool = controller.runtime('tool')
  await tool.check()
  const { version } = await tool.launch()
  expect(version).toBe('1.1.0')
  host.publish('1.2.0')
  expect(await tool.check()).toMatchObject({ outcome: 'staged', version: '1.2.0' })

  await writeFile(trigger, '')
  await eventually(() => types(controller).includes('runtime.banned'))
  const { bans, current } = await tool.status()
  expect(bans.map(({ version }) => version)).toEqual(['1.1.0'])
  expect(current?.version).toBe('1.2.0')
})

test('6: a ban that cannot be written does not keep the launch from its fallback, and is written as soon as it can be', async () => {
  await using host = await Host.make({ runtime: { policy: { strikes: 1 } } })
  host.publish('1.1.0', server('1.1.0', diesAtLaunch))
  await using controller = await host.open()
  const tool = controller.runtime('tool')
  await tool.check()
  const writable = await readOnly(join(host.home, 'state', 'runtime'))
  let running: Running
  try {
    // Never written, it is struck anew by the next launch.
    expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
    expect((await tool.status()).bans).toEqual([])
    running = await tool.launch()
    expect(running).toMatchObject({ version: '1.0.0', arm: 'bundled', insteadOf: '1.1.0' })
  } finally {
    await writable()
  }
  // While the fallback stays up it is tried every half minute (see the kill matrix, where time is faster); else at the end.
  await running.stop()
  const { bans, current } = await tool.status()
  expect(bans).toMatchObject([{ version: '1.1.0' }])
  expect(current).toBeNull()
  expect(controller.notices().findLast(({ type }) => type === 'runtime.banned')).toMatchObject({ version: '1.1.0' })
  expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
})

describe('7: a registry that fails changes nothing and is never reported as up to date', () => {
  test.each([
    ['disconnect', 'REGISTRY_UNREACHABLE'],
    ['status', 'REGISTRY_STATUS'],
    ['invalid-json', 'REGISTRY_ANSWER_INVALID'],
    ['endless', 'REGISTRY_ANSWER_TOO_LARGE'],
    ['reset', 'REGISTRY_UNREACHABLE'],
    ['stall', 'REGISTRY_TOO_SLOW'],
  ] as const)('%s', async (fault, code) => {
    await using host = await Host.make()
    host.publish('1.1.0')
    await using controller = await host.open()
    const end = host.registry.misbehave('packument', fault)
    expect(await controller.runtime('tool').check()).toMatchObject({ outcome: 'check-failed', code, version: null })
    expect(await host.releaseFolders()).toEqual([])
    end()
    expect(await controller.runtime('tool').check()).toMatchObject({ outcome: 'staged' })
  })

  test('garbage for a version', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    host.registry.tamper('tool', '1.1.0', 'garbage-version')
    await using controller = await host.open()
    expect(await controller.runtime('tool').check()).toMatchObject({
      outcome: 'check-failed',
      code: 'REGISTRY_ANSWER_INVALID',
    })
  })

  test('a tarball that breaks off leaves nothing behind', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    host.registry.misbehave('tarball', 'reset')
    await using controller = await host.open()
    expect(await controller.runtime('tool').check()).toMatchObject({ outcome: 'check-failed', version: '1.1.0' })
    expect(await host.residue()).toEqual([])
    expect(await host.releaseFolders()).toEqual([])
  })

  /** A host that opens the home, does `more`, and then lives for as long as its stdin is open, if nothing else keeps it. */
  function hostProcess(host: Host, more = '') {
    const script = `
      import { openController } from ${JSON.stringify(join(dist, 'src/index.js'))}
      const controller = await openController({ home: ${JSON.stringify(host.home)}, config: ${JSON.stringify(host.configFile)} })
      process.stdin.resume()
      ${more}`
    return spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  }

  test('the timers go on, and do not keep the process from exiting', async () => {
    await using host = await Host.make({ runtime: { check: { firstAfterMs: 0, everyMs: 1000 } } })
    host.publish('1.1.0')
    host.registry.misbehave('packument', 'disconnect')
    // It never closes the controller, and ends because nothing but its timers is left.
    const process_ = hostProcess(host)
    await eventually(() => host.registry.requestsFor('packument').length > 1)
    process_.stdin.end()
    expect(await once(process_, 'exit')).toEqual([0, null])
  })

  // The limit is below the 30 s after which the question itself is given up.
  const hangs = { timeout: 20_000 }
  test.each(['packument', 'tarball'] as const)('one that hangs at the %s keeps no process', hangs, async (kind) => {
    await using host = await Host.make({ runtime: { check: { firstAfterMs: 0 } } })
    host.publish('1.1.0')
    const gate = host.registry.hold(kind)
    const process_ = hostProcess(host)
    await gate.reached
    process_.stdin.end()
    expect(await once(process_, 'exit')).toEqual([0, null])
    gate.release()
  })

  test('a check that somebody waits for keeps the process until it is answered', async () => {
    await using host = await Host.make({ runtime: { check: { firstAfterMs: 86_400_000 } } })
    host.publish('1.1.0')
    const gate = host.registry.hold('packument')
    const process_ = hostProcess(host, `console.log((await controller.runtime('tool').check()).outcome)`)
    const ended = once(process_, 'exit')
    let said = ''
    process_.stdout.on('data', (text) => {
      said += text
    })
    process_.stdin.end()
    await gate.reached
    await sleep(300)
    gate.release()
    expect(await ended).toEqual([0, null])
    expect(said).toBe('staged\n')
  })
})

test('what a schedule was refused is downloaded less and less often', async () => {
  await using host = await Host.make({ runtime: { entry: 'gone.mjs', check: { firstAfterMs: 0, everyMs: 1000 } } })
  host.publish('1.1.0')
  await using controller = await host.open({ schedule: true })
  const tool = controller.runtime('tool')
  await eventually(async () => ((await tool.status()).nextCheckInMs ?? 0) > 1300)
  const { lastCheck, bans } = await tool.status()
  expect(lastCheck).toMatchObject({
    outcome: 'rejected',
    version: '1.1.0',
    reason: expect.stringContaining('gone.mjs'),
  })
  expect(bans).toEqual([])
})

describe('8: what cannot run is rejected before it is activated, and the old pointer stays', () => {
  const broken: Record<string, [string, object, Record<string, string>]> = {
    'without its entry file': ['ENTRY_MISSING', { entry: 'gone.mjs' }, {}],
    'with a native module that does not load': [
      'NATIVE_UNLOADABLE',
      {},
      { 'build/Release/addon.node': 'not a library' },
    ],
    'with a provided package that is missing': ['PROVIDED_MISSING', { provide: { pty: '/nonexistent/pty' } }, {}],
  }
  test.each(Object.entries(broken))('%s', async (_, [code, runtime, files]) => {
    await using host = await Host.make()
    host.publish('1.1.0')
    const before = await host.open()
    await before.runtime('tool').check()
    await before.close()
    const folders = await host.releaseFolders()

    host.publish('1.2.0', undefined, { files })
    await using controller = await host.open({ config: host.config(runtime) })
    const tool = controller.runtime('tool')
    const { outcome, reason, ...rest } = await tool.check()
    expect(rest).toMatchObject({ version: '1.2.0', code })
    // A package that this host lacks says nothing of the version.
    expect(outcome).toBe(code === 'PROVIDED_MISSING' ? 'check-failed' : 'rejected')
    expect(reason).toBeTruthy()
    expect((await tool.status()).current?.version).toBe('1.1.0')
    expect(await host.releaseFolders()).toEqual(folders)
    expect(await host.residue()).toEqual([])
  })

  test('with a provided package outside the range that it declares', async () => {
    await using host = await Host.make()
    const pty = join(host.directory, 'pty')
    await mkdir(pty)
    await writeFile(join(pty, 'package.json'), JSON.stringify({ name: 'pty', version: '1.0.0', main: 'index.js' }))
    await writeFile(join(pty, 'index.js'), '')
    host.publish('1.1.0', undefined, { dependencies: { pty: '^2.0.0' } })
    await using controller = await host.open({ config: host.config({ provide: { pty } }) })
    expect(await controller.runtime('tool').check()).toMatchObject({
      outcome: 'rejected',
      code: 'PROVIDED_OUT_OF_RANGE',
      reason: expect.stringMatching(/pty \^2\.0\.0.*1\.0\.0/),
    })
    expect(await host.releaseFolders()).toEqual([])
  })
})

describe('9: two checks at once fetch once, and both get the answer', () => {
  test('in one process', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    const answers = await Promise.all([tool.check(), tool.check()])
    expect(answers.map(({ outcome }) => outcome)).toEqual(['staged', 'staged'])
    expect(host.registry.requestsFor('tarball')).toHaveLength(1)
  })

  test('in two processes', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    const gate = host.registry.hold('tarball')
    const both = [host.instar('--json', 'runtime', 'check', 'tool')]
    await gate.reached
    both.push(host.instar('--json', 'runtime', 'check', 'tool'))
    await host.isAsked() // one that came later would say "already-staged"
    gate.release()
    for (const { code, stdout } of await Promise.all(both)) {
      expect(code).toBe(0)
      expect(JSON.parse(stdout.trim().split('\n').at(-1)!)).toMatchObject({ type: 'result', outcome: 'staged' })
    }
    expect(host.registry.requestsFor('tarball')).toHaveLength(1)
  })

  test('one of two who gives up does not end it for the other', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    const gate = host.registry.hold('tarball')
    const impatient = new AbortController()
    const both = [tool.check({ signal: impatient.signal }), tool.check()] as const
    await gate.reached
    impatient.abort()
    await expect(both[0]).rejects.toMatchObject({ code: 'ABORTED' })
    gate.release()
    expect(await both[1]).toMatchObject({ outcome: 'staged' })
  })

  test('when the last one gives up, what was begun is undone', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    await using controller = await host.open()
    const gate = host.registry.hold('tarball')
    const impatient = new AbortController()
    const check = controller.runtime('tool').check({ signal: impatient.signal })
    await gate.reached
    impatient.abort()
    await expect(check).rejects.toMatchObject({ code: 'ABORTED' })
    expect(await host.residue()).toEqual([])
    expect(controller.state().runs).toEqual([])
    gate.release()
  })
})

test('10: a staged version that was altered or lost a file is fetched again', async () => {
  await using host = await Host.make()
  host.publish('1.1.0', undefined, { files: { 'lib/part.mjs': 'export {}' } })
  await using controller = await host.open()
  const tool = controller.runtime('tool')
  await tool.check()
  expect(await tool.check()).toMatchObject({ outcome: 'already-staged' })
  const [folder] = await host.releaseFolders()
  const content = join(host.releases, folder!, 'content')

  for (const damage of [
    () => rm(join(content, 'main.mjs')),
    () => writeFile(join(content, 'lib', 'part.mjs'), 'evil()'),
  ]) {
    await damage()
    expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
    expect(await tool.check()).toMatchObject({ outcome: 'staged', version: '1.1.0' })
    expect(await launchAndStop(tool)).toEqual({ version: '1.1.0', arm: 'current' })
  }
  expect((await tool.status()).bans).toEqual([])
})

test('12: a second instance that starts while the first one fetches leaves its staging directory alone', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  await using controller = await host.open()
  const gate = host.registry.hold('tarball')
  const check = controller.runtime('tool').check()
  await gate.reached
  const staging = await host.residue()
  expect(staging.length).toBeGreaterThan(0)

  const second = await host.instar('up')
  expect(second.code).toBe(1)
  expect(second.stderr).toContain(`process ${process.pid}`)
  expect(await host.residue()).toEqual(staging)
  gate.release()
  expect(await check).toMatchObject({ outcome: 'staged' })
})

test('13: in development there are no timers and no fetching, and the bundled version is what runs', async () => {
  await using host = await Host.make({ runtime: { check: { firstAfterMs: 0, everyMs: 1000 } } })
  host.publish('1.1.0')
  const before = await host.open()
  await before.runtime('tool').check()
  await before.close()
  const asked = host.registry.requests.length

  await using controller = await host.open({ development: true, schedule: true })
  const tool = controller.runtime('tool')
  expect((await tool.status()).nextCheckInMs).toBeNull()
  expect(await tool.check()).toMatchObject({ outcome: 'check-failed', code: 'DEVELOPMENT_MODE' })
  expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
  expect(host.registry.requests).toHaveLength(asked)
})

test('14: a callback of the host that throws is reported, and the bundled version starts', async () => {
  await using host = await Host.make()
  host.publish('1.1.0')
  const logged: string[] = []
  const log = (_: object, message: string) => logged.push(message)
  await using controller = await host.open({
    logger: { debug: log, info: log, warn: log, error: log },
    preferArms: () => {
      throw new Error('a bug in the host')
    },
  })
  controller.subscribe(() => {
    throw new Error('another one')
  })
  const tool = controller.runtime('tool')
  await tool.check()
  expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
  expect(controller.notices().find(({ type }) => type === 'runtime.notChosen')).toMatchObject({
    failure: { message: 'a bug in the host' },
  })
  expect(logged).toContain('a listener of the host threw')
})

test('14: a host may leave out arms and try them in another order, and adds none', async () => {
  await using host = await Host.make({ runtime: { probationMs: 0 } })
  host.publish('1.1.0')
  let wanted = (arms: readonly Candidate[]) => arms
  await using controller = await host.open({ preferArms: (_, arms) => wanted(arms) })
  const tool = controller.runtime('tool')
  await tool.check()
  host.publish('1.2.0')
  await tool.check()
  const offered: string[] = []
  wanted = (arms) => {
    offered.push(...arms.map(({ arm, version }) => `${arm} ${version}`))
    return arms.filter(({ arm }) => arm !== 'current')
  }
  expect(await launchAndStop(tool)).toEqual({ version: '1.1.0', arm: 'previous' })
  expect(offered).toEqual(['current 1.2.0', 'previous 1.1.0', 'bundled 1.0.0'])
  wanted = (arms) => arms.toReversed()
  expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
  wanted = ([current]) => [{ ...current!, arm: 'current', version: '9.9.9', release: null }]
  expect(await launchAndStop(tool)).toEqual({ version: '1.2.0', arm: 'current' })
  wanted = () => []
  await expect(tool.launch()).rejects.toMatchObject({ code: 'RUNTIME_UNUSABLE' })
})

test('14: a logger and a progress listener of the host that throw change nothing', async () => {
  await using host = await Host.make()
  await mkdir(host.home, { mode: 0o755 }) // which is warned of
  host.publish('1.1.0')
  const warned: unknown[] = []
  const keep = (warning: unknown) => warned.push(warning)
  process.on('warning', keep)
  const throws = () => {
    throw new Error('a bug in the host')
  }
  await using controller = await host.open({ logger: { debug: throws, info: throws, warn: throws, error: throws } })
  const tool = controller.runtime('tool')
  expect(await tool.check({ onProgress: throws })).toMatchObject({ outcome: 'staged' })
  expect(await launchAndStop(tool)).toEqual({ version: '1.1.0', arm: 'current' })
  process.off('warning', keep)
  expect(warned).toContainEqual(new Error('a bug in the host'))
})

test('15: a version that needs a package which is not in its release is rejected while qualifying, with the reason', async () => {
  await using host = await Host.make()
  host.publish('1.1.0', `import 'zod'\n${server('1.1.0')}`)
  await using controller = await host.open()
  const tool = controller.runtime('tool')
  expect(await tool.check()).toMatchObject({
    outcome: 'rejected',
    code: 'RUNTIME_EXITED',
    reason: expect.stringContaining('zod'),
  })
  expect((await tool.status()).bans).toMatchObject([{ version: '1.1.0' }])
  expect(await host.releaseFolders()).toEqual([])
  expect(await host.residue()).toEqual([])
})

describe('16: what is offered is not always wanted', () => {
  test('`latest` that moves back is not staged', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    host.publish('1.2.0')
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    await tool.check()
    host.registry.setTag('tool', 'latest', '1.1.0')
    expect(await tool.check()).toMatchObject({ outcome: 'up-to-date', version: '1.1.0', from: '1.2.0' })
    expect(host.registry.requestsFor('tarball')).toHaveLength(1)
  })

  test('a person can have the lower version that `latest` names now, and from there it goes on', async () => {
    await using host = await Host.make()
    host.publish('2.0.0')
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    await tool.check()
    await tool.rollback()
    host.publish('1.1.0')
    expect(await tool.check()).toMatchObject({ outcome: 'up-to-date', version: '1.1.0' })
    expect(await tool.check({ allowOlder: true })).toMatchObject({ outcome: 'staged', version: '1.1.0', from: '1.0.0' })
    host.publish('1.2.0')
    expect(await tool.check()).toMatchObject({ outcome: 'staged', version: '1.2.0', from: '1.1.0' })
  })

  test('engines that are not met are skipped without a download, and offered again when the Node changes', async () => {
    await using host = await Host.make()
    host.publish('1.1.0', undefined, { engines: { node: '>=99' } })
    const node = join(host.directory, 'node')
    await copyFile('/bin/sh', node)
    // A Node that says it is 99 and otherwise is this one.
    const facts = `{"version":"99.0.0","platform":"${process.platform}","arch":"${process.arch}","modules":"${process.versions.modules}","musl":false,"electron":false}`
    await writeFile(
      node,
      `#!/bin/sh\ncase "$1$2" in -econsole.log*) echo '${facts}';; *) exec '${process.execPath}' "$@";; esac\n`,
    )
    await chmod(node, 0o755)

    const before = await host.open()
    expect(await before.runtime('tool').check()).toMatchObject({ outcome: 'engines-incompatible', version: '1.1.0' })
    expect(host.registry.requestsFor('tarball')).toHaveLength(0)
    await before.close()
    await using controller = await host.open({ config: host.config({ node }) })
    expect(await controller.runtime('tool').check()).toMatchObject({ outcome: 'staged', version: '1.1.0' })
  })

  test('a version younger than the policy wants is left for later', async () => {
    await using host = await Host.make({ runtime: { policy: { minimumReleaseAge: '3d' } } })
    host.publish('1.1.0')
    await using controller = await host.open()
    expect(await controller.runtime('tool').check()).toMatchObject({ outcome: 'too-young', version: '1.1.0' })
    expect(host.registry.requestsFor('tarball')).toHaveLength(0)
    const state = JSON.parse(await readFile(host.stateFile, 'utf8'))
    state.seen['1.1.0'].firstSeen = new Date(Date.now() - 3 * 86_400_000).toISOString()
    await writeFile(host.stateFile, JSON.stringify(state))
    expect(await controller.runtime('tool').check()).toMatchObject({ outcome: 'staged' })
  })
})

test("17: another program on the runtime's port is not taken for it, and no version is banned for it", async () => {
  await using host = await Host.make({ bundled: null })
  const pidFile = join(host.directory, 'foreign.pid')
  // At a launch it leaves the port to a stranger: not of its process group, not its descendant, with another environment.
  const stranger = `require('node:http').createServer((q, s) => s.end('<title>tool</title>')).listen(+process.argv[1], '127.0.0.1', () => require('node:fs').writeFileSync(${JSON.stringify(pidFile)}, String(process.pid)))`
  const launcher = `require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(stranger)}, process.argv[1]], { detached: true, stdio: 'ignore', env: {} }).unref()`
  host.publish(
    '1.1.0',
    server(
      '1.1.0',
      `if (!process.env.INSTAR_QUALIFYING) {
        const { spawnSync } = await import('node:child_process')
        spawnSync(process.execPath, ['-e', ${JSON.stringify(launcher)}, process.argv.at(-1)], { env: {} })
        await new Promise((resolve) => setTimeout(resolve, 600_000))
      }`,
    ),
  )
  await using controller = await host.open()
  const tool = controller.runtime('tool')
  expect(await tool.check()).toMatchObject({ outcome: 'staged' })
  const impatient = new AbortController()
  const launch = tool.launch({ signal: impatient.signal })
  launch.catch(() => {})
  try {
    await eventually(() => types(controller).includes('runtime.startFailed'))
    expect(controller.notices().find(({ type }) => type === 'runtime.startFailed')).toMatchObject({
      failure: { code: 'PROBE_FOREIGN' },
    })
    expect(tool.running()).toBeNull()
    const state = JSON.parse(await readFile(host.stateFile, 'utf8'))
    expect(state).toMatchObject({ strikes: {}, bans: {} })
  } finally {
    impatient.abort()
    await launch.catch(() => {})
    await endStrangers()
  }

  // Every attempt has left one; they write the same file, so look for them by what they run.
  async function endStrangers() {
    const { stdout } = await promisify(execFile)('ps', ['-eo', 'pid=,args='])
    for (const line of stdout.split('\n')) if (line.includes(pidFile)) process.kill(Number(line.trim().split(' ')[0]))
  }
})

test('18: ready, then dead within probation, again and again: it is rolled back', async () => {
  await using host = await Host.make({ runtime: { probationMs: 60_000 } })
  host.publish('1.1.0')
  await using controller = await host.open()
  const tool = controller.runtime('tool')
  await tool.check()
  host.publish('1.2.0', server('1.2.0', 'if (!process.env.INSTAR_QUALIFYING) setTimeout(() => process.exit(1), 300)'))
  await tool.check()
  for (const _ of ['struck', 'banned']) {
    await tool.launch()
    await eventually(() => tool.running()?.version === '1.1.0')
    await tool.stop()
  }
  const { bans, current } = await tool.status()
  expect(bans).toMatchObject([{ version: '1.2.0' }])
  expect(current?.version).toBe('1.1.0')
  expect(types(controller).filter((type) => type === 'runtime.rolledBack')).toHaveLength(2)
})

test('19: after many updates no more than `keep` old releases remain, and never is one removed that is needed', async () => {
  await using host = await Host.make({ runtime: { policy: { keep: 1 }, probationMs: 50 } })
  host.publish('1.1.0')
  await using controller = await host.open()
  const tool = controller.runtime('tool')
  await tool.check()
  const running = await tool.launch()
  await eventually(async () => (await tool.status()).knownGood !== null)
  for (const version of ['1.2.0', '1.3.0', '1.4.0', '1.5.0']) {
    host.publish(version)
    expect(await tool.check()).toMatchObject({ outcome: 'staged', version })
  }
  const versions = (await tool.status()).releases.map(({ version }) => version)
  // The running one is the known-good; the one before the current can be gone back to.
  expect(versions).toEqual(['1.5.0', '1.4.0', '1.1.0'])
  expect(await (await fetch(running.url!)).text()).toContain('1.1.0')
  await running.stop()
})

describe('beside the scenarios', () => {
  test('notices can be asked for later, by one who was not there', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    const before = await host.open()
    await before.runtime('tool').check()
    await before.close()
    await using controller = await host.open()
    expect(controller.notices()).toMatchObject([{ type: 'runtime.staged', version: '1.1.0', from: '1.0.0' }])
  })

  test('a check with nothing new is one conditional request, and nothing is written but the record', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    await tool.check()
    const [state, asked] = [await readFile(host.stateFile, 'utf8'), host.registry.requests.length]
    expect(await tool.check()).toMatchObject({ outcome: 'already-staged' })
    expect(await readFile(host.stateFile, 'utf8')).toBe(state)
    const requests = host.registry.requests.slice(asked)
    expect(requests).toMatchObject([{ kind: 'packument', status: 304, bodyBytes: 0 }])
  })

  test('a runtime that crashes after it was healthy is started again', async () => {
    await using host = await Host.make({ runtime: { probationMs: 0 } })
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    const { pid } = await tool.launch()
    await eventually(async () => controller.state().runs.some(({ value }) => JSON.stringify(value).includes('settled')))
    process.kill(pid, 'SIGKILL')
    await eventually(() => ![undefined, pid].includes(tool.running()?.pid))
    expect(types(controller)).toContain('runtime.crashed')
  })

  test('a runtime goes on when its controller is killed, and the next controller finds it', async () => {
    await using host = await Host.make({ runtime: { probationMs: 60_000 } })
    const up = spawn(process.execPath, [cli, '--home', host.home, '--config', host.configFile, '--json', 'up'])
    let launched: { pid: number; url: string } | undefined
    let printed = ''
    up.stdout.on('data', (chunk) => {
      printed += chunk
      const line = printed.split('\n').find((each) => each.includes('"launched"'))
      if (line !== undefined) launched ??= JSON.parse(line)
    })
    await eventually(() => launched !== undefined)
    up.kill('SIGKILL')
    await once(up, 'exit')
    expect((await fetch(launched!.url)).status).toBe(200)

    await using controller = await host.open()
    const running = await controller.runtime('tool').launch()
    expect(running).toMatchObject({ pid: launched!.pid, url: launched!.url })
    await running.stop()
    await expect(fetch(launched!.url)).rejects.toThrow()
  })

  test('the command that a host ships runs what the pointer names, and an override that is missing fails loudly', async () => {
    await using host = await Host.make()
    const code = `console.log('VERSION', JSON.stringify(process.argv.slice(2))); process.exitCode = 7`
    const probed = (version: string) =>
      server(version, `if (!process.env.INSTAR_QUALIFYING) { ${code.replace('VERSION', version)}; process.exit() }`)
    await writeFile(join(host.directory, 'bundled', '1.0.0', 'main.mjs'), probed('1.0.0'))
    host.publish('1.1.0', probed('1.1.0'))
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    const directory = join(host.directory, 'bin')
    await tool.writeLauncher({ directory, launcher: join(dist, 'src/runtime/launcher.js') })
    const run = (env: object = {}) =>
      new Promise((resolve) =>
        execFile(
          join(directory, 'tool'),
          ['a b', '', '$x'],
          { env: { ...process.env, ...env } },
          (error, stdout, stderr) => resolve({ code: error?.code, stdout, stderr }),
        ),
      )

    expect(await run()).toMatchObject({ code: 7, stdout: '1.0.0 ["a b","","$x"]\n' })
    expect(await tool.check()).toMatchObject({ outcome: 'staged' })
    expect(await run()).toMatchObject({ code: 7, stdout: '1.1.0 ["a b","","$x"]\n' })
    await tool.ban('1.1.0')
    expect(await run()).toMatchObject({ code: 7, stdout: '1.0.0 ["a b","","$x"]\n' })
    await tool.unban('1.1.0')
    const missing = join(host.directory, 'nowhere')
    expect(await run({ INSTAR_RUNTIME_OVERRIDE: missing })).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining(missing),
    })
  })

  test('who only asks resumes nothing of what a killed controller left under way', async () => {
    await using host = await Host.make()
    host.publish('1.1.0')
    const gate = host.registry.hold('tarball')
    const killed = spawn(process.execPath, [
      cli,
      '--home',
      host.home,
      '--config',
      host.configFile,
      'runtime',
      'check',
      'tool',
    ])
    await gate.reached
    killed.kill('SIGKILL')
    await once(killed, 'exit')
    const asked = host.registry.requests.length

    for (const question of [['runtime', 'list'], ['runtime', 'status', 'tool'], ['journal', 'runs'], ['status']]) {
      const { stdout } = await host.instar('--json', ...question)
      expect(JSON.parse(stdout)).toMatchObject({ schema: 1 })
    }
    const { stdout } = await host.instar('--json', 'journal', 'runs')
    expect(JSON.parse(stdout).runs).toMatchObject([{ status: 'active', value: 'fetching' }])
    expect(host.registry.requests).toHaveLength(asked)
    gate.release()
    await using controller = await host.open()
    await eventually(() => controller.notices().some(({ type }) => type === 'runtime.staged'))
  })

  test('a runtime that is no longer configured is stopped by the next controller', async () => {
    await using host = await Host.make({ runtime: { probationMs: 60_000 } })
    const before = await host.open()
    const { url } = await before.runtime('tool').launch()
    await before.close({ leaveRunning: true })
    expect((await fetch(url!)).status).toBe(200)

    await using controller = await host.open({ config: parseConfig({}, '/') })
    await eventually(() => controller.state().runs.length === 0)
    await expect(fetch(url!)).rejects.toThrow()
    expect(await host.residue()).toEqual([])
  })

  test('one who stops waiting for a launch does not end what somebody else was handed', async () => {
    await using host = await Host.make({ runtime: { probationMs: 0 } })
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    const first = await tool.launch()
    await eventually(() => JSON.stringify(controller.state().runs).includes('settled'))
    process.kill(first.pid, 'SIGKILL')
    await eventually(() => tool.running() === null)
    const impatient = new AbortController()
    const second = tool.launch({ signal: impatient.signal })
    impatient.abort()
    await expect(second).rejects.toMatchObject({ code: 'ABORTED' })
    await eventually(() => tool.running() !== null)
  })

  test('a version whose runtime was asked to end from outside is not struck', async () => {
    await using host = await Host.make({ runtime: { probationMs: 60_000, policy: { strikes: 1 } } })
    host.publish('1.1.0')
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    await tool.check()
    const { pid } = await tool.launch()
    process.kill(pid, 'SIGTERM')
    await eventually(() => ![undefined, pid].includes(tool.running()?.pid))
    expect(tool.running()).toMatchObject({ version: '1.1.0' })
    expect((await tool.status()).bans).toEqual([])
  })

  test('the next launch that is told of is the one that follows, whatever was banned or came with the host', async () => {
    await using host = await Host.make({ runtime: { probationMs: 0 } })
    host.publish('1.1.0')
    const before = await host.open()
    const tool = before.runtime('tool')
    const told = async () => (await tool.status()).nextLaunch
    expect(await told()).toBe('1.0.0')
    await tool.check()
    expect(await told()).toBe('1.1.0')
    host.publish('1.2.0')
    await tool.check()
    await tool.ban('1.2.0')
    expect(await told()).toBe('1.1.0')
    expect(await tool.check()).toMatchObject({ outcome: 'bad-version', from: '1.1.0' })
    expect(await launchAndStop(tool)).toEqual({ version: '1.1.0', arm: 'previous' })
    await tool.ban('1.1.0')
    expect(await told()).toBe('1.0.0')
    expect(await launchAndStop(tool)).toEqual({ version: '1.0.0', arm: 'bundled' })
    await tool.unban('1.2.0')
    await before.close()

    await host.bundle('1.3.0')
    await using upgraded = await host.open({ config: host.config({}, '1.3.0') })
    expect((await upgraded.runtime('tool').status()).nextLaunch).toBe('1.3.0')
    await upgraded.close()
    await using developing = await host.open({ development: true })
    expect((await developing.runtime('tool').status()).nextLaunch).toBe('1.0.0')
  })

  test('a rollback goes to the version before, and the next check does not undo it', async () => {
    await using host = await Host.make({ runtime: { probationMs: 0 } })
    host.publish('1.1.0')
    await using controller = await host.open()
    const tool = controller.runtime('tool')
    await tool.check()
    host.publish('1.2.0')
    await tool.check()
    expect(await tool.rollback()).toEqual({ from: '1.2.0', to: '1.1.0' })
    expect(await tool.check()).toMatchObject({ outcome: 'bad-version' })
    expect(await tool.rollback()).toEqual({ from: '1.1.0', to: '1.0.0' })
    await expect(tool.rollback()).rejects.toMatchObject({ code: 'NOTHING_TO_ROLL_BACK' })
  })
})

/** Makes a directory refuse changes, also for root, whom modes do not bind. Gives back what undoes it. */
async function readOnly(directory: string): Promise<() => Promise<void>> {
  if (process.getuid?.() !== 0) {
    await chmod(directory, 0o500)
    return () => chmod(directory, 0o700)
  }
  execFileSync('chattr', ['+i', directory])
  return async () => void execFileSync('chattr', ['-i', directory])
}
