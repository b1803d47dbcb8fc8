/**
 * Uploads that break off: the connection, what runs on the far side, the program on this side, the answer. And what goes
 * on alone after that, beside the next attempt.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Controller } from '../../src/controller.ts'
import { inParallel } from '../../src/in-parallel.ts'
import { PrefixShell } from '../../src/plugins/prefix-shell.ts'
import { RemoteTarget } from '../../src/plugins/remote-target.ts'
import type { Putting } from '../../src/plugins/target.ts'
import { readTree } from '../../src/releases/tree.ts'
import { seededRandom } from '../../src/testing/index.ts'
import { live } from '../../src/testing/life.ts'
import { Ground } from '../support/grounds.ts'
import { Host } from '../support/host.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { besideHome } from './plan.ts'
import {
  damagedIn,
  inspectTarget,
  isWorking,
  litterIn,
  noneOf,
  prepareTarget,
  processesNaming,
} from './plugin-target.ts'
import { Stage } from './stage.ts'

let ground: Ground
beforeAll(async () => {
  ground = await Ground.make('a host over ssh')
})
afterAll(() => ground?.[Symbol.asyncDispose]())

/** Another one each time; a failure is run again with the one that it printed. */
const seed = Number(process.env.INSTAR_TEST_SEED ?? randomBytes(4).readUInt32LE())
const random = seededRandom(seed)
const below = (limit: number) => Math.floor(random() * limit)

const plugin = 'tint'

/** Nothing in it can be made smaller. */
const parts = (count: number, bytes: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`part-${at}.bin`, randomBytes(bytes)]))

/** What may be live after what outcome. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  failed: ['1.0.0'],
  'rolled-back': ['1.0.0'],
  blocked: ['1.0.0', '2.0.0'],
  installed: ['2.0.0'],
}

test('an upload that is cut at any moment leaves one whole version live, and the next install leaves nothing behind', async () => {
  await using host = await Host.make()
  const { registry } = host
  registry.publish(plugin, '1.0.0', { 'index.js': 'old' })
  registry.publish(plugin, '2.0.0', parts(120, 100_000))
  const sshd = ground.sshd!
  const cuts = {
    'the connection is cut': () => sshd.cutConnections(),
    'what runs there is killed': () => sshd.killCommands(),
  }
  await using controller = await host.open()
  const rounds: string[] = []
  for (let round = 0; round < 12; round += 1) {
    const { target, folder } = await ground.place()
    const on = { target: target! }
    await controller.plugins.install(`${plugin}@1.0.0`, on)
    const [what, cut] = Object.entries(cuts)[below(2)]!
    // So much is gathered on this side before the first of it is under way.
    const at = 4_000_000 + below(8_000_000)
    let cutting: Promise<void> | undefined
    const { outcome, code } = await controller.plugins.install(plugin, {
      ...on,
      onProgress: (data) => {
        const { phase, bytes = 0 } = data as { phase: string; bytes?: number }
        if (phase === 'uploading' && bytes > at) cutting ??= cut()
      },
    })
    await cutting
    const told = `seed ${seed}, round ${round}: ${what} at ${at} bytes: ${outcome} ${code ?? ''}`
    rounds.push(told)
    // What comes too late breaks a later step, or none. The killing goes on while it finds something to kill, so it may
    // meet the way back, too.
    const before = await liveVersion(controller, on.target)
    expect(allowed[outcome] ?? [], told).toContain(before)
    const { outcome: next } = await controller.plugins.install(plugin, on)
    expect(next, told).toBe(before === '2.0.0' ? 'current' : 'installed')
    expect(await liveVersion(controller, on.target), told).toBe('2.0.0')
    expect(await damagedIn(folder!, plugin), told).toEqual([])
    expect(await litterIn(folder!), told).toEqual([])
    await noneOf(async () => (await processesNaming(folder!)).filter(isWorking), `what was at work (${told})`)
  }
  console.log(rounds.join('\n'))
  expect(rounds.some((told) => told.includes('failed'))).toBe(true)
})

/** The steps of an upgrade, how it ends where the answer is lost, and what it then says was live. */
const answers = [
  ['look', 'failed', null],
  ['put', 'failed', '1.0.0'],
  ['point the one before', 'rolled-back', '1.0.0'],
  ['point the live one', 'rolled-back', '1.0.0'],
  ['look again', 'rolled-back', '1.0.0'],
] as const

test('a step on the far side of which the answer does not arrive whole has failed, whatever it has done', async () => {
  await using host = await Host.make()
  const { registry } = host
  registry.publish(plugin, '1.0.0', { 'index.js': 'old' })
  registry.publish(plugin, '2.0.0', { 'index.js': 'new' })
  const place = join(host.directory, 'ssh')
  const order = async (nth: number, thousandths: number) =>
    writeFile(join(host.directory, 'order'), `nth=${nth} thousandths=${thousandths}`)
  await Promise.all([order(0, 0), makeForgetfulSsh(host.directory, join(ground.sshd!.bin, 'ssh'))])
  const { PATH } = process.env
  process.env.PATH = `${place}${delimiter}${PATH}`
  try {
    await using controller = await host.open()
    for (const [at, [step, outcome, from]] of [...answers, ...answers].entries()) {
      const { target, folder } = await ground.place()
      const on = { target: target! }
      await controller.plugins.install(`${plugin}@1.0.0`, on)
      const thousandths = below(1000)
      const told = `seed ${seed}: ${thousandths} thousandths of the answer to "${step}" arrive`
      await order(1 + (at % answers.length), thousandths)
      const code = 'TARGET_UNREACHABLE'
      expect(await controller.plugins.install(plugin, on), told).toMatchObject({ outcome, from, code })
      expect(await liveVersion(controller, on.target), told).toBe('1.0.0')
      expect(await controller.plugins.install(plugin, on), told).toMatchObject({ outcome: 'installed', from: '1.0.0' })
      expect(await damagedIn(folder!, plugin), told).toEqual([])
      expect(await litterIn(folder!), told).toEqual([])
    }
  } finally {
    process.env.PATH = PATH
  }
})

/** An `ssh` in the folder `ssh` that does all it is told, and of what one command answers passes on only the beginning. */
async function makeForgetfulSsh(directory: string, ssh: string): Promise<void> {
  const script = `#!/bin/sh
case " $* " in *" -G "* | *" -O "*) exec '${ssh}' "$@" ;; esac
cd '${directory}' || exit
. ./order
echo "nth=$((nth - 1)) thousandths=$thousandths" >order
[ "$nth" = 1 ] || exec '${ssh}' "$@"
'${ssh}' "$@" >answer
head -c $(($(wc -c <answer) * thousandths / 1000)) answer
exit 255
`
  await mkdir(join(directory, 'ssh'))
  await writeFile(join(directory, 'ssh', 'ssh'), script, { mode: 0o755 })
}

test('what a program that is killed in mid-upload leaves on the far side is removed by the next upload', async () => {
  await using stage = await Stage.build()
  stage.registry.publish(plugin, '2.0.0', parts(160, 100_000))
  const target = `ssh://${ground.sshd!.alias}${besideHome}/far`
  const input = { plugin, target, wanted: 'latest' }
  const plan = stage.plan('plugin-install', plugin, {}, { key: `${target} ${plugin}`, input })
  const life = { config: plan.config, target, plugin }
  const args = [JSON.stringify(plan)]
  const { program } = stage
  let cut = 0
  for (let round = 0; round < 4; round += 1) {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-kill-')))
    const home = join(directory, 'home')
    const far = join(directory, 'far')
    try {
      await prepareTarget(home, { ...life, versions: ['1.0.0'], source: 'folders' })
      const files = below(40)
      const child = spawn(process.execPath, [program, home, ...args], { stdio: 'ignore' })
      await eventually(async () => (await stagedIn(far)) > files, 'the upload')
      child.kill('SIGKILL')
      await once(child, 'exit')
      await noneOf(async () => (await processesNaming(directory)).filter(isWorking), 'what goes on alone')
      const left = (await litterIn(far)).length > 0
      if (left) cut += 1
      const { code, stderr } = await live({ program, args, directory, timeoutMs: 60_000 }, 0, null)
      expect({ code, stderr }).toMatchObject({ code: 0 })
      expect(await litterIn(far), `seed ${seed}, round ${round}: killed when ${files} files were there`).toEqual([])
      await inspectTarget(home, { ...life, leaves: '2.0.0', trees: ['1.0.0', '2.0.0'] })
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }
  console.log(`seed ${seed}: killed in time ${cut} times of 4`)
  expect(cut).toBeGreaterThan(0)
})

/** A tree on this machine, and how it is put somewhere. */
async function treeIn(directory: string, files: Readonly<Record<string, number>>): Promise<Putting> {
  const content = join(directory, 'content')
  await mkdir(content)
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(content, name), randomBytes(bytes))
  const { digest, listing } = await readTree(content)
  const { signal } = new AbortController()
  return { plugin, version: '2.0.0', digest, content, listing, key: 'attempt', signal, progress: () => {} }
}

test('an upload that ends between two files, which tar takes for its end, has failed, and no half of a tree is sealed', async () => {
  await using host = await Host.make()
  const far = join(host.directory, 'far')
  const tree = await treeIn(host.directory, { 'index.js': 10, 'other.js': 10 })
  // The folder, and a file, and what is in it.
  const script = `#!/bin/sh\ncase $3 in *'tar -x'*) head -c 1536 | "$@" ;; *) exec "$@" ;; esac\n`
  const short = join(host.directory, 'short')
  await writeFile(short, script, { mode: 0o755 })
  const upload = new RemoteTarget(new PrefixShell([short]), far, 'one', 'one-0').put(tree)
  await expect(upload).rejects.toMatchObject({ code: 'PLUGIN_DAMAGED' })
  const target = new RemoteTarget(new PrefixShell(['env']), far, 'one', 'one-0')
  expect(await target.shelf(plugin)).toMatchObject({ trees: [] })
  const { folder } = await target.put(tree)
  expect(await target.shelf(plugin)).toMatchObject({ trees: [{ folder }] })
  expect(await damagedIn(far, plugin)).toEqual([])
  expect(await litterIn(far)).toEqual([])
})

test('a step that goes on alone, beside the same step of the next attempt, hurts neither', async () => {
  await using host = await Host.make()
  const far = join(host.directory, 'far')
  const target = new RemoteTarget(new PrefixShell(['env']), far, 'one', 'one-0')
  const { folder } = await target.put(await treeIn(host.directory, { 'index.js': 10 }))
  const steps = (['previous', 'live'] as const).flatMap((link) => Array<typeof link>(60).fill(link))
  const ended = await inParallel(4, steps, (link) => target.point(plugin, link, folder).catch((error: Error) => error))
  expect(await damagedIn(far, plugin)).toEqual([])
  expect(ended.filter((error) => error !== undefined)).toEqual([])
  expect(await litterIn(far)).toEqual([])
})

test('an upload that is over before it has begun leaves no process behind', async () => {
  await using host = await Host.make()
  const target = new RemoteTarget(new PrefixShell(['env']), join(host.directory, 'far'), 'one', 'one-0')
  // More than the buffers on the way hold.
  const tree = await treeIn(host.directory, { 'index.js': 30_000_000 })
  await expect(target.put({ ...tree, signal: AbortSignal.abort() })).rejects.toThrow()
  await noneOf(() => processesNaming(host.directory), 'the packing')
})

/** How many files of a tree that is being put there have arrived. */
async function stagedIn(far: string): Promise<number> {
  const shelf = join(far, '.instar', plugin)
  const staging = (await readdir(shelf)).find((name) => name.startsWith('.staging-'))
  return staging === undefined ? 0 : (await readdir(join(shelf, staging)).catch(() => [])).length
}

async function liveVersion(controller: Controller, target: string): Promise<string> {
  const verdicts = await controller.plugins.verify(plugin, { target })
  expect(verdicts).toMatchObject([{ whole: true, problems: [] }])
  return verdicts[0]!.version!
}
