import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import { verifyJournal } from '../../src/journal/index.ts'
import { readAddress } from '../../src/plugins/address.ts'
import { LocalTarget } from '../../src/plugins/local-target.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { placed } from './plan.ts'

interface Life {
  /** For `parseConfig`. */
  readonly config: unknown
  /** As in the plan. */
  readonly target: string
  readonly plugin: string
}

interface Before extends Life {
  /** What is installed, one after the other. */
  readonly versions: readonly string[]
  /** With folders, a registry that misbehaves is not needed for what is there before. */
  readonly source: 'folders' | 'the registry'
}

/**
 * Installs what the target of a life has before its program is started for the first time. For a far one, on this machine:
 * what lies in a directory does not depend on how it was reached.
 */
export async function prepareTarget(home: string, { config, target, plugin, versions, source }: Before): Promise<void> {
  if (versions.length === 0) return
  {
    await using controller = await openController({ home, config: parseConfig(config, '/'), schedule: false })
    for (const version of versions) {
      const spec = source === 'folders' ? await folderOf(home, plugin, version) : `${plugin}@${version}`
      expect(await controller.plugins.install(spec)).toMatchObject({ outcome: 'installed' })
    }
  }
  if (target !== 'local') await rename(join(home, 'plugins'), folderIn(home, target))
  // The program is to be the first that the journal knows of.
  await rm(join(home, 'journal'), { recursive: true })
}

/** Where the plugins of a target lie. */
function folderIn(home: string, target: string): string {
  const address = readAddress(placed(target, home))
  return address.kind === 'local' ? join(home, 'plugins') : address.path
}

/** A plugin in a folder beside the home. */
export async function folderOf(home: string, name: string, version: string): Promise<string> {
  const folder = join(dirname(home), 'sources', version)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name, version }))
  return folder
}

interface After extends Life {
  /** The version that is live. */
  readonly leaves: string | null
  /** Versions of the trees that are there after a sweep that keeps no spare ones. */
  readonly trees: readonly string[]
}

/**
 * What must hold of a target once its run has ended, whatever befell it: the journal is sound, nothing is under way, what
 * is live is whole, and so is each tree beside it. Of what was killed, no process is left but the connection that ssh keeps
 * for a while; the controller that looks here has that one too, and ends it. After a sweep there is no litter, and no tree
 * but those that are wanted.
 */
export async function inspectTarget(home: string, after: After): Promise<void> {
  const { config, target: name, plugin, leaves, trees } = after
  const target = placed(name, home)
  const directory = dirname(home)
  expect((await verifyJournal(join(home, 'journal'))).problems).toEqual([])
  await noneOf(
    async () => (await processesNaming(directory)).filter(isWorking),
    'what a killed program has left at work',
  )
  {
    const sparing = parseConfig({ ...(config as object), plugins: { policy: { keep: 0 } } }, '/')
    await using controller = await openController({ home, config: sparing, schedule: false })
    expect(controller.state().runs, 'runs under way').toEqual([])
    await controller.plugins.sweep({ target })
    const found = (await controller.plugins.list({ target })).find((one) => one.name === plugin)
    expect(found?.version ?? null).toBe(leaves)
    if (leaves !== null) expect(await controller.plugins.verify(plugin, { target })).toMatchObject([{ whole: true }])
  }
  await disconnected(directory)
  expect(await damagedIn(folderIn(home, target), plugin), 'trees that are not as they were sealed').toEqual([])
  expect(await treesIn(folderIn(home, target), plugin), 'trees').toEqual([...trees].sort())
  expect(await litterIn(directory), 'what is left behind').toEqual([])
}

/** Trees that are there and not as they were sealed. */
export async function damagedIn(folder: string, plugin: string): Promise<string[]> {
  const target = new LocalTarget(folder, 'nobody', 'nobody')
  const { trees } = await target.shelf(plugin)
  const names = trees.map((tree) => tree.folder)
  const reads = await target.read(plugin, names)
  return reads.filter(({ problems }) => problems.length > 0).map(({ folder }) => folder)
}

/** Versions of all that is on a shelf, with a seal or without, but for links. */
async function treesIn(folder: string, plugin: string): Promise<string[]> {
  const names = await readdir(join(folder, '.instar', plugin)).catch(() => [])
  return names
    .filter((name) => name !== 'previous')
    .map((name) => name.split('-')[0]!)
    .sort()
}

export async function litterIn(directory: string): Promise<string[]> {
  return (await readdir(directory, { recursive: true })).filter((path) => /\.(staging|link|trash|draft)-/.test(path))
}

// ---- processes

/** Processes that have this folder in what they were started with, in their own words. */
export async function processesNaming(directory: string): Promise<string[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name))
  const told = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''))
  return (await Promise.all(told))
    .filter((words) => words.includes(`${directory}/`))
    .map((words) => words.replaceAll('\0', ' ').trim())
}

/** Not so the shared connection, which calls itself so and has nothing to do. */
export const isWorking = (words: string) => !/^ssh: .*\[mux\]$/.test(words)

export async function noneOf(find: () => Promise<string[]>, what: string, withinMs?: number): Promise<void> {
  let found: string[] = []
  const isOver = async () => {
    found = await find()
    return found.length === 0
  }
  await eventually(isOver, `the end of ${what}`, withinMs).catch((error) => {
    throw new Error(`${(error as Error).message}: ${found.join('; ').slice(0, 2000)}`)
  })
}

/** The connection ends when it is told to, not when it would end by itself. */
export const disconnected = (directory: string) => noneOf(() => processesNaming(directory), 'the connection', 10_000)
