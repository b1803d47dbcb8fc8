import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import type { Controller } from '../../src/controller.ts'
import { inParallel } from '../../src/in-parallel.ts'
import { Targets } from '../../src/plugins/targets.ts'
import { removeShortDirectory } from '../../src/socket-path.ts'
import { Ground } from '../support/grounds.ts'
import { Host } from '../support/host.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { startSshd } from '../support/sshd.ts'
import { systemProgram } from '../support/system-program.ts'

// What can go wrong only where a plugin is put on another machine: a real sshd, and a root with nothing but BusyBox.

let over: Ground
let within: Ground

beforeAll(async () => {
  over = await Ground.make('a host over ssh')
  within = await Ground.make('a container')
}, 300_000)

afterAll(async () => {
  await within?.[Symbol.asyncDispose]()
  await over?.[Symbol.asyncDispose]()
})

const live = async (controller: Controller, target: string) =>
  (await controller.plugins.list({ target })).find(({ name }) => name === 'tint')?.version ?? null

/** More than the buffers on the way hold, so that it is under way for a while. */
function publishLarge(host: Host, version: string): void {
  const files = Object.fromEntries(Array.from({ length: 32 }, (_, at) => [`part-${at}.bin`, randomBytes(1_000_000)]))
  host.registry.publish('tint', version, files)
}

/**
 * Kills what this process has started to put something there, and nothing that this has started. At once: while it looks,
 * nothing is sent.
 */
async function killPrefix(target: string): Promise<void> {
  const path = target.slice(target.indexOf('#') + 1)
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const isOurs = readNow(`/proc/${pid}/status`).includes(`\nPPid:\t${process.pid}\n`)
    if (isOurs && readNow(`/proc/${pid}/cmdline`).includes(`${path}/`)) process.kill(Number(pid), 'SIGKILL')
  }
}

function readNow(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // it has ended
  }
}

const stagingIn = async (folder: string) =>
  (await readdir(join(folder, '.instar', 'tint')).catch(() => [])).filter((name) => /^\.(staging|link)-/.test(name))

describe('8: an upload that is cut: the old version stays, and the next attempt cleans up', () => {
  const cuts: Record<string, { on: () => Ground; cut: (target: string) => Promise<void> }> = {
    'the connection is cut': { on: () => over, cut: () => over.sshd!.cutConnections() },
    'what runs on the far side is killed': { on: () => over, cut: () => over.sshd!.killCommands() },
    'the command that leads into a container is killed': { on: () => within, cut: killPrefix },
  }
  test.each(Object.keys(cuts))('%s', async (name) => {
    await using host = await Host.make()
    const { on: ground, cut } = cuts[name]!
    const { target, folder } = await ground().place()
    const on = { target: target! }
    host.registry.publish('tint', '1.0.0', { 'index.js': 'old' })
    publishLarge(host, '2.0.0')
    await using controller = await host.open()
    await controller.plugins.install('tint@1.0.0', on)
    let isCut = false
    const installing = controller.plugins.install('tint@2.0.0', {
      ...on,
      onProgress: (data) => {
        const { phase, bytes } = data as { phase: string; bytes?: number }
        if (isCut || phase !== 'uploading' || bytes! < 8_000_000) return
        isCut = true
        void cut(on.target)
      },
    })
    expect(await installing).toMatchObject({
      outcome: 'failed',
      from: '1.0.0',
      code: expect.stringMatching(/^TARGET_(UNREACHABLE|FAILED)$/),
    })
    expect(isCut).toBe(true)
    expect(await live(controller, on.target)).toBe('1.0.0')
    expect(await readFile(join(folder!, 'tint', 'index.js'), 'utf8')).toBe('old')
    expect(await controller.plugins.install('tint@2.0.0', on)).toMatchObject({ outcome: 'installed', version: '2.0.0' })
    expect(await stagingIn(folder!)).toEqual([])
    expect(await controller.plugins.verify('tint', on)).toMatchObject([{ whole: true }])
  })
})

test('9: a target that reports success and has done nothing is found out by reading back', async () => {
  await using host = await Host.make()
  const folder = join(host.directory, 'far')
  // Does what it is told, but for the swap, which it only says it has done.
  const liar = join(host.directory, 'liar')
  await writeFile(
    liar,
    `#!/bin/sh
case $3 in *'path=$2 draft=$3'*) [ "$6" = "${folder}/tint" ] && { printf 'instar 1\\nend\\n'; exit 0; } ;; esac
exec "$@"
`,
    { mode: 0o755 },
  )
  const on = { target: `exec:${liar}#${folder}` }
  host.registry.publish('tint', '1.0.0', { 'index.js': 'old' })
  await using controller = await host.open()
  expect(await controller.plugins.install('tint', on)).toMatchObject({
    outcome: 'rolled-back',
    code: 'PLUGIN_NOT_LIVE',
    reason: expect.stringContaining('nothing is live'),
  })
  expect(await readdir(folder)).toEqual(['.instar'])
  expect(await readdir(join(folder, '.instar', 'tint'))).toEqual([])
})

describe('what cannot take a plugin is refused before a byte is sent, and nothing is left', () => {
  const refused = async (host: Host, target: string) => {
    host.registry.publish('tint', '1.0.0', {})
    await using controller = await host.open()
    const { outcome, code, reason } = await controller.plugins.install('tint', { target })
    expect(outcome).toBe('failed')
    expect(host.registry.requestsFor('tarball')).toEqual([])
    return { code, reason }
  }

  test('a host whose key nobody has accepted; known_hosts stays as it is', async () => {
    await using host = await Host.make()
    await using sshd = await startSshd(join(host.directory, 'other'), { isTrusted: false })
    const path = process.env.PATH
    process.env.PATH = `${sshd.bin}:${path}`
    try {
      expect(await refused(host, `ssh://${sshd.alias}/tmp/plugins`)).toMatchObject({ code: 'TARGET_HOST_KEY' })
      expect(await sshd.knownHosts()).toBe('')
    } finally {
      process.env.PATH = path
    }
  })

  test('nobody listens; a user without a key', async () => {
    await using host = await Host.make()
    const { port, alias } = over.sshd!
    expect(await refused(host, 'ssh://127.0.0.1:1/tmp/plugins')).toMatchObject({ code: 'TARGET_UNREACHABLE' })
    expect(port).toBeGreaterThan(0)
    expect(await refused(host, `ssh://nobody@${alias}/tmp/plugins`)).toMatchObject({ code: 'TARGET_DENIED' })
  })

  test.each(['tar', 'sha256sum', 'mv'])('no usable %s', async (missing) => {
    await using host = await Host.make()
    const bin = join(host.directory, 'bin')
    await mkdir(bin)
    const others = ['cat', 'chmod', 'find', 'grep', 'ln', 'mkdir', 'readlink', 'rm', 'sed', 'sort', 'sync', 'wc']
    for (const tool of ['sh', 'tar', 'sha256sum', 'mv', ...others])
      if (tool !== missing) await symlink(await systemProgram(tool), join(bin, tool))
    if (missing === 'mv') await writeFile(join(bin, 'mv'), '#!/bin/sh\necho usage: mv source target\n', { mode: 0o755 })
    const far = join(host.directory, 'far')
    expect(await refused(host, `exec:/usr/bin/env PATH=${bin}#${far}`)).toMatchObject({
      code: 'TARGET_UNSUPPORTED',
      reason: expect.stringContaining(missing),
    })
    expect(await readdir(dirname(far))).not.toContain('far')
  })

  test('a command that is not there, one that runs nothing, one that passes no input on', async () => {
    await using host = await Host.make()
    expect(await refused(host, 'exec:no-such-command#/configs/x')).toMatchObject({ code: 'TARGET_UNREACHABLE' })
    expect(await refused(host, 'exec:/bin/false#/configs/x')).toMatchObject({ code: 'TARGET_UNREACHABLE' })
    const deaf = join(host.directory, 'deaf')
    await writeFile(deaf, '#!/bin/sh\nexec "$@" </dev/null\n')
    await chmod(deaf, 0o755)
    await using controller = await host.open()
    const far = join(host.directory, 'far')
    expect(await controller.plugins.install('tint', { target: `exec:${deaf}#${far}` })).toMatchObject({
      outcome: 'failed',
      code: expect.stringMatching(/^(PLUGIN_DAMAGED|TARGET_FAILED)$/),
    })
    expect(await stagingIn(far)).toEqual([])
  })

  test.each([
    ['web', 'PLUGIN_TARGET_UNKNOWN'],
    ['ssh://-oProxyCommand=touch/x', 'PLUGIN_TARGET_INVALID'],
    ['ssh://host/../x', 'PLUGIN_TARGET_INVALID'],
    ['ssh://user:secret@host/x', 'PLUGIN_TARGET_INVALID'],
    ['ssh://host:99999/x', 'PLUGIN_TARGET_INVALID'],
    ['ssh://host', 'PLUGIN_TARGET_INVALID'],
    ['exec:#/x', 'PLUGIN_TARGET_INVALID'],
    ['exec:sh -c "x"#/x', 'PLUGIN_TARGET_INVALID'],
    ['ftp://host/x', 'PLUGIN_TARGET_INVALID'],
  ])('%s is no target', async (target, code) => {
    await using host = await Host.make()
    await using controller = await host.open()
    await expect(controller.plugins.install('tint', { target })).rejects.toMatchObject({ code })
    await expect(controller.plugins.list({ target })).rejects.toMatchObject({ code })
    expect(controller.state().runs).toEqual([])
  })
})

test('the far disk is full, or cannot be written: what was live is live, and nothing is left', async () => {
  await using host = await Host.make()
  host.registry.publish('tint', '1.0.0', { 'index.js': 'old' })
  host.registry.publish('tint', '2.0.0', { 'large.bin': Buffer.alloc(3_000_000, 'x') })
  const container = within.container!
  const small = await container.mountSmall(1024)
  await using controller = await host.open()
  const on = { target: within.within(`${small}/plugins`) }
  await controller.plugins.install('tint@1.0.0', on)
  expect(await controller.plugins.install('tint@2.0.0', on)).toMatchObject({ outcome: 'failed', code: 'DISK_FULL' })
  expect(await live(controller, on.target)).toBe('1.0.0')
  expect(await readFile(container.seen(`${small}/plugins/tint/index.js`), 'utf8')).toBe('old')
  expect(await stagingIn(container.seen(`${small}/plugins`))).toEqual([])

  const fixed = await container.mountReadOnly()
  expect(await controller.plugins.install('tint@1.0.0', { target: within.within(`${fixed}/plugins`) })).toMatchObject({
    outcome: 'failed',
    code: 'DISK_FAILED',
    reason: expect.stringContaining('Read-only'),
  })
})

test('one connection, and six steps on it, bring a plugin to a host', async () => {
  await using host = await Host.make()
  const { target } = await over.place()
  host.registry.publish('tint', '1.0.0', {})
  host.registry.publish('tint', '2.0.0', {})
  await using controller = await host.open()
  const before = { connections: await over.sshd!.connections(), sessions: await over.sshd!.sessions() }
  await controller.plugins.install('tint@1.0.0', { target: target! })
  expect((await over.sshd!.sessions()) - before.sessions).toBeLessThanOrEqual(6)
  await controller.plugins.install('tint@2.0.0', { target: target! })
  expect((await over.sshd!.sessions()) - before.sessions).toBeLessThanOrEqual(12)
  expect((await over.sshd!.connections()) - before.connections).toBe(1)
})

test('a connection of ours ends with the controller', async () => {
  await using host = await Host.make()
  const { target } = await over.place()
  {
    await using controller = await host.open()
    await controller.plugins.list({ target: target! })
    expect((await readdir(join(host.home, 'ssh'))).length).toBe(1)
    await controller.close()
  }
  await eventually(async () => (await readdir(join(host.home, 'ssh'))).length === 0, 'the end of the connection')
})

test('another process of the home that looks at a target, as the doctor does, cuts no upload', async () => {
  await using host = await Host.make()
  const { target } = await over.place()
  publishLarge(host, '1.0.0')
  await using controller = await host.open()
  const connections = await over.sshd!.connections()
  const looker = await Targets.of(host.home, {})
  let looking: Promise<unknown> | undefined
  const installing = controller.plugins.install('tint', {
    target: target!,
    onProgress: (data) => {
      const { phase, bytes = 0 } = data as { phase: string; bytes?: number }
      if (phase === 'uploading' && bytes > 4_000_000)
        looking ??= looker
          .at(target!)
          .shelf('instar')
          .then(() => looker.close())
    },
  })
  expect(await installing).toMatchObject({ outcome: 'installed' })
  await looking
  // It looked through the connection of the upload; what came after the upload may have needed another.
  expect((await over.sshd!.connections()) - connections).toBeLessThanOrEqual(2)
})

describe('the ssh that is there', () => {
  /** Lets another program be `ssh` while `work` goes on. `real` is what it may go on with. */
  async function withSsh(host: Host, script: (real: string) => string, work: () => Promise<void>): Promise<void> {
    const bin = join(host.directory, 'bin')
    await mkdir(bin)
    await writeFile(join(bin, 'ssh'), `#!/bin/sh\n${script(join(over.sshd!.bin, 'ssh'))}\n`, { mode: 0o755 })
    const path = process.env.PATH
    process.env.PATH = `${bin}:${path}`
    try {
      await work()
    } finally {
      process.env.PATH = path
    }
  }

  test('may be an old one, which refuses options that it does not know', async () => {
    await using host = await Host.make()
    const { target } = await over.place()
    host.registry.publish('tint', '1.0.0', {})
    // As ssh is before 8.7.
    const old = (real: string) => `
case "$*" in *SessionType*|*StdinNull*|*ForkAfter*) echo "Bad configuration option: sessiontype" >&2; exit 255 ;; esac
if [ "$1" = -G ]; then ${real} "$@" | grep -v -e ^sessiontype -e ^stdinnull -e ^forkafter; exit; fi
exec ${real} "$@"`
    await withSsh(host, old, async () => {
      await using controller = await host.open()
      expect(await controller.plugins.install('tint', { target: target! })).toMatchObject({ outcome: 'installed' })
    })
  })

  test('may have a connection of its user to share, which then lasts from step to step', async () => {
    await using host = await Host.make()
    const { folder } = await over.place()
    host.registry.publish('tint', '1.0.0', {})
    const sshd = over.sshd!
    const shared = ['ControlMaster yes', `ControlPath "${join(host.directory, '%C')}"`]
    const web = [`HostName ${sshd.address}`, `Port ${sshd.port}`, `User ${sshd.user}`, ...shared]
    const config = join(host.directory, 'ssh_config')
    await writeFile(config, [`Include "${sshd.config}"`, 'Host web', ...web, ''].join('\n'))
    const connections = await sshd.connections()
    await withSsh(
      host,
      (real) => `exec ${real} -F ${config} "$@"`,
      async () => {
        await using controller = await host.open()
        const target = `ssh://web${folder}`
        expect(await controller.plugins.install('tint', { target })).toMatchObject({ outcome: 'installed' })
        expect((await sshd.connections()) - connections).toBe(1)
        expect(await readdir(join(host.home, 'ssh')).catch(() => [])).toEqual([])
      },
    )
  })

  test('is given a socket whose path is short again, when the short one was swept away', async () => {
    const directory = await mkdtemp(join(tmpdir(), `instar-${'long'.repeat(20)}-`))
    const { target } = await over.place()
    const targets = await Targets.of(directory, {})
    try {
      await targets.at(target!).shelf('tint')
      await removeShortDirectory(join(directory, 'ssh'))
      await over.sshd!.cutConnections()
      expect(await targets.at(target!).shelf('tint')).toMatchObject({ live: null })
      expect(await readlink(join(directory, 'ssh', 'short'))).not.toContain('long')
    } finally {
      await targets.close()
      await removeShortDirectory(join(directory, 'ssh'))
      await rm(directory, { recursive: true })
    }
  })
})

test('hundreds of plugins are listed, which are more than one command takes', async () => {
  await using host = await Host.make()
  const { target, folder } = await over.place()
  const names = Array.from({ length: 1000 }, (_, at) => `${'long-'.repeat(20)}${1000 + at}`)
  await inParallel(8, names, async (name) => mkdir(join(folder!, '.instar', name), { recursive: true }))
  await mkdir(host.home)
  const targets = await Targets.of(host.home, {})
  const surveyed = await targets.at(target!).survey()
  await targets.close()
  expect(surveyed.map(({ plugin }) => plugin)).toEqual(names)
  expect(surveyed.filter((one) => 'problem' in one)).toEqual([])
})

test('a target has a name in the configuration, and the doctor looks at it', async () => {
  await using host = await Host.make()
  const { target, folder } = await over.place()
  const plugins = { targets: { web: target, away: 'ssh://127.0.0.1:1/srv/plugins' } }
  await writeFile(host.configFile, JSON.stringify({ ...host.rawConfig(), plugins }))
  host.registry.publish('tint', '1.0.0', { 'index.js': 'old' })
  const installed = await host.instar('--json', 'plugin', 'install', 'tint', '--target', 'web')
  expect(JSON.parse(installed.stdout.trim().split('\n').at(-1)!)).toMatchObject({
    plugins: [{ plugin: 'tint', target: 'web', outcome: 'installed' }],
  })
  expect(await readFile(join(folder!, 'tint', 'index.js'), 'utf8')).toBe('old')
  const { findings } = JSON.parse((await host.instar('--json', 'doctor')).stdout)
  expect(findings.filter(({ about }: any) => about.startsWith('target'))).toMatchObject([
    { about: 'target web', verdict: 'good' },
    { about: 'target away', verdict: 'bad', remedy: expect.stringContaining('by hand') },
  ])
  const unknown = await host.instar('plugin', 'list', '--target', 'wbe')
  expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('did you mean "web"') })
})

test('a run that was begun under a name goes on where it was begun, whatever the name means now', async () => {
  await using host = await Host.make()
  const [one, other] = [await over.place(), await over.place()]
  publishLarge(host, '1.0.0')
  const configFor = (target: string) =>
    parseConfig({ ...host.rawConfig(), plugins: { targets: { web: target } } }, host.directory)
  {
    const controller = await host.open({ config: configFor(one.target!) })
    const seen = new Promise<void>((resolve) => {
      void controller.plugins
        .install('tint', {
          target: 'web',
          onProgress: (data) => {
            if ((data as { phase: string }).phase === 'uploading') resolve()
          },
        })
        .catch(() => {}) // the controller is closed under it
    })
    await seen
    await controller.close()
  }
  await using controller = await host.open({ config: configFor(other.target!) })
  await eventually(() => controller.state().runs.length === 0, 'the end of the run')
  expect(await live(controller, one.target!)).toBe('1.0.0')
  expect(await live(controller, 'web')).toBe(null)
  await rm(one.folder!, { recursive: true })
})
