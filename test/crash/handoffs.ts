import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { daemonHandoff, daemonTakeover } from '../../machines/index.ts'
import { machineName, type StoredRecord } from '../../src/run/record.ts'
import type { DaemonClient, Session } from '../../src/sessions/client.ts'
import type { HandoffResult } from '../../src/sessions/protocol.ts'
import type { KillPoint, Step } from '../../src/testing/mortal.ts'
import { type Passage, Passages } from '../../src/testing/passages.ts'
import { DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { FollowedStream } from '../support/sessions/followed.ts'
import { marksIn, recordsIn } from '../support/sessions/marks.ts'
import { mastersOf } from '../support/sessions/processes.ts'
import { type Scene, TypedShell } from '../support/sessions/scene.ts'
import { type DaemonOrder, type Role, type Spoil, takenPid } from './daemon-order.ts'

type Spoils = Readonly<Record<string, Spoil>>

export interface HandoffScenario {
  readonly name: string
  readonly outcome: HandoffResult['outcome'] | 'crash'
  readonly spoils?: { readonly [role in Role]?: Spoils }
  readonly prepareTimeoutMs?: number
}

const rolesOf = ({ outcome }: HandoffScenario): readonly Role[] =>
  outcome === 'crash' ? ['follower'] : ['predecessor', 'successor']

export const handoffScenarios: readonly HandoffScenario[] = [
  { name: 'a handoff', outcome: 'handed-over' },
  { name: 'a crash', outcome: 'crash' },
  { name: 'nothing can be handed over', outcome: 'kept', spoils: { predecessor: { snapshot: 'fails' } } },
  { name: 'the successor cannot adopt', outcome: 'kept', spoils: { successor: { adopt: 'performs and fails' } } },
  {
    name: 'the successor cannot adopt, nor say so',
    outcome: 'kept',
    spoils: { successor: { adopt: 'performs and fails', refuse: 'fails' } },
  },
  { name: 'the successor does not take over', outcome: 'kept', spoils: { successor: { takeDelta: 'fails' } } },
  {
    name: 'the successor is never prepared',
    outcome: 'kept',
    spoils: { successor: { takeDelta: 'hangs' } },
    prepareTimeoutMs: 700,
  },
  { name: 'the commit fails', outcome: 'kept', spoils: { predecessor: { commit: 'fails' } } },
  {
    name: 'the commit fails, and so does going back',
    outcome: 'kept',
    spoils: { predecessor: { commit: 'fails', rollBack: 'performs and fails' } },
  },
  { name: 'no history crosses', outcome: 'handed-over', spoils: { predecessor: { finalize: 'fails' } } },
  {
    name: 'the daemon after a crash cannot adopt at first',
    outcome: 'crash',
    spoils: { follower: { adopt: 'performs and fails' } },
  },
  {
    name: 'the daemon after a crash cannot recover at first',
    outcome: 'crash',
    spoils: { follower: { recover: 'fails' } },
  },
]

/** One process, and where it is killed. */
export interface Victim {
  readonly role: Role
  readonly point: KillPoint
  readonly label: string
  /** What is about to be recorded there, or has just been. */
  readonly passages: readonly Passage[]
}

/** What a process did that was under an order. */
export interface Account {
  readonly role: Role
  readonly steps: readonly Step[]
  readonly records: readonly StoredRecord[]
}

const machines = { [daemonHandoff.id]: new Passages(daemonHandoff), [daemonTakeover.id]: new Passages(daemonTakeover) }

const passageOf = (machine: string, passage: Passage) => `${machine}: ${passage}`

/** Every transition of both machines. */
export const allPassages: readonly Passage[] = Object.entries(machines).flatMap(([id, { all }]) =>
  all.map((passage) => passageOf(id, passage)),
)

/**
 * Before and after every record that a process of the undisturbed scenario wrote, and after every word that it said in
 * between. What is in `claimed` is killed at already.
 */
export function victims(accounts: readonly Account[], claimed: Set<string>): Victim[] {
  const isFresh = (name: string) => !claimed.has(name) && claimed.add(name)
  return accounts.flatMap(({ role, steps, records }) =>
    passagesIn(role, records).flatMap(({ seq, passages }) => {
      const after = seq - 1
      const about = passages.join(', ')
      const at = (how: KillPoint['how'], what: string, step: KillPoint['step'] = { what }): Victim => ({
        role,
        passages,
        point: { after, step, how },
        label: `the ${role} is killed ${how} "${what}" in "${about}"`,
      })
      const words = steps.filter((step) => step.after === after && isWord(step)).map(({ what }) => what)
      const freshWords = words.filter((what) => isFresh(`${role} ${what}`))
      return [
        ...freshWords.map((what) => at('after', what)),
        ...(isFresh(`${role} ${about}`)
          ? [at('before', 'the record', 'commit'), at('after', 'the record', 'commit')]
          : []),
      ]
    }),
  )
}

/** What crosses between two processes, or begins one. */
const isWord = ({ what }: Step) => /^(say|give|spawn) /.test(what)

/** Of the run for which the process has its role; later it may have had another. */
function passagesIn(role: Role, records: readonly StoredRecord[]) {
  const { id } = role === 'predecessor' ? daemonHandoff : daemonTakeover
  const begin = records.find(({ event }) => event.machine !== undefined && machineName(event.machine) === id)
  const ofRun = records.filter(({ run }) => run === begin?.run)
  return machines[id]!.history(ofRun).map(({ record: { seq }, passages }) => ({
    seq,
    passages: passages.map((passage) => passageOf(id, passage)),
  }))
}

export interface Case {
  readonly scenario: HandoffScenario
  /** Null: nobody is killed but whom the scenario kills. */
  readonly victim: Victim | null
}

/** What may have been read of a session and not delivered when a daemon is killed. */
const lossBytesMax = 256 * 1024

/** More than is printed while a client on a busy machine comes back. */
const scrollbackBytes = 4 * 1024 * 1024

/** The keeper and the daemon. */
const ownProcesses = 2

/**
 * A daemon with a keeper, the sessions that it runs, and a client that stays. It goes through one case after the other.
 *
 * Whoever is killed: every shell lives on with its pid, one daemon serves and holds every terminal, the client goes on at its
 * offset with every byte in order and is told of what a crash took, the end of a program that ended meanwhile is known, and
 * the next handoff works. When the daemon is stopped at last, nothing is left.
 */
export class Place implements AsyncDisposable {
  private constructor(
    private readonly scene: Scene,
    private readonly orders: Orders,
    private readonly trial: DaemonTrial,
    private readonly client: DaemonClient,
    private readonly sessions: Sessions,
  ) {}

  /** @param idle How many sessions do nothing. */
  static async open(scene: Scene, idle: number): Promise<Place> {
    const orders = await Orders.make()
    const main = scene.compiled.file('test/crash/mortal-daemon.ts')
    let trial: DaemonTrial | undefined
    try {
      const program = { ...scene.daemon, main, word: orders.directory }
      trial = await DaemonTrial.start(program, { keeper: true, args: ['--buffer-bytes', String(scrollbackBytes)] })
      const client = await trial.client()
      return new Place(scene, orders, trial, client, await Sessions.open(scene, client, idle))
    } catch (error) {
      await trial?.[Symbol.asyncDispose]()
      await orders[Symbol.asyncDispose]()
      throw error
    }
  }

  async live({ scenario, victim }: Case): Promise<readonly Account[]> {
    try {
      return await this.liveThrough(scenario, victim)
    } catch (cause) {
      throw new Error(`${(cause as Error).message}\n${(await this.trial.log()).slice(-2_000)}`, { cause })
    }
  }

  private async liveThrough(scenario: HandoffScenario, victim: Victim | null): Promise<readonly Account[]> {
    const { orders, client, sessions, trial } = this
    const isCrash = scenario.outcome === 'crash'
    await orders.begin(scenario, victim)
    // Who is to hand over has to have its order from its beginning: so it takes over first, from whom the last case left.
    if (!isCrash) await orders.give('predecessor', 'successor')
    await this.handOver()
    const { pid: first, keeper } = await client.info()
    const ending = await EndingSessions.open(this.scene, client)

    await (isCrash ? orders.give('follower', 'kept') : orders.give('successor', 'successor'))
    if (isCrash) process.kill(first, 'SIGKILL')
    const asked = isCrash ? null : client.upgrade().catch((error) => error)
    if (victim !== null) await eventually(() => orders.hasDied(victim.role), 'the death')
    else if (isCrash) await eventually(async () => (await orders.pidOf('follower')) !== undefined, 'the next daemon')
    ending.end()
    judge(scenario, await asked, victim)
    await orders.takeBack()

    const last = await this.settle()
    const isPlanned = last === first || last === (await orders.pidOf('successor'))
    const crashes = isPlanned ? 0 : isCrash && victim !== null ? 2 : 1
    const losses = crashes + Number(losesHistory(scenario, victim))
    await sessions.areWell(client, losses)
    await ending.areKnown()
    expect((await client.info()).keeper).toEqual(keeper)
    expect(await trial.processes.zombies()).toEqual([])
    expect((await trial.strayFiles()).filter((path) => path !== 'daemon.sock')).toEqual([])
    const accounts = await orders.accounts(join(trial.directory, 'journals'))
    compareMarks(scenario, victim, accounts)
    return accounts
  }

  /** As after every case, for the last one. */
  async handOver(): Promise<void> {
    const { outcome, reason } = await this.client.upgrade()
    expect({ outcome, reason }, 'the next handoff').toEqual({ outcome: 'handed-over', reason: null })
    await this.settle()
    await this.sessions.areWell(this.client, 0)
  }

  /** Resolves when one daemon is left, it answers, it alone beside the keeper holds the terminals, and nobody is astray. */
  private async settle(): Promise<number> {
    const terminals = this.sessions.living.length
    let pid = 0
    await eventually(async () => {
      pid = (await this.client.info()).pid
      if ((await mastersOf(pid)) !== terminals) return false
      const isAlone = (await this.trial.processes.all()).length === terminals + ownProcesses
      if (!isAlone) await sleep(50) // to look at all processes takes a while, and keeps others from ending
      return isAlone
    }, 'one daemon that holds every terminal')
    return pid
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.trial[Symbol.asyncDispose]().finally(() => this.orders[Symbol.asyncDispose]())
  }
}

/** What a client had not been given when the successor took over crosses with the history. */
function losesHistory({ spoils }: HandoffScenario, victim: Victim | null): boolean {
  return victim?.role === 'predecessor' || spoils?.predecessor?.finalize === 'fails'
}

function judge({ outcome }: HandoffScenario, result: unknown, victim: Victim | null): void {
  if (outcome === 'crash') return
  if (victim === null) expect(result).toMatchObject({ outcome })
  else if (result instanceof Error) expect(result).toMatchObject({ code: 'DAEMON_GONE' })
  else expect(result).toMatchObject({ outcome: expect.stringMatching(/^(handed-over|kept)$/) })
}

/** Where both sides have written down what was handed over, they have written down the same. */
function compareMarks({ outcome }: HandoffScenario, victim: Victim | null, accounts: readonly Account[]): void {
  const marksOf = (role: Role, machine: string) =>
    marksIn(accounts.find((account) => account.role === role)?.records ?? [], machine)
  const given = marksOf('predecessor', daemonHandoff.id)
  const taken = marksOf('successor', daemonTakeover.id)
  if (given.length > 0 && taken.length > 0) expect(taken, 'what was taken over').toEqual(given)
  else expect(outcome !== 'handed-over' || victim !== null, 'both sides have written it down').toBe(true)
}

/** Programs that are to live on, whatever becomes of their daemon. */
class Sessions {
  private asked = 0

  private constructor(
    private readonly stream: FollowedStream,
    private readonly shell: TypedShell,
    private readonly idle: readonly Session[],
  ) {}

  static async open({ programs }: Scene, client: DaemonClient, idleCount: number): Promise<Sessions> {
    const idle: Session[] = []
    for (let count = 0; count < idleCount; count += 1) idle.push(await client.open({ command: programs.idle() }))
    const stream = await FollowedStream.begin(
      await client.open({ command: programs.stream({ begin: 1, rate: 300_000 }) }),
    )
    const sessions = new Sessions(stream, new TypedShell(await client.open({ command: ['sh'] })), idle)
    await sessions.shellAnswers()
    return sessions
  }

  get living(): readonly Session[] {
    return [...this.idle, this.stream.session, this.shell.session]
  }

  /** @param losses How often something may have been lost since this was asked last. */
  async areWell(client: DaemonClient, losses: number): Promise<void> {
    const pids = (await client.list()).filter(({ exit }) => exit === null).map(({ pid }) => pid)
    expect(pids, 'the shells').toEqual(this.living.map(({ info }) => info.pid))
    for (const pid of pids) process.kill(pid, 0)
    await this.shellAnswers()
    await this.stream.reaches(this.stream.looked().offset + 20_000)
    const gaps = this.stream.gaps.splice(0)
    expect(gaps.length, 'gaps').toBeLessThanOrEqual(losses)
    for (const { from, to } of gaps) expect(to - from).toBeLessThanOrEqual(losses * lossBytesMax)
  }

  private async shellAnswers(): Promise<void> {
    const { shell } = this
    this.asked += 1
    await shell.asks(`echo answer-$((${this.asked} + 100)) $$`, `answer-${this.asked + 100} ${shell.session.info.pid}`)
  }
}

/** Programs that end while something happens to their daemon: one by itself, one by a signal. */
class EndingSessions {
  private constructor(
    private readonly exiting: FollowedStream,
    private readonly killed: Session,
  ) {}

  static async open({ programs }: Scene, client: DaemonClient): Promise<EndingSessions> {
    const bytes = 4000
    const exiting = new FollowedStream(await client.open({ command: programs.stream({ bytes, pause: 1, code: 42 }) }))
    await exiting.reaches(bytes)
    // It gets the byte that it waits for when it goes on.
    process.kill(exiting.session.info.pid, 'SIGSTOP')
    await exiting.session.write('x')
    await client.info()
    return new EndingSessions(exiting, await client.open({ command: programs.idle() }))
  }

  /** Whether there is a daemon just now is nothing to them. */
  end(): void {
    process.kill(this.exiting.session.info.pid, 'SIGCONT')
    process.kill(this.killed.info.pid, 'SIGKILL')
  }

  async areKnown(): Promise<void> {
    expect(await this.exiting.ends()).toMatchObject({ code: 42, signal: null, lost: false })
    expect(await this.killed.exit).toMatchObject({ code: null, signal: 'SIGKILL', lost: false })
  }
}

/** What the processes of a case are told, and what they did. */
class Orders implements AsyncDisposable {
  private scenario: HandoffScenario | null = null
  private victim: Victim | null = null

  private constructor(readonly directory: string) {}

  static async make(): Promise<Orders> {
    return new Orders(await realpath(await mkdtemp(join(tmpdir(), 'instar-orders-'))))
  }

  /** What was told before is forgotten. */
  async begin(scenario: HandoffScenario, victim: Victim | null): Promise<void> {
    this.scenario = scenario
    this.victim = victim
    for (const name of await readdir(this.directory)) await rm(join(this.directory, name))
  }

  /** For the next process that is begun in this mode. */
  async give(role: Role, mode: 'kept' | 'successor'): Promise<void> {
    const { scenario, victim, directory } = this
    const { spoils = {}, prepareTimeoutMs } = scenario!
    const point = victim?.role === role ? victim.point : null
    const order: DaemonOrder = {
      role,
      life: { home: await realpath(tmpdir()), lastSeq: 0, trace: this.trace(role), point },
      spoils: spoils[role] ?? {},
      ...(prepareTimeoutMs !== undefined && { prepareTimeoutMs }),
    }
    const draft = join(directory, 'draft')
    await writeFile(draft, JSON.stringify(order))
    await rename(draft, join(directory, mode))
  }

  /** What no process has come for. */
  async takeBack(): Promise<void> {
    for (const mode of ['kept', 'successor']) await rm(join(this.directory, mode), { force: true })
  }

  /** At its point; or a moment before it by its predecessor, which ends whoever refuses, and may be faster. */
  async hasDied(role: Role): Promise<boolean> {
    if ((await this.steps(role)).at(-1)?.died !== undefined) return true
    const pid = await this.pidOf(role)
    return role === 'successor' && pid !== undefined && !existsSync(`/proc/${pid}`)
  }

  /** Of the process that had this role, if any had. */
  async pidOf(role: Role): Promise<number | undefined> {
    const taken = (await readdir(this.directory)).map((name) => takenPid(role, name))
    return taken.find((pid) => pid !== undefined)
  }

  async accounts(journals: string): Promise<Account[]> {
    const folders = await readdir(journals)
    return Promise.all(
      rolesOf(this.scenario!).map(async (role) => {
        const pid = await this.pidOf(role)
        const folder = folders.find((name) => name.endsWith(`-${pid}`))
        const records = folder === undefined ? [] : await recordsIn(join(journals, folder))
        return { role, steps: await this.steps(role), records }
      }),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
  }

  private trace(role: Role): string {
    return join(this.directory, `${role}.trace`)
  }

  private async steps(role: Role): Promise<Step[]> {
    const text = await readFile(this.trace(role), 'utf8').catch(() => '')
    return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Step]))
  }
}
