// Plugins: what a reader sees of a swap, what an install costs beside a plain copy, on this machine and over ssh, and how
// long going back takes.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cp, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { parseConfig } from '../dist/src/config.js'
import { openController } from '../dist/src/controller.js'
import { flushDirectory, flushTree } from '../dist/src/disk.js'
import { startRegistry } from '../dist/src/testing/registry.js'
import { withCompiled } from './compiled.mjs'
import { inScratch, inTurns, median, percentile, row, timed } from './measure.mjs'

const run = promisify(execFile)
const rounds = 7
const swaps = 1000
const folders = 100
const files = 2000
const treeBytes = 50_000_000

/** @param part The name of the only part that is wanted. */
export const plugins = ({ part: only } = {}) =>
  withCompiled(['test/support/live-reader.ts', 'test/support/sshd.ts'], async (compiled) => {
    const all = [reading, goingBack, onThisMachine, overSsh]
    const parts = all.filter(({ name }) => only === undefined || name === only)
    if (parts.length === 0) throw new Error(`there is no part "${only}"; there are ${all.map(({ name }) => name)}`)
    const rows = []
    for (const part of parts) {
      console.error(`  ${part.name} …`)
      rows.push(...(await inScratch((directory) => part(directory, compiled))))
    }
    return rows
  })

/** A figure that is held against a number, not against a peer. */
const absolute = (name, value, unit, most, peer = '-') =>
  row({
    name,
    value,
    unit,
    peer,
    ratio: value / most,
    goal: `<= ${most} ${unit}`,
    ok: value <= most,
  })

const forComparison = (name, value, unit, peer) =>
  row({ name, value, unit, peer, ratio: value / peer, goal: 'for comparison', ok: true })

/** A home with a registry of its own for as long as `work` takes. `open` opens its controller anew. */
async function withHome(directory, work) {
  const registry = await startRegistry()
  const config = parseConfig({ registry: registry.url }, directory)
  const home = join(directory, 'home')
  let controller
  const open = async () => {
    await controller?.close()
    controller = await openController({ home, config, schedule: false })
    return controller.plugins
  }
  try {
    return await work({ registry, home, plugins: await open(), open })
  } finally {
    await controller?.close()
    await registry[Symbol.asyncDispose]()
  }
}

/** Publishes a large version, puts the same tree into a folder, and answers with its path. */
async function makeLarge(directory, registry) {
  const path = join(directory, 'source')
  // Text that compresses as code does, each file its own.
  const content = () => randomBytes(treeBytes / files / 2).toString('hex')
  const tree = Object.fromEntries(
    Array.from({ length: files }, (_, at) => [`lib/part-${at % folders}/file-${at}.js`, content()]),
  )
  registry.publish('large', '1.0.0', tree)
  for (const [name, text] of Object.entries({ 'package.json': '{"name":"large","version":"1.0.0"}', ...tree })) {
    await mkdir(dirname(join(path, name)), { recursive: true })
    await writeFile(join(path, name), text)
  }
  return path
}

async function expectInstalled(installing) {
  const { outcome, reason } = await installing
  if (outcome !== 'installed') throw new Error(`it was not installed: ${outcome}, ${reason}`)
}

/** Before each side: what is left to be written is another one's. */
const settled = () => run('sync')

/** Two versions of a plugin of a few files, the first of them live again. */
async function withSmall(directory, work) {
  await withHome(directory, async (host) => {
    for (const version of ['1.0.0', '2.0.0']) {
      const text = `export default '${version}'`
      host.registry.publish('tint', version, { 'index.js': text, 'lib/one.js': text, 'lib/two.js': text })
      await expectInstalled(host.plugins.install(`tint@${version}`))
    }
    await work(host)
  })
}

async function reading(directory, { file }) {
  const { LiveReader } = await import(file('test/support/live-reader.ts'))
  let seen
  await withSmall(directory, async ({ home, plugins }) => {
    const names = ['index.js', 'lib/one.js', 'lib/two.js']
    const reader = await LiveReader.start(file('test/support/live-reader.ts'), join(home, 'plugins/tint'), names)
    for (let swap = 0; swap < swaps; swap += 1) await expectInstalled(plugins.rollback('tint'))
    seen = await reader.stop()
  })
  const { reads, changes, failed, mixtures } = seen
  return [
    row({
      name: `the live path absent or incomplete, ${swaps} swaps`,
      value: failed + mixtures,
      unit: 'of reads',
      peer: reads,
      ratio: (failed + mixtures) / reads,
      goal: `none; the reader saw ${changes} changes`,
      ok: failed + mixtures === 0 && changes > 0,
    }),
  ]
}

async function goingBack(directory) {
  let times
  await withSmall(directory, async ({ home, plugins }) => {
    const shelf = join(home, 'plugins/bare')
    await mkdir(shelf)
    const point = async (name) => {
      await symlink('../tint', join(shelf, 'draft'))
      await rename(join(shelf, 'draft'), join(shelf, name))
      await flushDirectory(shelf)
    }
    for (let round = 0; round < 20; round += 1) await expectInstalled(plugins.rollback('tint')) // warm
    times = await inTurns(500, {
      instar: () => timed(() => expectInstalled(plugins.rollback('tint'))),
      // The least that it can be: two symlinks, each durable.
      bare: () =>
        timed(async () => {
          await point('previous')
          await point('live')
        }),
    })
  })
  const { instar, bare } = times
  return [
    absolute('going back, on this machine, p50', median(instar), 'ms', 10, median(bare)),
    forComparison('going back, on this machine, p99', percentile(instar, 0.99), 'ms', percentile(bare, 0.99)),
  ]
}

async function onThisMachine(directory) {
  return withHome(directory, async ({ registry, plugins }) => {
    const path = await makeLarge(directory, registry)
    await expectInstalled(plugins.install('large'))
    const proven = async () => {
      await plugins.remove('large')
      await settled()
      return timed(() => expectInstalled(plugins.install('large')))
    }
    const plain = (copy) => async () => {
      const to = join(directory, 'copy')
      await settled()
      const ms = await timed(async () => {
        await copy(path, to)
        await flushTree(to)
      })
      await rm(to, { recursive: true })
      return ms
    }
    const sides = {
      instar: proven,
      'fs.cp': plain((from, to) => cp(from, to, { recursive: true })),
      'cp -R': plain((from, to) => run('cp', ['-R', from, to])),
    }
    for (const side of Object.values(sides)) await side() // warm
    const { instar, ...copies } = await inTurns(rounds, sides)
    const [best, peer] = Object.entries(copies)
      .map(([name, times]) => [name, median(times)])
      .reduce((a, b) => (b[1] < a[1] ? b : a))
    return [
      row({
        name: 'install of 50 MB in 2 000 files, proven before',
        value: median(instar),
        unit: 'ms',
        peer,
        ratio: median(instar) / peer,
        goal: `<= 1.3 × ${best}, the faster of two copies, + flush`,
      }),
      ...Object.entries(copies).map(([name, times]) =>
        forComparison(`  beside ${name} + flush`, median(instar), 'ms', median(times)),
      ),
      forComparison('  the first time, from a folder', await firstFromFolder(path), 'ms', peer),
    ]
  })
}

/** Everything: packing, judging, sealing, and putting it in place. */
async function firstFromFolder(folder) {
  const times = []
  for (let round = 0; round < 3; round += 1)
    await inScratch((scratch) =>
      withHome(scratch, async ({ plugins }) => {
        await settled()
        times.push(await timed(() => expectInstalled(plugins.install(folder))))
      }),
    )
  return median(times)
}

async function overSsh(directory, { load }) {
  const { startSshd } = await load('test/support/sshd.ts')
  const sshd = await startSshd(directory).catch((error) => error)
  if (sshd instanceof Error) {
    const goal = `not measured: ${sshd.message.split('\n')[0]}`
    return [row({ name: 'install over ssh', value: '-', unit: '', peer: '-', ratio: '-', goal, ok: true })]
  }
  const before = process.env.PATH
  process.env.PATH = `${sshd.bin}${delimiter}${before}`
  try {
    return await withHome(directory, async ({ registry, open, plugins }) => {
      const path = await makeLarge(directory, registry)
      await expectInstalled(plugins.install('large'))
      const far = join(directory, 'far')
      const target = `ssh://${sshd.alias}${far}`
      const steps = []
      // Both begin without a connection and without a folder over there.
      const instar = async () => {
        const again = await open()
        await settled()
        const asked = await sshd.sessions()
        const ms = await timed(() => expectInstalled(again.install('large', { target })))
        steps.push((await sshd.sessions()) - asked)
        await rm(far, { recursive: true })
        return ms
      }
      const piped = async () => {
        await settled()
        const there = `mkdir -p ${far} && tar -x -f - -C ${far} && sync -f ${far}`
        const ms = await timed(() =>
          run('sh', ['-c', `tar -c -f - -C "$1" . | ssh "$2" "$3"`, 'sh', path, sshd.alias, there]),
        )
        await rm(far, { recursive: true })
        return ms
      }
      await instar()
      await piped()
      const times = await inTurns(rounds, { instar, piped })
      const [value, peer] = [median(times.instar), median(times.piped)]
      return [
        row({
          name: 'install of the same over ssh, proven before',
          value,
          unit: 'ms',
          peer,
          ratio: value / peer,
          goal: '<= 1.3 × tar | ssh tar, and a flush',
        }),
        absolute('  round trips', Math.max(...steps), 'steps', 6),
      ]
    })
  } finally {
    process.env.PATH = before
    await sshd[Symbol.asyncDispose]()
  }
}
