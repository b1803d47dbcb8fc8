import { setTimeout as sleep } from 'node:timers/promises'
import { connectDaemon, type DaemonClient } from '../../../src/sessions/client.ts'
import type { HandoffResult } from '../../../src/sessions/protocol.ts'
import type { DaemonTrial } from './daemon-trial.ts'
import { eventually } from './eventually.ts'
import { FollowedStream } from './followed.ts'
import { numbered } from './numbered-stream.ts'
import { descriptorsOf, residentBytes } from './processes.ts'
import type { TerminalProgram } from './terminal-program.ts'

export interface StressOptions {
  /** Sessions that print all they can, or `rate` bytes a second each. */
  readonly printing: number
  readonly rate?: number
  /** Sessions that are typed into. */
  readonly echoing: number
  /** Sessions that do nothing. */
  readonly idle?: number
  readonly clients: number
  /** Default: beside it sessions come and end, and clients come and go, as fast as they can. */
  readonly beside?: boolean
  readonly upgrades: number
  /** Between two upgrades. */
  readonly pauseMs?: number
  readonly onUpgrade?: (result: HandoffResult, number: number) => void
}

export interface StressReport {
  readonly upgrades: readonly HandoffResult[]
  /** Received and compared. */
  readonly bytes: number
  readonly seconds: number
  /** Short-lived sessions that ended as they were told to. */
  readonly ends: number
  /** In a tight loop beside it; each got an answer. */
  readonly connects: number
  /** Of the daemon after the first upgrade, before anything went on beside it, and after the last. */
  readonly first: Footprint
  readonly last: Footprint
}

export interface Footprint {
  readonly residentBytes: number
  readonly descriptors: number
}

const typedAheadBytes = 3000
const promptBytes = 16
const settledLooks = 6
const signals = [
  [9, 'SIGKILL'],
  [15, 'SIGTERM'],
  [1, 'SIGHUP'],
] as const

/**
 * Upgrades a daemon over and over under load. Every byte is compared; the clients must stay connected, since they do not
 * reconnect; whatever is wrong rejects.
 */
export async function stress(
  trial: DaemonTrial,
  programs: TerminalProgram,
  options: StressOptions,
): Promise<StressReport> {
  const {
    printing,
    echoing,
    idle = 0,
    clients: clientCount,
    upgrades: upgradeCount,
    beside = true,
    pauseMs = 20,
  } = options
  const clients = await Promise.all(Array.from({ length: clientCount }, () => trial.client({ reconnect: false })))
  const clientOf = (index: number) => clients[index % clients.length]!
  const printer = programs.stream({ begin: 1, ...(options.rate !== undefined && { rate: options.rate }) })
  const printed: FollowedStream[] = []
  const typed: FollowedStream[] = []
  for (let index = 0; index < idle; index += 1) await clientOf(index).open({ command: programs.idle() })
  for (let index = 0; index < printing; index += 1)
    printed.push(await FollowedStream.begin(await clientOf(index).open({ command: printer })))
  for (let index = 0; index < echoing; index += 1)
    typed.push(new FollowedStream(await clientOf(index).open({ command: programs.echo() })))
  for (const stream of typed) await stream.reaches(promptBytes)

  const began = performance.now()
  const upgrades: HandoffResult[] = []
  const upgrade = async () => {
    const number = upgrades.length + 1
    const result = await clientOf(number).upgrade()
    if (result.outcome !== 'handed-over') throw new Error(`upgrade ${number}: ${JSON.stringify(result.reason)}`)
    upgrades.push(result)
    options.onUpgrade?.(result, number)
    return result.successor!
  }
  const first = await footprint(await upgrade())

  const running = new Running()
  const sent = new Map(typed.map((stream) => [stream, promptBytes]))
  for (const stream of typed)
    running.loop(async () => {
      const at = sent.get(stream)!
      const length = Math.min(1 + Math.floor(Math.random() * 700), typedAheadBytes - (at - stream.looked().printed))
      if (length <= 0) return void (await sleep(1))
      sent.set(stream, at + length)
      await stream.session.write(numbered(at, length))
    })
  let ends = 0
  let connects = 0
  if (beside) {
    running.loop(async () => {
      await shortLife(clientOf(ends), programs)
      ends += 1
    })
    running.loop(async () => {
      await using client = await connectDaemon({ path: trial.socket, reconnect: false })
      await client.info()
      connects += 1
    })
  }

  while (upgrades.length < upgradeCount) {
    await running.orFails(upgrade())
    await running.orFails(sleep(pauseMs))
    for (const stream of printed) stream.looked()
  }
  const seconds = (performance.now() - began) / 1000
  await running.stop()
  const last = await footprint(upgrades.at(-1)!.successor!)

  for (const stream of typed) await stream.reaches(sent.get(stream)!)
  for (const stream of printed) await stream.reaches(stream.offset + 10_000)
  for (const stream of [...printed, ...typed]) {
    await stream.session.signal('SIGTERM')
    const exit = await stream.ends()
    if (exit.signal !== 'SIGTERM' || stream.gaps.length > 0)
      throw new Error(`${stream.session.id} ended with ${JSON.stringify(exit)} and ${stream.gaps.length} gaps`)
  }
  return {
    upgrades,
    bytes: [...printed, ...typed].reduce((sum, { offset }) => sum + offset, 0),
    seconds,
    ends,
    connects,
    first,
    last,
  }
}

/**
 * What a daemon holds once it holds that for a while: it is about to let go of clients that have left, of sessions that
 * have ended, and of what it adopted its terminals from.
 */
async function footprint(pid: number): Promise<Footprint> {
  let descriptors = -1
  for (let same = 0; same < settledLooks; ) {
    const count = (await descriptorsOf(pid)).length
    same = count === descriptors ? same + 1 : 0
    descriptors = count
    await sleep(50)
  }
  return { residentBytes: await residentBytes(pid), descriptors }
}

/** A session that prints something and ends, by a code or a signal; whether anybody looks differs as well. */
async function shortLife(client: DaemonClient, programs: TerminalProgram): Promise<void> {
  const bytes = 1 + Math.floor(Math.random() * 100_000)
  const code = Math.floor(Math.random() * 256)
  const [signal, name] = signals[code % signals.length]!
  const byCode = Math.random() < 0.5
  const how = byCode ? { code } : { signal }
  const session = await client.open({ command: programs.stream({ bytes, ...how }) })
  const exit = Math.random() < 0.5 ? await new FollowedStream(session).ends() : await session.exit
  const expected = byCode ? { code, signal: null } : { code: null, signal: name }
  const isRight = exit.code === expected.code && exit.signal === expected.signal && exit.offset === bytes
  if (!isRight || exit.lost)
    throw new Error(`${bytes} bytes and ${JSON.stringify(expected)} were expected, not ${JSON.stringify(exit)}`)
}

/** What goes on beside the upgrades until it is stopped; the first failure of any of it is kept. */
class Running {
  private stopped = false
  private readonly loops: Promise<void>[] = []
  private fail!: (error: unknown) => void
  private readonly failed = new Promise<never>((_, reject) => {
    this.fail = reject
  })

  constructor() {
    this.failed.catch(() => {}) // told by orFails and stop
  }

  loop(step: () => Promise<unknown>): void {
    const repeat = async () => {
      while (!this.stopped) await step()
    }
    this.loops.push(repeat().catch((error) => this.fail(error)))
  }

  orFails<Value>(work: Promise<Value>): Promise<Value> {
    return Promise.race([work, this.failed])
  }

  async stop(): Promise<void> {
    this.stopped = true
    let over = false
    const all = Promise.all(this.loops).then(() => {
      over = true
    })
    await this.orFails(eventually(() => over, 'the end of what was begun', 60_000))
    await this.orFails(all)
  }
}
