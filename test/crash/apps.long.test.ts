/**
 * An upgrade of an app over four workspaces, in a real controller with real processes, killed at every transition that it
 * and the instances take: before its record is durable, in the midst of it, or after it.
 *
 * The runs of several machines are woven together a little differently each time, so a point is one of the journal as a
 * whole: where another record comes there, that one is killed.
 *
 * Seen found: effects that went on after a crash did not know yet what runs in the workspaces, and left one behind.
 */
import { cp, mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { appInstance, appUpgrade } from '../../machines/index.ts'
import { parseConfig } from '../../src/config.ts'
import { type Controller, openController } from '../../src/controller.ts'
import { inParallel } from '../../src/in-parallel.ts'
import { verifyJournal } from '../../src/journal/index.ts'
import type { AppUpgraded } from '../../src/managed-apps.ts'
import { machineName, type StoredRecord } from '../../src/run/record.ts'
import { assertDurable, assertKept, durableRecords } from '../../src/testing/account.ts'
import { type Life, live } from '../../src/testing/life.ts'
import type { How, KillPoint } from '../../src/testing/mortal.ts'
import { Passages } from '../../src/testing/passages.ts'
import { startRegistry, type TestRegistry } from '../../src/testing/registry.ts'
import { appCode } from '../support/apps/app-code.ts'
import { type Compiled, compileInParts } from '../support/compiled.ts'
import { processesNaming } from './plugin-target.ts'

const workspaces = ['a', 'b', 'c', 'd']
const hows: readonly How[] = ['before', 'torn', 'after']

let directory: string
let registry: TestRegistry
let compiled: Compiled
const config = () => ({ registry: registry.url, apps: { policy: { parallel: 2, signatures: 'off' } } })

beforeAll(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-apps-')))
  ;[registry, compiled] = await Promise.all([startRegistry(), compileInParts('test/crash/app-program.ts')])
})
afterAll(async () => {
  await registry[Symbol.asyncDispose]()
  await compiled.remove()
  await rm(directory, { recursive: true, force: true })
})

const open = (home: string) => openController({ home, config: parseConfig(config(), '/'), schedule: false })

/** Homes in which four workspaces have version 1.0.0, those that are named with an environment of their own. */
async function template(name: string, broken: readonly string[]): Promise<string> {
  const home = join(directory, name)
  await using controller = await open(home)
  for (const workspace of workspaces) {
    await controller.workspaces.add(workspace)
    await controller.apps.install('notes@1.0.0', {
      workspace,
      env: broken.includes(workspace) ? { BROKEN: 'yes' } : {},
    })
  }
  return home
}

const publish = (version: string, first = '') =>
  registry.publish('notes', version, { 'index.mjs': appCode(version, { first }) }, { bin: 'index.mjs' })

interface Lived {
  readonly records: readonly StoredRecord[]
  readonly result: AppUpgraded
}

let cases = 0

/** Lives an upgrade to its end, killed at one point, and looks what became of it. */
async function lived(
  home: string,
  point: KillPoint | null,
  check: (lived: Lived, controller: Controller) => Promise<void>,
) {
  const place = join(directory, `case-${++cases}`)
  await cp(home, join(place, 'home'), { recursive: true })
  const subject = {
    program: compiled.file('test/crash/app-program.ts'),
    args: [JSON.stringify(config())],
    directory: place,
    timeoutMs: 60_000,
  }
  try {
    let records = await durableRecords(join(place, 'home'))
    let life: Life
    let fate = point
    do {
      life = await live(subject, records.length, fate)
      const before = records
      records = await durableRecords(join(place, 'home'))
      assertKept(before, records)
      assertDurable(life.stdout, records)
      fate = null
    } while (life.death !== null)
    if (life.code !== 0) throw new Error(`ended with ${life.code}: ${life.stderr.slice(-2000)}`)
    const result = JSON.parse(life.stdout.trimEnd().split('\n').at(-1)!) as AppUpgraded
    expect((await verifyJournal(join(place, 'home', 'journal'))).problems).toEqual([])
    {
      await using controller = await open(join(place, 'home'))
      expect(controller.state().runs.map(({ machine }) => machineName(machine))).toEqual(
        workspaces.map(() => 'app-instance'),
      )
      await check({ records, result }, controller)
    }
    expect(await processesNaming(place)).toEqual([])
    return records
  } catch (error) {
    throw new Error(`${JSON.stringify(point)}: ${(error as Error).message}`)
  } finally {
    await rm(place, { recursive: true, force: true })
  }
}

async function versions({ apps }: Controller): Promise<string[]> {
  const asked = workspaces.map(async (workspace) => {
    const { content } = (await apps.call({ workspace, app: 'notes' }, 'version')) as { content: { text: string }[] }
    return content[0]!.text
  })
  return Promise.all(asked)
}

/** What each record did, by the machines that are looked at; nothing for those of others. */
function passagesOf(records: readonly StoredRecord[]): ReadonlyMap<number, readonly string[]> {
  const all = new Map<number, readonly string[]>()
  for (const machine of [appUpgrade, appInstance]) {
    const passages = new Passages(machine)
    const runs = new Set(records.filter(({ event }) => begins(event, machine.id)).map(({ run }) => run))
    for (const run of runs)
      for (const taken of passages.history(records.filter((record) => record.run === run)))
        all.set(
          taken.record.seq,
          taken.passages.map((passage) => `${machine.id}: ${passage}`),
        )
  }
  return all
}

const begins = ({ type, machine }: StoredRecord['event'], id: string) =>
  type === 'xstate.init' && machineName(String(machine)) === id

/** Kills at each record that takes a transition which none before it took. Answers with the transitions. */
async function killedEverywhere(
  home: string,
  check: (lived: Lived, controller: Controller) => Promise<void>,
): Promise<ReadonlySet<string>> {
  const begunAt = (await durableRecords(home)).length
  const undisturbed = await lived(home, null, check)
  const claimed = new Set<string>()
  const fresh = [...passagesOf(undisturbed)].filter(([seq, passages]) => {
    const isNews = seq > begunAt && passages.some((passage) => !claimed.has(passage))
    if (isNews) for (const passage of passages) claimed.add(passage)
    return isNews
  })
  const points = fresh.map(([seq], at): KillPoint => ({ after: seq - 1, step: 'commit', how: hows[at % hows.length]! }))
  await inParallel(3, points, async (point) => void (await lived(home, point, check)))
  return claimed
}

// Dozens of lives with several processes each.
const timeout = 600_000

test(
  'an upgrade that is killed at any transition is completed by the next controller, and every workspace serves',
  async () => {
    publish('1.0.0')
    const home = await template('good', [])
    publish('2.0.0')
    const killed = await killedEverywhere(home, async ({ result }, controller) => {
      // Killed after its last record, it is asked for once more.
      expect(['upgraded', 'current']).toContain(result.outcome)
      expect(await versions(controller)).toEqual(workspaces.map(() => '2.0.0'))
    })
    console.log(`an upgrade of four workspaces: killed at ${killed.size} transitions`)
    expect([...killed]).toContain('app-upgrade: raising: raise done -> planning')
    expect([...killed]).toContain('app-instance: changing: change done -> attending')
  },
  timeout,
)

test(
  'one that has to go back, killed anywhere, leaves every workspace with the old version, which serves',
  async () => {
    publish('1.0.0')
    const home = await template('bad', ['b', 'c', 'd'])
    publish('2.0.0', 'if (process.env.BROKEN) process.exit(1)')
    const killed = await killedEverywhere(home, async ({ result }, controller) => {
      expect(result).toMatchObject({ outcome: 'returned', to: '2.0.0' })
      expect(await versions(controller)).toEqual(workspaces.map(() => '1.0.0'))
    })
    console.log(`one that goes back: killed at ${killed.size} transitions`)
    expect([...killed]).toContain('app-upgrade: goingBack: goBack done -> returned')
  },
  timeout,
)
