import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AnyStateMachine } from 'xstate'
import { inParallel } from '../in-parallel.ts'
import { machineName, type StoredRecord } from '../run/record.ts'
import { assertDurable, assertKept, durableRecords } from './account.ts'
import { seededRandom } from './disk.ts'
import { type Fate, type Life, live, type Subject } from './life.ts'
import type { KillPoint, Step } from './mortal.ts'
import { type Passage, Passages, type Taken } from './passages.ts'

export interface KillMatrixOptions {
  readonly machine: AnyStateMachine
  /**
   * A program for Node, whose first statement is `mortal()`. Its arguments are an absolute path, where it opens a home,
   * and those of the scenario. It begins one run of the machine unless one was begun before, and ends with 0 when that
   * run has ended. It may claim on stdout what it has shown, one line of JSON for each record: `{"seq":7,"digest":"…"}`.
   */
  readonly program: string
  /** Together they pass every transition of the machine. A transition is killed in the first that passes it. */
  readonly scenarios: readonly Scenario[]
  /** Looks whether the disk is as the end says; throws where it is not. After the scenario's own. */
  readonly check?: (ended: Ended) => Promise<void>
  /** Transitions that no scenario can pass, and why. */
  readonly excused?: Readonly<Record<Passage, string>>
  /** In how many places between two records to kill once each. Default 1; `Infinity` for all there are. */
  readonly within?: number
  /**
   * For machines of which a run costs much: a transition is killed once, in the home that goes through all of them and in a
   * way that changes from one to the next; in a home of its own only where that one missed it. Default false.
   */
  readonly sparing?: boolean
  /** How many kills at random moments to add. Default 20. */
  readonly atRandom?: number
  /** Lives at the same time. Default 4. */
  readonly parallel?: number
  /** Chooses the places. Default 1. */
  readonly seed?: number
  /** For one life. Default one minute. */
  readonly timeoutMs?: number
}

export interface Scenario {
  readonly name: string
  readonly args?: readonly string[]
  /** Makes what the home has before the program is started for the first time. Nothing is there yet. */
  prepare?(home: string): Promise<void>
  /** The final states that the run may end in; the undisturbed one ends in the first. */
  readonly ends: readonly [string, ...string[]]
  check?(ended: Ended): Promise<void>
}

/** A run that has ended, whatever befell it. */
export interface Ended {
  readonly scenario: string
  readonly home: string
  /** The final state. */
  readonly state: string
  readonly output: unknown
  readonly records: readonly StoredRecord[]
  readonly deaths: readonly Step[]
}

export interface KillMatrixReport {
  readonly machine: string
  /** How often each transition was killed: before its effect, in it, before its record was durable, or after. */
  readonly transitions: Readonly<Record<Passage, number>>
  /** Neither killed nor excused, and excuses for what is not there or is passed after all. */
  readonly uncovered: readonly string[]
  readonly failures: readonly string[]
  readonly kills: number
  readonly lives: number
}

/**
 * Kills a program at every transition of a machine, and looks what becomes of the run.
 *
 * Every scenario is run once undisturbed. From what it did, points are chosen for each transition: in its effect, after
 * the effect and before its record is durable, and right after the record, which is before the next effect. At each of
 * them a real process is killed once, few of them and far apart in one home, and started again until the run has ended.
 * Then one home goes through all of them, killed at each transition again and again: at the same step of the effect, in
 * the middle of writing the record, or while it recovers. At last some runs are killed at random moments.
 *
 * Whatever happened, the run must end where the machine says that it may, no record may change or get lost that was
 * durable once, nothing may have been shown that was not, and the checks must pass.
 */
export async function killMatrix(options: KillMatrixOptions): Promise<KillMatrixReport> {
  const { machine, scenarios, excused = {}, parallel = 4 } = options
  const passages = new Passages(machine)
  const matrix = new Matrix(options, passages)
  const undisturbed = await inParallel(parallel, scenarios, (scenario) =>
    matrix.attempt({ scenario, name: 'undisturbed', fates: [] }),
  )
  await inParallel(parallel, matrix.cases(undisturbed), (each) => matrix.attempt(each))
  for (const nth of [0, 1, 2])
    await inParallel(parallel, matrix.missed(undisturbed, nth), (each) => matrix.attempt(each))

  const transitions = Object.fromEntries(passages.all.map((passage) => [passage, matrix.killed.get(passage) ?? 0]))
  const uncovered = [
    ...passages.all.filter((passage) => transitions[passage] === 0 && excused[passage] === undefined),
    ...Object.keys(excused)
      .filter((passage) => transitions[passage] !== 0)
      .map((passage) => `${passage} (excused for nothing)`),
  ]
  const { failures, kills, lives } = matrix
  return { machine: machine.id, transitions, uncovered, failures, kills, lives }
}

interface Case {
  readonly scenario: Scenario
  readonly name: string
  /** Of its lives, in turn; those that come after meet none. */
  readonly fates: readonly NonNullable<Fate>[]
  /** The first of them is bound to be met. */
  readonly certain?: boolean
}

interface Attempt {
  readonly scenario: Scenario
  readonly life: Life
  readonly history: readonly Taken[]
}

class Matrix {
  readonly killed = new Map<Passage, number>()
  readonly failures: string[] = []
  kills = 0
  lives = 0

  constructor(
    private readonly options: KillMatrixOptions,
    private readonly passages: Passages,
  ) {}

  /** Lives the scenario to its end. */
  async attempt({ scenario, name, fates, certain = false }: Case): Promise<Attempt | null> {
    const { program, timeoutMs = 60_000 } = this.options
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-kill-')))
    try {
      const subject = { program, args: scenario.args ?? [], directory, timeoutMs }
      await scenario.prepare?.(join(directory, 'home'))
      const { life, records, deaths } = await this.untilItEnds(subject, fates)
      if (certain && deaths.length === 0) throw new Error('the point was not reached')
      const history = this.passages.history(records)
      const state = this.judge(scenario, history, deaths.length > 0)
      for (const { after } of deaths) this.count(history[after]?.passages ?? [])
      const { output } = history.at(-1)!.run.snapshot
      const ended = { scenario: scenario.name, home: join(directory, 'home'), state, output, records, deaths }
      await scenario.check?.(ended)
      await this.options.check?.(ended)
      return { scenario, life, history }
    } catch (error) {
      this.failures.push(`${scenario.name}, ${name}: ${(error as Error).message}`)
      return null
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }

  /** What to try, from what the undisturbed runs did. */
  cases(undisturbed: readonly (Attempt | null)[]): Case[] {
    const claimed = new Set<Passage>()
    const random = seededRandom(this.options.seed ?? 1)
    const attempts = undisturbed.filter((attempt) => attempt !== null)
    const atRandom = this.atRandom(attempts, random)
    const atPoints = attempts.flatMap(({ scenario, history, life: { steps } }) => {
      const fresh = history.filter(({ passages }) => passages.some((passage) => !claimed.has(passage)))
      for (const { passages } of fresh) for (const passage of passages) claimed.add(passage)
      return fresh.length === 0 ? [] : this.atPoints(scenario, fresh, steps, random)
    })
    return [...atPoints, ...atRandom]
  }

  /**
   * Whoever was killed earlier may have gone another way than the undisturbed run; and that may have gone a way that is rarely
   * gone. So what was missed is tried in the `nth` of the scenarios that pass it, counted from 0.
   */
  missed(undisturbed: readonly (Attempt | null)[], nth: number): Case[] {
    const { excused = {} } = this.options
    const passing = new Map<Passage, number>()
    const isNext = (passage: Passage) =>
      !this.killed.has(passage) && excused[passage] === undefined && (passing.get(passage) ?? 0) === nth
    return undisturbed.flatMap((attempt) => {
      if (attempt === null) return []
      const { scenario, history } = attempt
      const fresh = history.filter(({ passages }) => passages.some(isNext))
      for (const passage of new Set(history.flatMap(({ passages }) => passages)))
        passing.set(passage, (passing.get(passage) ?? 0) + 1)
      return fresh.flatMap(({ record: { seq }, passages }) =>
        (['before', 'after'] as const).map((how) => ({
          scenario,
          name: `killed ${how} the record of "${passages.join(', ')}"`,
          fates: [{ after: seq - 1, step: 'commit', how }] as const,
          certain: true,
        })),
      )
    })
  }

  private atRandom(attempts: readonly Attempt[], random: () => number): Case[] {
    const { atRandom = 20 } = this.options
    const runs = attempts.slice(0, Math.ceil(atRandom / killsInARow))
    return runs.map(({ scenario, life }, run) => {
      const count = Math.min(killsInARow, atRandom - run * killsInARow)
      const fates = Array.from({ length: count }, () => ({ afterMs: Math.ceil(random() * life.durationMs) }))
      return { scenario, name: 'killed at random moments', fates }
    })
  }

  private atPoints(
    scenario: Scenario,
    fresh: readonly Taken[],
    steps: readonly Step[],
    random: () => number,
  ): readonly Case[] {
    const { sparing = false } = this.options
    const once: KillPoint[] = []
    const names = new Map<KillPoint, string>()
    const inTurn: KillPoint[] = []
    for (const [at, { record, passages }] of fresh.entries()) {
      const after = record.seq - 1
      const own = steps.filter((step) => step.after === after && step.step !== 'commit')
      const inEffect = own.flatMap(({ step, hows }) => hows.map((how): KillPoint => ({ after, step, how })))
      const chosen = sample(inEffect, this.options.within ?? 1, random)
      const unrecorded: KillPoint = { after, step: 'commit', how: 'before' }
      const torn: KillPoint = { after, step: 'commit', how: 'torn' }
      const recorded: KillPoint = { after, step: 'commit', how: 'after' }
      for (const point of sparing ? [] : [...chosen, unrecorded, recorded]) {
        once.push(point)
        names.set(point, `${point.how} ${labelOf(point, own)} of "${passages.join(', ')}"`)
      }
      const inRecovery: KillPoint = { after, step: 1 + Math.floor(random() * recoverySteps), how: 'before' }
      const unfinished = chosen.at(-1) ?? unrecorded
      if (sparing) {
        inTurn.push([unfinished, torn, unrecorded, recorded][at % 4]!)
        continue
      }
      const repeatedly = [
        [unfinished, unfinished],
        [torn, torn],
        [inRecovery, unrecorded],
      ]
      inTurn.push(...repeatedly[at % repeatedly.length]!, recorded)
    }
    const apart = farApart(once, pointsInAHome).map((fates): Case => {
      const name = `killed ${fates.map((point) => names.get(point)).join(', then ')}`
      return { scenario, name, fates, certain: fates[0]!.step === 'commit' }
    })
    return [...apart, { scenario, name: 'killed at each of its transitions in turn', fates: inTurn }]
  }

  private async untilItEnds(subject: Subject, fates: Case['fates']) {
    const deaths: Step[] = []
    const left = [...fates]
    let records: StoredRecord[] = []
    for (;;) {
      const life = await live(subject, records.length, nextFate(left, records.length))
      this.lives += 1
      const before = records
      records = await durableRecords(join(subject.directory, 'home'))
      assertOneRun(records, this.options.machine.id)
      assertKept(before, records)
      assertDurable(life.stdout, records)
      if (life.death === null) {
        if (life.code === 0) return { life, records, deaths }
        throw new Error(`${endOf(life, records)}; ${labels(deaths)}: ${life.stderr.slice(-2_000)}`)
      }
      this.kills += 1
      deaths.push(life.death)
    }
  }

  /** The state in which the run has ended. */
  private judge({ ends }: Scenario, history: readonly Taken[], wasKilled: boolean): string {
    const last = history.at(-1)
    if (last?.run.snapshot.status !== 'done') throw new Error(`the run has not ended, it is in ${last?.state}`)
    const { state } = last
    const allowed = wasKilled ? ends : ends.slice(0, 1)
    if (!allowed.includes(state)) throw new Error(`the run ended in ${state}, not in ${allowed.join(' or ')}`)
    return state
  }

  private count(passages: readonly Passage[]): void {
    for (const passage of passages) this.killed.set(passage, (this.killed.get(passage) ?? 0) + 1)
  }
}

/** The first of those left that can still be met. */
function nextFate(left: NonNullable<Fate>[], lastSeq: number): Fate {
  for (let fate = left.shift(); fate !== undefined; fate = left.shift())
    if ('afterMs' in fate || fate.after >= lastSeq) return fate
  return null
}

function assertOneRun(records: readonly StoredRecord[], machine: string): void {
  const runs = new Set(records.map(({ run }) => run))
  const [first] = records
  if (runs.size > 1 || (first !== undefined && machineName(String(first.event.machine)) !== machine))
    throw new Error(`the program may have one run of ${machine} in its home; it has ${[...runs].join(', ')}`)
}

function endOf({ code, signal, steps }: Life, records: readonly StoredRecord[]): string {
  const how = signal === null ? `ended with code ${code}` : `was ended by ${signal}`
  return `the program ${how} after record ${records.length} (${records.at(-1)?.event.type}), having done "${steps.at(-1)?.what}"`
}

const labelOf = ({ step }: KillPoint, steps: readonly Step[]) =>
  step === 'commit' ? 'the record' : `step ${step} (${steps.find((each) => each.step === step)?.what})`

const labels = (deaths: readonly Step[]) =>
  deaths.length === 0
    ? 'killed nowhere'
    : `killed ${deaths.map(({ after, what, died = 'at' }) => `${died} "${what}" after record ${after}`).join(', ')}`

/** So that the run gets on between them. */
const killsInARow = 5

/** A life costs a tenth of a second of a core, and a home that was killed once needs one more to end. */
const pointsInAHome = 3

/** About so many changes a program makes before its effects go on. */
const recoverySteps = 8

/** In groups of up to `size` whose members stand as far from each other as can be; their order is kept. */
function farApart<Item>(items: readonly Item[], size: number): Item[][] {
  const count = Math.ceil(items.length / size)
  return Array.from({ length: count }, (_, group) => items.filter((_, at) => at % count === group))
}

/** `count` of them, spread evenly from a random start; their order is kept. */
function sample<Item>(items: readonly Item[], count: number, random: () => number): Item[] {
  if (items.length <= count) return [...items]
  const start = random()
  return Array.from({ length: count }, (_, at) => items[Math.floor(((at + start) * items.length) / count)]!)
}
