import { cp, mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { appInstall, appInstance, appRemove, appUpgrade, workspaceAdjust } from '../../machines/index.ts'
import { parseConfig } from '../../src/config.ts'
import { type Controller, openController } from '../../src/controller.ts'
import { inParallel } from '../../src/in-parallel.ts'
import { verifyJournal } from '../../src/journal/index.ts'
import { machineName, type StoredRecord } from '../../src/run/record.ts'
import { assertDurable, assertKept, durableRecords } from '../../src/testing/account.ts'
import { type Life, live } from '../../src/testing/life.ts'
import type { How, KillPoint } from '../../src/testing/mortal.ts'
import { Passages } from '../../src/testing/passages.ts'
import { startRegistry, type TestRegistry } from '../../src/testing/registry.ts'
import { appCode } from '../support/apps/app-code.ts'
import { type Compiled, compileInParts } from '../support/compiled.ts'
import type { OrderName } from './app-orders.ts'
import { processesNaming } from './plugin-target.ts'

const hows: readonly How[] = ['before', 'torn', 'after']
const watched = [appInstall, appInstance, appRemove, appUpgrade, workspaceAdjust]

export interface Story {
  readonly order: OrderName
  /** The home that it begins in. */
  readonly home: string
  /** Looks what became of it; throws where that is not what it should be. `result`: what the last controller answered. */
  check(result: unknown, controller: Controller, home: string): Promise<void>
}

/** Real controllers with apps, which are killed while they do what they are asked for, and started again until it is done. */
export class AppLives implements AsyncDisposable {
  private cases = 0

  private constructor(
    private readonly directory: string,
    private readonly registry: TestRegistry,
    private readonly compiled: Compiled,
  ) {}

  static async make(): Promise<AppLives> {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-apps-')))
    const [registry, compiled] = await Promise.all([startRegistry(), compileInParts('test/crash/app-program.ts')])
    return new AppLives(directory, registry, compiled)
  }

  publish(version: string, first = ''): void {
    this.registry.publish('notes', version, { 'index.mjs': appCode(version, { first }) }, { bin: 'index.mjs' })
  }

  /** A home that has been left as `furnish` leaves it. */
  async home(name: string, furnish: (controller: Controller) => Promise<void>): Promise<string> {
    const home = join(this.directory, name)
    await using controller = await this.open(home)
    await furnish(controller)
    return home
  }

  /**
   * Kills at each record that takes a transition which none before it took. Answers with these, and with what was taken only
   * after a kill.
   */
  async killedEverywhere(story: Story): Promise<ReadonlySet<string>> {
    const begunAt = (await durableRecords(story.home)).length
    const undisturbed = await this.lived(story, null)
    const claimed = new Set<string>()
    const fresh = [...passagesIn(undisturbed)].filter(([seq, passages]) => {
      const isNews = seq > begunAt && passages.some((passage) => !claimed.has(passage))
      if (isNews) for (const passage of passages) claimed.add(passage)
      return isNews
    })
    const points = fresh.map(
      ([seq], at): KillPoint => ({ after: seq - 1, step: 'commit', how: hows[at % hows.length]! }),
    )
    const others = await inParallel(3, points, (point) => this.lived(story, point))
    // Whoever was killed may have gone another way.
    for (const records of others)
      for (const [seq, passages] of passagesIn(records))
        if (seq > begunAt) for (const passage of passages) claimed.add(passage)
    return claimed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry[Symbol.asyncDispose]()
    await this.compiled.remove()
    await rm(this.directory, { recursive: true, force: true })
  }

  private get config() {
    return { registry: this.registry.url, apps: { policy: { parallel: 2, signatures: 'off' } } }
  }

  private open(home: string): Promise<Controller> {
    return openController({ home, config: parseConfig(this.config, '/'), schedule: false })
  }

  /** Lives a story to its end, killed at one point, and looks what became of it. */
  private async lived({ order, home, check }: Story, point: KillPoint | null): Promise<readonly StoredRecord[]> {
    const place = join(this.directory, `case-${++this.cases}`)
    const own = join(place, 'home')
    await cp(home, own, { recursive: true, verbatimSymlinks: true })
    const subject = {
      program: this.compiled.file('test/crash/app-program.ts'),
      args: [JSON.stringify(this.config), order],
      directory: place,
      timeoutMs: 60_000,
    }
    try {
      let records = await durableRecords(own)
      let life: Life
      let fate = point
      do {
        life = await live(subject, records.length, fate)
        const before = records
        records = await durableRecords(own)
        assertKept(before, records)
        assertDurable(life.stdout, records)
        fate = null
      } while (life.death !== null)
      if (life.code !== 0) throw new Error(`ended with ${life.code}: ${life.stderr.slice(-2000)}`)
      const result = JSON.parse(life.stdout.trimEnd().split('\n').at(-1)!) as unknown
      expect((await verifyJournal(join(own, 'journal'))).problems).toEqual([])
      {
        await using controller = await this.open(own)
        const installs = controller.workspaces.list().flatMap(({ apps }) => apps)
        // One for each install, and nothing that was asked for is still under way.
        expect(controller.state().runs.map(({ machine }) => machineName(machine))).toEqual(
          installs.map(() => 'app-instance'),
        )
        await check(result, controller, own)
      }
      expect(await processesNaming(place)).toEqual([])
      return records
    } catch (error) {
      throw new Error(`${order}, ${JSON.stringify(point)}: ${(error as Error).message}`, { cause: error })
    } finally {
      await rm(place, { recursive: true, force: true })
    }
  }
}

/** What each record did, by the machines that are looked at; nothing for those of others. */
function passagesIn(records: readonly StoredRecord[]): ReadonlyMap<number, readonly string[]> {
  const all = new Map<number, readonly string[]>()
  for (const machine of watched) {
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
