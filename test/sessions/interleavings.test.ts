import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { DaemonClient, Session } from '../../src/sessions/client.ts'
import type { SessionExit } from '../../src/sessions/protocol.ts'
import type { DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { FollowedEcho, FollowedStream } from '../support/sessions/followed.ts'
import { numbered } from '../support/sessions/numbered-stream.ts'
import { sessionScene } from '../support/sessions/scene.ts'

/**
 * Random stories of everything that can happen to sessions, in any order and without waiting for each other. At the end
 * every byte of every session was received by whoever looked, once and in order, and every end is the one that was asked
 * for.
 */

const scene = sessionScene()

const lossBytesMax = 256 * 1024

const which = fc.nat(7)
const act = <Name extends string, Shape extends object>(
  name: Name,
  shape: { [Key in keyof Shape]: fc.Arbitrary<Shape[Key]> },
) => fc.record({ act: fc.constant(name), ...shape }) as unknown as fc.Arbitrary<{ act: Name } & Shape>

const acts = {
  // From one byte on: a stream of none is one without end.
  open: act('open', {
    bytes: fc.integer({ min: 1, max: 300_000 }),
    code: fc.nat(255),
    rate: fc.constantFrom(0, 500_000),
  }),
  openEcho: act('openEcho', { code: fc.nat(255) }),
  input: act('input', { which, bytes: fc.integer({ min: 1, max: 20_000 }) }),
  resize: act('resize', { which, columns: fc.integer({ min: 1, max: 500 }) }),
  exit: act('exit', { which }),
  killProgram: act('killProgram', { which }),
  close: act('close', { which }),
  attach: act('attach', { which, back: fc.nat(100_000) }),
  detach: act('detach', { which }),
  upgrade: act('upgrade', {}),
  /** In the midst of so much input for each that echoes. */
  killDaemon: act('killDaemon', { bytes: fc.integer({ min: 0, max: 20_000 }), afterMs: fc.constantFrom(0, 0, 1, 3) }),
}
type Act = {
  [Name in keyof typeof acts]: (typeof acts)[Name] extends fc.Arbitrary<infer Value> ? Value : never
}[keyof typeof acts]

const always = [
  { weight: 3, arbitrary: acts.open },
  { weight: 1, arbitrary: acts.resize },
  { weight: 2, arbitrary: acts.exit },
  { weight: 1, arbitrary: acts.killProgram },
  { weight: 1, arbitrary: acts.close },
  { weight: 2, arbitrary: acts.attach },
  { weight: 1, arbitrary: acts.detach },
  { weight: 2, arbitrary: acts.upgrade },
]
const typing = [
  { weight: 2, arbitrary: acts.openEcho },
  { weight: 4, arbitrary: acts.input },
]

const step = (which: fc.Arbitrary<Act>) => fc.record({ act: which, pauseMs: fc.constantFrom(0, 0, 1, 5, 20, 80) })
const story = (minLength: number, maxLength: number, ...more: typeof typing) =>
  fc.array(step(fc.oneof(...always, ...more) as fc.Arbitrary<Act>), { minLength, maxLength, size: 'max' })

/** What is known of one session. */
interface Told {
  readonly session: Session
  /** Of its opener, and maybe of somebody else. */
  readonly outputs: (FollowedStream | FollowedEcho)[]
  readonly kind: 'stream' | 'echo'
  readonly code: number
  /** Of a program that prints so much; of an echo: what was typed. */
  bytes: number
  ending: 'no' | 'asked' | 'killed' | 'closed'
  typing: Promise<unknown>
  readonly other: DaemonClient
  otherLooks: boolean
}

class Story {
  private readonly sessions: Told[] = []
  private readonly begun: Promise<unknown>[] = []
  private opening = 0
  private upgrades = 0
  private kills = 0

  constructor(
    private readonly trial: DaemonTrial,
    private readonly clients: DaemonClient[],
    private readonly crashes: boolean,
    private readonly isKept: boolean,
  ) {}

  async tell(steps: Steps): Promise<void> {
    for (const { act, pauseMs } of steps) {
      const done = this.do(act)
      done.catch(() => {}) // told at the end
      // Only what must not overlap is waited for: a daemon that is killed takes the requests with it.
      if (act.act === 'killDaemon') await done
      else this.begun.push(done)
      await sleep(pauseMs)
    }
    await Promise.all(this.begun)
    for (const told of this.sessions) await this.conclude(told)
  }

  private get client(): DaemonClient {
    return this.clients[this.opening % this.clients.length]!
  }

  private get living(): readonly Told[] {
    return this.sessions.filter(({ ending }) => ending === 'no')
  }

  private async do(act: Act): Promise<void> {
    switch (act.act) {
      case 'open': {
        const { bytes, code, rate } = act
        const command = scene.programs.stream({ bytes, code, rate, pause: 1 })
        return await this.open({ kind: 'stream', code, bytes }, command)
      }
      case 'openEcho':
        return await this.open({ kind: 'echo', code: act.code, bytes: 16 }, scene.programs.echo({ code: act.code }))
      case 'upgrade': {
        const { outcome, reason } = await this.client.upgrade()
        expect({ outcome, reason }).toEqual({ outcome: 'handed-over', reason: null })
        this.upgrades += 1
        return
      }
      case 'killDaemon':
        await Promise.allSettled(this.begun)
        // Answered after what ends a program was typed: what a daemon that is killed has not read yet is lost.
        for (const client of this.clients) await client.info()
        for (const told of this.living) this.type(told, act.bytes)
        await sleep(act.afterMs)
        await this.trial.kill()
        this.kills += 1
        // Of what is asked while a connection is just breaking nobody knows whether it was done.
        for (const client of this.clients) await client.info()
        return
    }
    const { living } = this
    const told = living[act.which % living.length]
    if (told === undefined) return
    switch (act.act) {
      case 'input':
        return this.type(told, act.bytes)
      case 'resize':
        return await told.session.resize({ columns: act.columns, rows: 24 })
      case 'exit':
        return await this.end(told)
      case 'killProgram':
        told.ending = 'killed'
        await told.typing
        return await told.session.signal('SIGKILL')
      case 'close':
        told.ending = 'closed'
        await told.typing
        await told.session.close()
        return
      case 'attach': {
        if (told.otherLooks) return
        told.otherLooks = true
        const from = Math.max(0, told.outputs[0]!.offset - act.back)
        told.outputs.push(this.followed(told.kind, await told.other.session(told.session.id), from))
        return
      }
      case 'detach':
        if (told.outputs.length === 1) return
        await told.outputs.pop()!.detach()
        told.otherLooks = false
        return
    }
  }

  private async open(what: Pick<Told, 'kind' | 'code' | 'bytes'>, command: string[]): Promise<void> {
    const client = this.client
    this.opening += 1
    const other = this.client
    const session = await client.open({ command })
    const outputs = [this.followed(what.kind, session)]
    this.sessions.push({ session, outputs, ending: 'no', typing: Promise.resolve(), other, otherLooks: false, ...what })
  }

  /** @param from Where somebody attaches; by default one follows what has just been opened. */
  private followed(kind: Told['kind'], session: Session, from?: number): FollowedStream | FollowedEcho {
    if (kind === 'echo' && this.crashes) return new FollowedEcho(session, from)
    return new FollowedStream(session, from, this.crashes && from !== undefined ? 'unknown' : 'none')
  }

  private type(told: Told, bytes: number): void {
    if (told.kind !== 'echo') return
    const at = told.bytes
    told.bytes += bytes
    told.typing = told.typing.then(async () => {
      if (at === 16) await told.outputs[0]!.reaches(16) // raw from then on
      const written = told.session.write(numbered(at, bytes))
      // A daemon that is killed takes with it what it has not given to the program.
      await (this.crashes ? written.catch(lostWithTheDaemon) : written)
    })
  }

  /** Lets the program come to its end. */
  private async end(told: Told): Promise<void> {
    told.ending = 'asked'
    await told.typing
    if (told.kind === 'stream') {
      await told.outputs[0]!.reaches(1) // raw from then on
      await told.outputs[0]!.session.write(Buffer.from('x'))
      return
    }
    const output = told.outputs[0]!
    if (output instanceof FollowedEcho) {
      this.type(told, 64) // what was typed before may have been lost; this is not
      await told.typing
      await output.echoes(told.bytes)
    } else await output.reaches(told.bytes)
    await told.session.signal('SIGTERM')
  }

  private async conclude(told: Told): Promise<void> {
    if (told.ending === 'no') await this.end(told)
    const exits = await Promise.all(told.outputs.map((output) => output.ends()))
    for (const exit of exits) expect(exit).toEqual(exits[0])
    // Without a keeper nobody can know how a program ended that an earlier daemon had started.
    if (!this.isKept && this.upgrades > 0 && exits[0]!.lost)
      expect(exits[0]).toMatchObject({ code: null, signal: null })
    else expect(exits[0]).toMatchObject(endOf(told))
    const lost = told.outputs[0]!.gaps.reduce((sum, { from, to }) => sum + to - from, 0)
    if (told.kind === 'stream' && told.ending === 'asked' && lost === 0) expect(exits[0]!.offset).toBe(told.bytes)
    for (const { from, to } of told.outputs[0]!.gaps) expect(to - from).toBeLessThanOrEqual(lossBytesMax)
    // With a daemon what it had been typed may go, and what it had read.
    for (const output of told.outputs)
      if (output instanceof FollowedEcho) expect(output.breaks(told.bytes)).toBeLessThanOrEqual(2 * this.kills)
  }
}

function lostWithTheDaemon(error: { code?: string }): void {
  if (error.code !== 'DAEMON_GONE') throw error
}

function endOf({ kind, code, ending }: Told): Partial<SessionExit> {
  if (ending === 'killed') return { code: null, signal: 'SIGKILL', lost: false }
  if (ending === 'closed') return { lost: false }
  return kind === 'stream' ? { code, signal: null, lost: false } : { code: null, signal: 'SIGTERM', lost: false }
}

type Steps = readonly { readonly act: Act; readonly pauseMs: number }[]

async function follow(steps: Steps, keeper = true): Promise<void> {
  const crashes = steps.some(({ act }) => act.act === 'killDaemon')
  await using trial = await scene.start({ keeper })
  const clients = [await trial.client({ reconnect: crashes }), await trial.client({ reconnect: crashes })]
  await new Story(trial, clients, crashes, keeper).tell(steps)
}

describe('over any order of what happens to sessions', () => {
  test('every byte arrives once and in order, and every end is the right one', async () => {
    const property = fc.asyncProperty(story(6, 30, ...typing), (steps) => follow(steps))
    await fc.assert(property, { numRuns: 7, endOnFailure: true })
  }, 120_000)

  test('the same without a keeper, but for the ends that nobody can know, which are told as lost', async () => {
    const property = fc.asyncProperty(story(6, 30, ...typing), (steps) => follow(steps, false))
    await fc.assert(property, { numRuns: 4, endOnFailure: true })
  }, 120_000)

  test('and a daemon that is killed, what is missing is told and bounded, and every end is the right one', async () => {
    // Twice: a keeper takes its time with daemons that die young.
    const kill = step(acts.killDaemon)
    const part = story(2, 10, ...typing)
    const steps = fc
      .tuple(part, kill, part, kill, part)
      .map(([first, one, then, other, last]) => [...first, one, ...then, other, ...last])
    await fc.assert(
      fc.asyncProperty(steps, (told) => follow(told)),
      { numRuns: 5, endOnFailure: true },
    )
  }, 120_000)
})
