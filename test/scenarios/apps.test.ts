import { access, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import type { Controller, ControllerOptions } from '../../src/controller.ts'
import type { PublishOptions } from '../../src/testing/registry.ts'
import { type AppBehaviour, appCode } from '../support/apps/app-code.ts'
import { Host } from '../support/host.ts'
import { eventually } from '../support/sessions/eventually.ts'

// The scenarios *Apps*, by number. Real controllers, real processes, a real registry on loopback.

let host: Host
beforeEach(async () => {
  host = await Host.make({ bundled: null })
})
afterEach(() => host[Symbol.asyncDispose]())

function publish(version: string, behaviour: AppBehaviour = {}, options: PublishOptions = {}, name = 'notes') {
  host.registry.publish(name, version, { 'index.mjs': appCode(version, behaviour) }, { bin: 'index.mjs', ...options })
}

async function open(apps: object = {}, options: Partial<ControllerOptions> = {}): Promise<Controller> {
  const { registry } = host.rawConfig() as { registry: string }
  const config = parseConfig({ registry, apps: { handshakeTimeoutMs: 5000, ...apps } }, host.directory)
  return host.open({ config, ...options })
}

/** An organisation with these workspaces, all of which have `notes` 1.0.0. */
async function organisation(workspaces: readonly string[], apps: object = {}): Promise<Controller> {
  publish('1.0.0')
  const controller = await open(apps)
  for (const workspace of workspaces) {
    await controller.workspaces.add(workspace)
    await controller.apps.install('notes', { workspace })
  }
  return controller
}

async function said({ apps }: Controller, workspace: string, tool = 'version', args: object = {}, app = 'notes') {
  const answer = await apps.call({ workspace, app }, tool, { ...args })
  return (answer as { content: { text: string }[] }).content[0]!.text
}

const versions = async (controller: Controller, workspaces: readonly string[]) =>
  Promise.all(workspaces.map((workspace) => said(controller, workspace)))

const outcomes = ({ workspaces }: { readonly workspaces: readonly { id: string; outcome: string }[] }) =>
  workspaces.map(({ id, outcome }) => `${id} ${outcome}`)

const tarballs = () => host.registry.requestsFor('tarball').length

const isGone = (pid: number) =>
  access(`/proc/${pid}`).then(
    () => false,
    () => true,
  )

test('1: two workspaces, one upgrade: exactly one download, both swapped, data and credentials kept', async () => {
  publish('1.0.0')
  const controller = await open({}, { apps: { credential: async (name, { workspace }) => `${name} of ${workspace}` } })
  const { apps } = controller
  for (const workspace of ['a', 'b']) {
    await controller.workspaces.add(workspace)
    await apps.install('notes', {
      workspace,
      args: ['--flag', '${data}'],
      env: { MODE: workspace },
      credentials: { TOKEN: 'key' },
    })
    await said(controller, workspace, 'keep', { text: `data of ${workspace}` })
  }
  publish('2.0.0')
  const before = tarballs()
  const result = await apps.upgrade('notes')
  expect(result).toMatchObject({ app: 'notes', outcome: 'upgraded', from: '1.0.0', to: '2.0.0' })
  expect(outcomes(result)).toEqual(['a upgraded', 'b upgraded'])
  expect(tarballs() - before).toBe(1)
  for (const workspace of ['a', 'b']) {
    expect(await said(controller, workspace)).toBe('2.0.0')
    expect(await said(controller, workspace, 'kept')).toBe(`data of ${workspace}`)
    const { env, args, cwd } = JSON.parse(await said(controller, workspace, 'facts'))
    expect(env).toMatchObject({ MODE: workspace, TOKEN: `key of ${workspace}` })
    expect(args).toEqual(['--flag', cwd])
  }
  const rolled = controller.runs().filter(({ machine }) => machine.startsWith('app-upgrade@'))
  expect(rolled.map(({ output }) => outcomes({ workspaces: byWorkspace(output) }))).toContainEqual([
    'a upgraded',
    'b upgraded',
  ])
})

const byWorkspace = (output: unknown) =>
  (output as { workspaces: { workspace: string; outcome: string }[] }).workspaces.map(({ workspace, outcome }) => ({
    id: workspace,
    outcome,
  }))

test('2, 3: one workspace whose new instance does not come up keeps the old one; a retry repairs only that', async () => {
  publish('1.0.0')
  const controller = await open()
  const { apps } = controller
  for (const workspace of ['a', 'b', 'c']) {
    await controller.workspaces.add(workspace)
    await apps.install('notes', { workspace, env: workspace === 'b' ? { BROKEN: 'yes' } : {} })
  }
  publish('2.0.0', { first: "if (process.env.BROKEN) { console.error('Error: cannot in here'); process.exit(1) }" })
  const first = await apps.upgrade('notes')
  expect(first.outcome).toBe('partly')
  expect(outcomes(first)).toEqual(['a upgraded', 'b kept', 'c upgraded'])
  expect(first.workspaces[1]!.error).toMatchObject({
    code: 'APP_START_FAILED',
    message: expect.stringContaining('cannot in here'),
  })
  expect(await versions(controller, ['a', 'b', 'c'])).toEqual(['2.0.0', '1.0.0', '2.0.0'])
  const before = tarballs()
  const second = await apps.upgrade('notes')
  expect(outcomes(second)).toEqual(['b kept'])
  expect(tarballs()).toBe(before)
})

test('4: everyone fails: all are on the old version and serve, and so is whoever comes next', async () => {
  const controller = await organisation(['a', 'b', 'c'], { policy: { parallel: 2 } })
  publish('2.0.0', { first: 'process.exit(1)' })
  const result = await controller.apps.upgrade('notes')
  expect(result).toMatchObject({ outcome: 'returned', from: '1.0.0', to: '2.0.0' })
  expect(await versions(controller, ['a', 'b', 'c'])).toEqual(['1.0.0', '1.0.0', '1.0.0'])
  await controller.workspaces.add('d')
  expect(await controller.apps.install('notes', { workspace: 'd' })).toMatchObject({ version: '1.0.0' })
})

test('too many fail: those that had been upgraded go back', async () => {
  publish('1.0.0')
  const controller = await open({ policy: { parallel: 1, rollbackWhenFailed: 0.4 } })
  for (const workspace of ['a', 'b', 'c']) {
    await controller.workspaces.add(workspace)
    await controller.apps.install('notes', { workspace, env: workspace === 'a' ? {} : { BROKEN: 'yes' } })
  }
  publish('2.0.0', { first: 'if (process.env.BROKEN) process.exit(1)' })
  const result = await controller.apps.upgrade('notes')
  expect(result.outcome).toBe('returned')
  expect(outcomes(result)).toEqual(['a kept', 'b kept', 'c kept'])
  expect(await versions(controller, ['a', 'b', 'c'])).toEqual(['1.0.0', '1.0.0', '1.0.0'])
})

test('6: the same app upgraded twice at once: one run; different apps: in parallel', async () => {
  const controller = await organisation(['a'])
  const { apps } = controller
  publish('1.0.0', {}, {}, 'files')
  await apps.install('files', { workspace: 'a' })
  publish('2.0.0')
  publish('2.0.0', {}, {}, 'files')
  const before = controller.runs().length
  const [one, other, different] = await Promise.all([
    apps.upgrade('notes'),
    apps.upgrade('notes'),
    apps.upgrade('files'),
  ])
  expect(one).toEqual(other)
  expect(outcomes(different)).toEqual(['a upgraded'])
  expect(controller.runs().length - before).toBe(2)
})

test('9: an install adopts the version that the organisation has, without a download', async () => {
  const controller = await organisation(['a'])
  publish('2.0.0')
  await controller.workspaces.add('b')
  const before = tarballs()
  expect(await controller.apps.install('notes@2.0.0', { workspace: 'b' })).toMatchObject({ version: '1.0.0' })
  expect(tarballs()).toBe(before)
})

test('10: a registry that is not reached is no answer, and one that has only older versions offers nothing', async () => {
  const controller = await organisation(['a'])
  const { apps } = controller
  publish('2.0.0')
  expect(await apps.check()).toEqual([{ app: 'notes', version: '1.0.0', offered: '2.0.0', standing: 'behind' }])
  await apps.upgrade('notes')
  host.registry.setTag('notes', 'latest', '1.0.0')
  expect(await apps.check('notes')).toMatchObject([{ offered: '1.0.0', standing: 'current' }])
  await host.registry[Symbol.asyncDispose]()
  expect(await apps.check('notes')).toMatchObject([{ offered: null, standing: 'check-failed' }])
})

test('11: a call at the moment of the swap is answered, by the old or the new instance', async () => {
  const controller = await organisation(['a', 'b'])
  publish('2.0.0')
  let isOver = false
  const answers: string[] = []
  const caller = async (workspace: string) => {
    while (!isOver) answers.push(await said(controller, workspace, 'wait', { ms: 5 }))
  }
  const callers = ['a', 'b', 'a', 'b'].map(caller)
  const slow = said(controller, 'a', 'wait', { ms: 1500 })
  await sleep(100)
  await controller.apps.upgrade('notes')
  await sleep(100)
  isOver = true
  await Promise.all(callers)
  expect(await slow).toBe('1.0.0')
  expect(new Set(answers)).toEqual(new Set(['1.0.0', '2.0.0']))
})

test('until it serves, a successor lets others go first; one that nobody waits behind does not', async () => {
  const shareOf = (pid: number | 'self') => readFile(`/proc/${pid}/autogroup`, 'utf8').catch(() => 'the same for all')
  /** Notes its share before it answers, long enough after its start. */
  const first = `
    await new Promise((resolve) => setTimeout(resolve, 500))
    try { writeFileSync('kept', readFileSync('/proc/self/autogroup')) } catch { writeFileSync('kept', 'the same for all') }`
  const niceness = (share: string) => / nice (-?\d+)/.exec(share)?.[1] ?? share
  const isShared = (await shareOf('self')) === 'the same for all'
  publish('1.0.0', { first })
  const controller = await open()
  await controller.workspaces.add('a')
  await controller.apps.install('notes', { workspace: 'a' })
  expect(niceness(await said(controller, 'a', 'kept'))).toBe(isShared ? 'the same for all' : '0')
  publish('2.0.0', { first })
  await controller.apps.upgrade('notes')
  expect(niceness(await said(controller, 'a', 'kept'))).toBe(isShared ? 'the same for all' : '10')
  const { pid } = JSON.parse(await said(controller, 'a', 'facts'))
  await expect.poll(async () => niceness(await shareOf(pid))).toBe(isShared ? 'the same for all' : '0')
})

test('an exclusive app never runs twice; its calls wait while it is replaced', async () => {
  const manifest = { instar: { exclusive: true } }
  const first = `
    import { existsSync, unlinkSync } from 'node:fs'
    if (existsSync('lock')) { console.error('Error: runs already'); process.exit(1) }
    writeFileSync('lock', '')
    process.stdin.on('end', () => setTimeout(() => { unlinkSync('lock'); process.exit(0) }, 300))`
  publish('1.0.0', { first }, { manifest })
  const controller = await open()
  await controller.workspaces.add('a')
  await controller.apps.install('notes', { workspace: 'a' })
  publish('2.0.0', { first }, { manifest })
  let isOver = false
  const answers: string[] = []
  const caller = (async () => {
    while (!isOver) answers.push(await said(controller, 'a', 'wait', { ms: 5 }))
  })()
  expect(outcomes(await controller.apps.upgrade('notes'))).toEqual(['a upgraded'])
  isOver = true
  await caller
  expect(await said(controller, 'a')).toBe('2.0.0')
  expect(new Set(answers).has('1.0.0')).toBe(true)
})

test('13: `@a/b-c` and `@a-b/c` side by side do not collide', async () => {
  const names = ['@a/b-c', '@a-b/c']
  const controller = await open()
  await controller.workspaces.add('w')
  for (const app of names) {
    publish('1.0.0', { tools: [app] }, {}, app)
    await controller.apps.install(app, { workspace: 'w' })
    await said(controller, 'w', 'keep', { text: app }, app)
  }
  for (const app of names) {
    expect(await said(controller, 'w', app, {}, app)).toBe(app)
    expect(await said(controller, 'w', 'kept', {}, app)).toBe(app)
  }
})

test('14: an upgraded process that dies later is started again, the new one, in the environment of its install', async () => {
  publish('1.0.0')
  const controller = await open()
  await controller.workspaces.add('a')
  await controller.apps.install('notes', { workspace: 'a', env: { MODE: 'mine' } })
  publish('2.0.0')
  await controller.apps.upgrade('notes')
  const { pid } = JSON.parse(await said(controller, 'a', 'facts'))
  await expect(said(controller, 'a', 'die')).rejects.toMatchObject({ code: 'APP_CALL_FAILED' })
  const after = JSON.parse(await said(controller, 'a', 'facts'))
  expect(after).toMatchObject({ env: { MODE: 'mine' } })
  expect(after.pid).not.toBe(pid)
  expect(await said(controller, 'a')).toBe('2.0.0')
})

test('15: a workspace that is added or removed during the roll ends with the new version, or is not spoken of', async () => {
  const workspaces = ['a', 'b', 'c', 'd']
  const controller = await organisation(workspaces, { policy: { parallel: 1 } })
  publish('2.0.0', { first: 'await new Promise((resolve) => setTimeout(resolve, 300))' })
  const upgrading = controller.apps.upgrade('notes')
  await eventually(() => isRolling(controller), 'the first workspace')
  await controller.workspaces.remove('d')
  await controller.workspaces.add('e')
  await controller.apps.install('notes', { workspace: 'e' })
  const result = await upgrading
  expect(result.outcome).toBe('upgraded')
  expect(outcomes(result)).toEqual(['a upgraded', 'b upgraded', 'c upgraded', 'e upgraded'])
  expect(await versions(controller, ['a', 'b', 'c', 'e'])).toEqual(['2.0.0', '2.0.0', '2.0.0', '2.0.0'])
})

async function isRolling(controller: Controller): Promise<boolean> {
  return controller
    .runs()
    .some(
      ({ machine, value, status }) => machine.startsWith('app-upgrade@') && status === 'active' && value === 'rolling',
    )
}

test.each([
  ['crashes at start', { first: "console.error('Error: no'); process.exit(1)" }, 'APP_START_FAILED'],
  ['hangs in the handshake', { hangs: true as const }, 'APP_HANDSHAKE_TIMEOUT'],
  [
    'is no MCP server',
    { first: "process.stdin.resume(); setInterval(() => console.log('hello'), 50); await new Promise(() => {})" },
    'APP_HANDSHAKE_TIMEOUT',
  ],
])('a first version that %s is refused, and nothing is half installed', async (_, behaviour, code) => {
  publish('1.0.0', behaviour)
  const controller = await open({ handshakeTimeoutMs: 5000 })
  await controller.workspaces.add('a')
  await expect(controller.apps.install('notes', { workspace: 'a' })).rejects.toMatchObject({ code })
  expect(controller.workspaces.list()).toEqual([{ id: 'a', apps: [] }])
  expect(controller.state().runs).toEqual([])
  publish('1.0.1')
  expect(await controller.apps.install('notes', { workspace: 'a' })).toMatchObject({ version: '1.0.1' })
})

test('a version that dies again and again is given up, with the last lines it said', async () => {
  publish('1.0.0', { dieAfterMs: 200 })
  const controller = await open()
  await controller.workspaces.add('a')
  await controller.apps.install('notes', { workspace: 'a' })
  await eventually(async () => (await controller.apps.list())[0]!.workspaces[0]!.state === 'dead', 'the end', 60_000)
  const [{ workspaces }] = (await controller.apps.list()) as unknown as [
    { workspaces: readonly { failure: unknown }[] },
  ]
  expect(workspaces[0]!.failure).toMatchObject({
    code: 'APP_START_FAILED',
    message: expect.stringContaining('short of breath'),
  })
  publish('1.0.1')
  expect(outcomes(await controller.apps.upgrade('notes'))).toEqual(['a upgraded'])
  expect(await said(controller, 'a')).toBe('1.0.1')
})

test.each([
  ['a wrong shape', { manifest: { instar: { exclusive: 'yes' } } }, 'APP_MANIFEST_INVALID'],
  ['an unknown field', { manifest: { instar: { exclusiv: true } } }, 'APP_MANIFEST_INVALID'],
  ['a capability that this host has not', { manifest: { instar: { requires: ['wings'] } } }, 'APP_CAPABILITY_MISSING'],
  ['no command', { bin: undefined }, 'APP_MANIFEST_INVALID'],
  ['a command that is not there', { bin: 'other.mjs' }, 'ENTRY_MISSING'],
  ['another Node', { engines: { node: '>=900' } }, 'ENGINES_UNMET'],
])('a manifest with %s never reaches a workspace', async (_, options, code) => {
  const controller = await organisation(['a'])
  publish('2.0.0', {}, options as PublishOptions)
  expect(await controller.apps.upgrade('notes')).toMatchObject({ outcome: 'rejected', code, workspaces: [] })
  expect(await said(controller, 'a')).toBe('1.0.0')
  expect(await host.residue()).toEqual([])
})

test('rollback gives the organisation the version before, everywhere', async () => {
  const controller = await organisation(['a', 'b'])
  publish('2.0.0')
  await controller.apps.upgrade('notes')
  expect(outcomes(await controller.apps.rollback('notes'))).toEqual(['a upgraded', 'b upgraded'])
  expect(await versions(controller, ['a', 'b'])).toEqual(['1.0.0', '1.0.0'])
})

test('after a restart of the controller every app runs again, and nothing of before is left running', async () => {
  const controller = await organisation(['a', 'b'])
  const { pid } = JSON.parse(await said(controller, 'a', 'facts'))
  await controller.close()
  expect(await isGone(pid)).toBe(true)
  const again = await open()
  expect(await versions(again, ['a', 'b'])).toEqual(['1.0.0', '1.0.0'])
})

test('a removed app is gone from its workspace alone, and what it kept stays for its next install', async () => {
  const controller = await organisation(['a', 'b'])
  await said(controller, 'a', 'keep', { text: 'mine' })
  const { pid } = JSON.parse(await said(controller, 'a', 'facts'))
  await controller.apps.remove('notes', { workspace: 'a' })
  expect(await isGone(pid)).toBe(true)
  await expect(said(controller, 'a')).rejects.toMatchObject({ code: 'APP_UNKNOWN' })
  expect(await said(controller, 'b')).toBe('1.0.0')
  await controller.apps.install('notes', { workspace: 'a' })
  expect(await said(controller, 'a', 'kept')).toBe('mine')
})

test('an app inherits nothing of the controller that might be a secret', async () => {
  process.env.INSTAR_TEST_SECRET = 'secret'
  try {
    const controller = await organisation(['a'])
    const { env } = JSON.parse(await said(controller, 'a', 'facts'))
    expect(env.PATH).toBe(process.env.PATH)
    expect(env).not.toHaveProperty('INSTAR_TEST_SECRET')
  } finally {
    delete process.env.INSTAR_TEST_SECRET
  }
})

test('an unknown workspace or app, a name twice, a bad spec: a typed error, and nothing has changed', async () => {
  const controller = await organisation(['a'])
  const { apps, workspaces } = controller
  const before = controller.journal.lastSeq
  await expect(apps.install('notes', { workspace: 'b' })).rejects.toMatchObject({ code: 'WORKSPACE_UNKNOWN' })
  await expect(apps.install('notes', { workspace: 'a' })).rejects.toMatchObject({ code: 'APP_INSTALLED' })
  await expect(apps.install('-rf', { workspace: 'a' })).rejects.toMatchObject({ code: 'APP_SPEC_INVALID' })
  await expect(apps.install('x', { workspace: 'a', env: { 'A B': '' } })).rejects.toMatchObject({
    code: 'PARAMETERS_INVALID',
  })
  await expect(apps.upgrade('nodes')).rejects.toMatchObject({
    code: 'APP_UNKNOWN',
    message: expect.stringContaining('notes'),
  })
  await expect(apps.remove('nodes', { workspace: 'a' })).rejects.toMatchObject({ code: 'APP_UNKNOWN' })
  await expect(apps.call({ workspace: 'a', app: 'nodes' }, 'x')).rejects.toMatchObject({ code: 'APP_UNKNOWN' })
  await expect(workspaces.add('a')).rejects.toMatchObject({ code: 'WORKSPACE_EXISTS' })
  await expect(workspaces.add('../a')).rejects.toMatchObject({ code: 'WORKSPACE_INVALID' })
  await expect(workspaces.remove('b')).rejects.toMatchObject({ code: 'WORKSPACE_UNKNOWN' })
  expect(controller.journal.lastSeq).toBe(before)
})
