import { cp, mkdir, mkdtemp, realpath, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { appInstall, appInstance, appPin, appRemove, appUpgrade, workspaceAdjust } from '../../machines/index.ts'
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
const watched = [appInstall, appInstance, appPin, appRemove, appUpgrade, workspaceAdjust]
const livesAtOnce = 3

export interface Story {
  readonly order: OrderName
  /** The name of the home that it begins in. */
  readonly home: string
  /** Looks what became of it; throws where that is not what it should be. `result`: what the last controller answered. */
  check(result: unknown, controller: Controller, home: string): Promise<void>
}

/** Real controllers with apps, which are killed while they do what they are asked for, and started again until it is done. */
export class AppLives implements AsyncDisposable {
  /** Where nobody lives just now. A home is lived where it was made: elsewhere its pointers would name other places. */
  private readonly places: string[]

  private constructor(
    private readonly directory: string,
    private readonly registry: TestRegistry,
    private readonly compiled: Compiled,
  ) {
    this.places = Array.from({ length: livesAtOnce }, (_, at) => join(directory, `place-${at}`))
  }

  static async make(): Promise<AppLives> {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-apps-')))
    const [registry, compiled] = await Promise.all([startRegistry(), compileInParts('test/crash/app-program.ts')])
    const lives = new AppLives(directory, registry, compiled)
    for (const place of lives.places) await mkdir(place)
    return lives
  }

  publish(version: string, first = ''): void {
    this.registry.publish('notes', version, { 'index.mjs': appCode(version, { first }) }, { bin: 'index.mjs' })
  }

  /** A home that has been left as `furnish` leaves it, in each place. Its name is given back. */
  async home(name: string, furnish: (controller: Controller) => Promise<void>): Promise<string> {
    for (const place of this.places) {
      const home = join(place, 'home')
      {
        await using controller = await this.open(home)
        await furnish(controller)
      }
      await rename(home, join(place, name))
    }
    return name
  }

  /**
   * Kills at each record that takes a transition which none before it took. Answers with these, and with what was taken only
   * after a kill.
   */
  async killedEverywhere(story: Story): Promise<ReadonlySet<string>> {
    const undisturbed = await this.lived(story, null)
    const claimed = new Set<string>()
    const fresh = [...undisturbed].filter(([, passages]) => {
      const isNews = passages.some((passage) => !claimed.has(passage))
      if (isNews) for (const passage of passages) claimed.add(passage)
      return isNews
    })
    const deaths = fresh.map(([nth], at): Death => ({ nth, how: hows[at % hows.length]! }))
    const others = await inParallel(livesAtOnce, deaths, (death) => this.lived(story, death))
    // Whoever was killed may have gone another way.
    for (const other of others) for (const passage of [...other.values()].flat()) claimed.add(passage)
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

  /**
   * Lives a story to its end, killed once or not at all, and looks what became of it. Answers with what each record of the
   * story did.
   */
  private async lived({ order, home, check }: Story, death: Death | null): Promise<Passed> {
    const place = this.places.pop()!
    const own = join(place, 'home')
    await cp(join(place, home), own, { recursive: true, verbatimSymlinks: true })
    const subject = {
      program: this.compiled.file('test/crash/app-program.ts'),
      args: [JSON.stringify(this.config), order],
      directory: place,
      timeoutMs: 60_000,
    }
    try {
      let records = await durableRecords(own)
      const begunAt = records.length
      let life: Life
      let fate: KillPoint | null = death && { after: begunAt + death.nth - 1, step: 'commit', how: death.how }
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
      const passed = [...passagesIn(records)].filter(([seq]) => seq > begunAt)
      return new Map(passed.map(([seq, passages]) => [seq - begunAt, passages]))
    } catch (error) {
      throw new Error(`${order}, ${JSON.stringify(death)}: ${(error as Error).message}`, { cause: error })
    } finally {
      await rm(own, { recursive: true, force: true })
      this.places.push(place)
    }
  }
}

/** At the `nth` record of the story, counted from 1. */
interface Death {
  readonly nth: number
  readonly how: How
}

/** What was done by each record of a story, counted from 1. */
type Passed = ReadonlyMap<number, readonly string[]>

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
