import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server, Socket } from 'node:net'
import { join } from 'node:path'
import * as z from 'zod'
import type { Adopted, SessionGap, SessionMark } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import { packageVersion } from '../package-info.ts'
import { letOthersIn } from '../runtime/pause.ts'
import { Connection } from './connection.ts'
import { Daemon, type DaemonOptions, unknowableBytes } from './daemon.ts'
import { numbersOf, withNumbers } from './draft.ts'
import { isAlive } from './foreground.ts'
import { descriptors } from './handoff.ts'
import { KeeperChannel } from './keeper-channel.ts'
import { monotonicMs } from './monotonic.ts'
import { closeStrayMasters, isMaster } from './native-pty.ts'
import { frameTypes } from './protocol.ts'
import { Ring } from './ring.ts'
import { Session } from './session.ts'
import {
  type Booted,
  Delta,
  Draft,
  History,
  Identity,
  Numbers,
  Plan,
  readState,
  type Settings,
  snapshotFormats,
} from './snapshot.ts'
import { cut, StateStream } from './state-stream.ts'
import { Watermarks } from './watermarks.ts'

/** What this process was told by its arguments, and what it was given. */
export interface Place {
  readonly name: string
  readonly directory: string
  readonly settings: Settings
  /** The keeper's program; null where there is none. */
  readonly keeper: string | null
  readonly log: (message: string) => void
  readonly handOver: DaemonOptions['handOver']
  readonly stopped: () => void
  /** The command line of the daemon that the keeper is to start after a crash. */
  readonly restart: (settings: Settings) => readonly string[]
  /** Lets clients in. Returns when the kernel takes their connections. */
  readonly listen: (server: Server) => Promise<void>
}

interface Inherited {
  readonly identity: Identity
  readonly descriptor: number
}

/** How this process comes to own its sessions: from a predecessor that lives, or from a keeper after one has died. */
export class Takeover {
  private daemonMade: Daemon | null = null
  private stream: StateStream | null = null
  private readonly arrived = new Map<number, Connection>()
  private readonly adopted: Inherited[] = []
  /** Connections that the predecessor may still be writing to; see `released`. */
  private readonly congested = new Map<number, Delta['connections'][number]>()
  private delta: Delta | null = null
  private frozenForMs = 0
  /** Everything is this process's. Before that it must leave alone what it was given. */
  isOwner = false

  constructor(private readonly place: Place) {}

  get daemon(): Daemon {
    if (this.daemonMade === null) throw new Error('nothing has been adopted yet')
    return this.daemonMade
  }

  // ---- adopting: a plan or a table, by the same code

  /** @throws {InstarError} `SNAPSHOT_INVALID`, `SNAPSHOT_UNSUPPORTED`; nothing has been adopted then. */
  async adopt(how: 'handoff' | 'crash' | 'start', signal: AbortSignal): Promise<Adopted> {
    if (how === 'handoff') await this.adoptPlan(signal)
    else {
      const { settings, directory, log } = this.place
      this.take(how === 'crash' ? readTable(log) : [], settings, generationBefore(directory) + 1)
    }
    return { sessions: this.adopted.map(({ identity: { handle, id, pid } }) => ({ handle, id, pid })) }
  }

  private async adoptPlan(signal: AbortSignal): Promise<void> {
    this.stream = new StateStream(new Socket({ fd: descriptors.state }))
    process.on('message', (message: { connection?: unknown }, handle) => this.arrive(message, handle))
    const { pid } = process
    const booted = { formats: [...snapshotFormats], version: packageVersion, node: process.versions.node, pid }
    await this.stream.send({ type: 'booted', ...booted } satisfies typeof Booted._output)
    for (;;) {
      const { json } = await this.stream.next(signal)
      try {
        const plan = readState(Plan, json, 'the plan')
        refuseUnfit(plan.sessions)
        this.take(plan.sessions, plan.settings, plan.generation)
        this.rehearse(plan.sessions)
        return
      } catch (error) {
        // The predecessor may know that what was refused has ended meanwhile, and send another plan.
        await this.stream.send(nakOf(error))
        if (!(error instanceof InstarError)) throw error
      }
    }
  }

  /**
   * What runs while everything stands still has run before: the first time costs a hundred times as much as the second,
   * most of it for the schema. With a client that follows all sessions, and has nobody at its other end.
   */
  private rehearse(inherited: readonly Inherited[]): void {
    const { daemon } = this
    const delta: Delta = {
      type: 'delta',
      frozenAtMs: monotonicMs(),
      nextHandle: daemon.nextHandle,
      predecessor: process.ppid,
      sessions: inherited.map(({ identity: { handle, size } }) => ({
        ...{ handle, offset: 0, hash, size, historyStart: 0, doubt: null, input: empty, status: null },
      })),
      gone: [1],
      ended: [{ identity: nobody, exit: noExit, historyStart: 0 }],
      connections: [
        {
          ...{ number: 1, client: 'x', received: empty, unsent: empty },
          attachments: inherited.map(({ identity: { handle } }) => ({ handle, cursor: 0 })),
          pending: [{ request: 1, method: 'wait', params: {} }],
        },
      ],
    }
    const numbers = { type: 'numbers', frozenAtMs: delta.frozenAtMs, numbers: numbersOf(delta) }
    const rounds = Math.min(rehearsalsMax, Math.ceil(rehearsedTimes / (inherited.length + 1)))
    for (let round = 0; round < rounds; round += 1) {
      const connection = new Connection(1, new Socket(), {
        frame: nothing,
        closed: () => daemon.connections.delete(connection),
      })
      connection.freeze()
      this.arrived.set(1, connection)
      for (const said of [delta, numbers]) {
        const read = readDelta(JSON.parse(JSON.stringify(said)), delta)
        this.arrange({ ...read, ended: [] }) // nothing has
        this.position(read, Buffer.alloc(0))
        for (const session of daemon.sessions.values()) session.thaw()
        for (const session of daemon.sessions.values()) session.freeze()
      }
      connection.thaw()
      connection.tell(frameTypes.event, handedOver())
      connection.breakOff()
    }
    this.arrived.delete(1)
  }

  private take(inherited: readonly Inherited[], settings: Settings, generation: number): void {
    const { name, directory, keeper, log, handOver, stopped } = this.place
    closeStrayMasters(new Set(inherited.map(({ descriptor }) => descriptor)))
    const server = createServer((socket) => this.daemon.accept(socket))
    server.on('error', (error) => log(`the listening socket: ${String(error)}`)) // for want of memory or descriptors
    const channel =
      keeper === null
        ? null
        : new KeeperChannel(descriptors.keeper, {
            exit: (pid, status) => this.daemon.processEnded(pid, status),
            lost: () => this.daemon.keeperLost(),
          })
    this.daemonMade = new Daemon({
      name,
      directory,
      settings,
      generation,
      server,
      keeper: channel === null ? null : { channel, program: keeper! },
      watermarks: channel === null ? null : this.openWatermarks(),
      log,
      handOver,
      stopped,
    })
    for (const one of inherited) {
      this.adopted.push(one)
      const start = { descriptor: one.descriptor, ring: new Ring(settings.scrollbackBytes) }
      this.daemonMade.add(new Session(one.identity, this.daemonMade, start))
    }
  }

  /** Sessions go on without: then it is not known after a crash how far each of them had been read. */
  private openWatermarks(): Watermarks | null {
    const { directory, log } = this.place
    try {
      return Watermarks.open(join(directory, 'offsets'))
    } catch (error) {
      log(`after a crash what was lost could not be told: ${String(error)}`)
      return null
    }
  }

  // ---- a predecessor that lives

  private arrive({ connection: number }: { connection?: unknown }, handle: unknown): void {
    if (typeof number !== 'number' || handle === undefined) return
    const socket = new Socket({ handle, readable: true, writable: true, manualStart: true } as never)
    if (this.delta === null) {
      const connection = new Connection(number, socket, this.daemon)
      connection.freeze()
      this.arrived.set(number, connection)
    } else this.daemon.accept(socket) // it came to the predecessor's door after the commit
    process.send?.({ taken: number })
  }

  /** Says that all is prepared, waits for what changed meanwhile, and takes over: with the ack everything is ours. */
  async takeDelta(signal: AbortSignal): Promise<{ sessions: SessionMark[] }> {
    const stream = this.stream!
    await stream.send({ type: 'prepared' })
    const first = await stream.next(signal)
    const draft = { ...readState(Draft, first.json, 'the draft'), type: 'delta' as const }
    this.arrange(draft)
    await stream.send({ type: 'prepared' })
    const { json, bytes } = await stream.next(signal)
    const delta = readDelta(json, draft)
    if (isWhole(json)) this.arrange(delta)
    this.position(delta, bytes)
    const acked = stream.send({ type: 'ack' })
    this.delta = delta
    this.thawSessions()
    for (const one of delta.connections)
      if (one.unsent.length === 0) this.serveConnection(one)
      else this.congested.set(one.number, one)
    this.frozenForMs = monotonicMs() - delta.frozenAtMs
    await letOthersIn() // whose bytes have waited long enough
    // One that went back has ended us. One that died must not take its sessions along.
    await Promise.all([acked.catch(nothing), this.serve()])
    const ids = new Map(this.adopted.map(({ identity: { handle, id } }) => [handle, id]))
    return {
      sessions: delta.sessions.map(({ handle, offset, hash: { crc32 } }) => ({
        handle,
        id: ids.get(handle)!,
        offset,
        crc32,
      })),
    }
  }

  private serveConnection({ number, client, pending }: Delta['connections'][number]): void {
    const connection = this.arrived.get(number)
    if (connection === undefined || connection.isClosed) return
    connection.thaw()
    if (client === null) this.daemon.expectHello(connection)
    // Whoever gets the news is woken by it and may take this processor: bytes first.
    else void letOthersIn().then(() => connection.tell(frameTypes.event, handedOver()))
    for (const one of pending) if (one.method !== 'upgrade') this.daemon.begin(connection, one)
  }

  /** The predecessor writes to nobody any more, and says what became of the bytes that were under way. */
  private released(connections: readonly { readonly number: number; readonly sent: number }[]): void {
    for (const { number, sent } of connections) {
      const one = this.congested.get(number)
      if (one === undefined) continue
      this.congested.delete(number)
      this.arrived.get(number)?.skipUnsent(sent)
      this.serveConnection(one)
    }
  }

  /**
   * What there is: programs that have ended, clients, and whom they follow. May be said again, by a delta after its draft.
   * Only moves memory: one that is wrong changes nothing that the predecessor would miss.
   */
  private arrange(delta: Delta): void {
    const { daemon } = this
    const { scrollbackBytes } = daemon.options.settings
    daemon.nextHandle = delta.nextHandle
    const missing = new Set(this.adopted.map(({ identity }) => identity.handle))
    for (const { handle, size, doubt, status } of delta.sessions) {
      const session = daemon.sessions.get(handle)
      if (session === undefined || !missing.delete(handle))
        throw new InstarError('SNAPSHOT_INVALID', `the delta names session ${handle}, the plan does not`)
      session.continueAs(size, doubt)
      if (status !== null) session.told(status)
    }
    for (const handle of missing) {
      if (!delta.gone.includes(handle))
        throw new InstarError('SNAPSHOT_INVALID', `the delta does not say what became of session ${handle}`)
      daemon.remove(handle)
    }
    // The draft's; one of them may have been forgotten meanwhile.
    for (const { handle, exit } of daemon.sessions.values()) if (exit !== null) daemon.remove(handle)
    for (const { identity, exit, historyStart } of delta.ended) {
      const ring = new Ring(scrollbackBytes, exit)
      if (historyStart < exit.offset) ring.expectHistory(historyStart)
      daemon.add(new Session(identity, daemon, { ring, exit }))
    }
    for (const { number, client, attachments } of delta.connections) {
      const connection = this.arrived.get(number)
      if (connection === undefined) continue // it has left
      connection.client = client
      daemon.connections.add(connection)
      daemon.nextConnection = Math.max(daemon.nextConnection, number + 1)
      connection.detachAll()
      for (const { handle, cursor } of attachments) {
        const session = daemon.sessions.get(handle)
        if (session !== undefined) connection.attach(session, cursor)
      }
    }
    // Those that left the predecessor after they had crossed.
    const staying = new Set(delta.connections.map(({ number }) => number))
    for (const [number, connection] of this.arrived) if (!staying.has(number)) connection.breakOff()
  }

  /** Where bytes go on, of all that was arranged. Only moves memory, too. */
  private position({ sessions, connections }: Delta, bytes: Buffer): void {
    const { daemon } = this
    const { scrollbackBytes } = daemon.options.settings
    for (const { handle, offset, hash, historyStart, input } of sessions) {
      const ring = new Ring(scrollbackBytes, { offset, hash })
      if (historyStart < offset) ring.expectHistory(historyStart)
      daemon.sessions.get(handle)!.continueAt(ring, cut(bytes, input))
    }
    for (const { number, received, unsent, attachments } of connections) {
      const connection = this.arrived.get(number)
      if (connection === undefined) continue // it has left
      connection.continueWith(cut(bytes, received), cut(bytes, unsent))
      for (const { handle, cursor } of attachments) connection.moveTo(handle, cursor)
    }
  }

  /** What the predecessor still had of the output of before. Ends when it is gone, and its clients are told then. */
  async receiveHistory(signal: AbortSignal): Promise<{ bytes: number }> {
    const { daemon } = this
    let received = 0
    let ended = false
    try {
      while (!ended) {
        const { json, bytes } = await this.stream!.next(signal)
        const message = readState(History, json, 'the history')
        if (message.type === 'end') ended = true
        else if (message.type === 'released') this.released(message.connections)
        else {
          received += bytes.length
          daemon.sessions.get(message.handle)?.ring.prepend(bytes)
        }
      }
      await this.stream!.next(signal).catch(() => {}) // its end is the end of the predecessor
    } finally {
      for (const number of this.congested.keys()) this.arrived.get(number)?.breakOff()
      for (const session of daemon.sessions.values()) session.ring.historyFailed()
      for (const connection of daemon.connections) connection.pump()
      this.stream!.close()
      if (process.connected) process.disconnect()
      this.answerUpgrades()
    }
    return { bytes: received }
  }

  private answerUpgrades(): void {
    const { predecessor, sessions, connections } = this.delta!
    for (const { number, pending } of connections)
      for (const { request, method } of pending)
        if (method === 'upgrade')
          this.arrived.get(number)?.answer(request, {
            outcome: 'handed-over',
            predecessor,
            successor: process.pid,
            sessions: sessions.length,
            freezeMs: Math.round(this.frozenForMs * 1000) / 1000,
            reason: null,
          })
  }

  // ---- a keeper, after a crash

  /** Every session goes on at its watermark; what the dead daemon may have read is a gap. */
  async recover(): Promise<{ sessions: SessionMark[]; gaps: SessionGap[] }> {
    const { daemon } = this
    const { scrollbackBytes } = daemon.options.settings
    const gaps: SessionGap[] = []
    const marks: SessionMark[] = []
    for (const { identity } of this.adopted) {
      const { handle, id } = identity
      const { settled, reserved } = daemon.options.watermarks?.get(handle) ?? { settled: 0, reserved: unknowableBytes }
      const session = daemon.sessions.get(handle)!
      const ring = new Ring(scrollbackBytes, { offset: reserved, hash: { from: reserved, crc32: 0 } })
      session.goOnAfterLoss(ring, { known: settled, to: reserved })
      daemon.reserve(session)
      gaps.push({ handle, id, from: 0, known: settled, to: reserved })
      marks.push({ handle, id, offset: reserved, crc32: 0 })
    }
    this.thawSessions()
    await this.serve()
    await letOthersIn() // who have waited at the door
    return { sessions: marks, gaps }
  }

  // ---- serving

  private thawSessions(): void {
    this.isOwner = true
    const { sessions, isKept } = this.daemon
    for (const session of sessions.values()) {
      if (!isKept) session.watchWithoutParent()
      session.thaw()
    }
  }

  private serve(): Promise<void> {
    const { keeper, directory, generation, server, settings } = this.daemon.options
    keeper?.channel.hello()
    keeper?.channel.run(this.place.restart(settings))
    writeGeneration(directory, generation, this.place.log)
    return this.place.listen(server)
  }

  /** Tells whoever waits for this process why it will not serve. */
  async refuse(failure: { readonly code?: string; readonly message: string }): Promise<void> {
    if (this.stream?.isOpen) await this.stream.send(nakOf(failure))
  }
}

const size = { columns: 80, rows: 24 }
const hash = { from: 0, crc32: 0 }
const empty = { at: 0, length: 0 }
const nobody: Identity = { id: 'x', handle: 1, pid: 1, command: [], cwd: '/', createdAt: 0, ptsName: '', size }
const noExit = { code: 0, signal: null, lost: false, offset: 0, hash, at: 0 }

const handedOver = () => ({ type: 'handed-over' as const, version: packageVersion, pid: process.pid })

const isWhole = (json: unknown) => (json as { type?: unknown } | null)?.type !== 'numbers'

/** @throws {InstarError} `SNAPSHOT_INVALID` */
function readDelta(json: unknown, draft: Delta): Delta {
  if (isWhole(json)) return readState(Delta, json, 'the delta')
  const { frozenAtMs, numbers } = readState(Numbers, json, 'the numbers')
  return withNumbers(draft, frozenAtMs, numbers)
}

/** More often, and the compiler that makes code faster takes its time in the midst of the real one. */
const rehearsedTimes = 768
const rehearsalsMax = 64
const nothing = () => {}

const generationFile = 'generation'

function writeGeneration(directory: string, generation: number, log: (message: string) => void): void {
  try {
    writeFileSync(join(directory, generationFile), `${generation}\n`, { mode: 0o600 })
  } catch (error) {
    log(`the generation could not be written down: ${String(error)}`) // the next daemon counts wrong, and serves
  }
}

function generationBefore(directory: string): number {
  try {
    return z.coerce
      .number()
      .int()
      .min(0)
      .parse(readFileSync(join(directory, generationFile), 'latin1').trim())
  } catch {
    return 0 // the first daemon here
  }
}

/** What the keeper kept: one line a session, `DESCRIPTOR HANDLE PID META`. What cannot be used is said and left alone. */
function readTable(log: (message: string) => void): Inherited[] {
  const lines = readFileSync(descriptors.state, 'utf8').split('\n')
  return lines.slice(0, lines.indexOf('')).flatMap((line) => {
    const [, descriptor, , , meta = ''] = /^(\d+) (\d+) (\d+) (.*)$/.exec(line) ?? []
    try {
      const identity = readState(Identity, JSON.parse(meta), "the keeper's table")
      if (!isMaster(Number(descriptor))) throw new InstarError('SNAPSHOT_INVALID', `${descriptor} is no terminal`)
      return [{ identity, descriptor: Number(descriptor) }]
    } catch (error) {
      log(`a session that the keeper kept cannot be adopted: ${String(error)}`)
      return []
    }
  })
}

/** @throws {InstarError} `SNAPSHOT_INVALID` with the `handles` that it is about. */
function refuseUnfit(inherited: readonly Inherited[]): void {
  const faults = new Map<number, string>()
  const seen = new Set<string>()
  for (const { identity, descriptor } of inherited) {
    const { handle, id, pid } = identity
    for (const name of [`handle ${handle}`, `id ${id}`, `descriptor ${descriptor}`]) {
      if (seen.has(name)) faults.set(handle, `${name} is named twice`)
      seen.add(name)
    }
    if (!isMaster(descriptor)) faults.set(handle, `descriptor ${descriptor} of ${id} is no terminal`)
    if (!isAlive(pid)) faults.set(handle, `process ${pid} of ${id} does not live`)
  }
  if (faults.size === 0) return
  const handles = [...faults.keys()]
  throw new InstarError('SNAPSHOT_INVALID', [...faults.values()].join('; '), { details: { handles } })
}

function nakOf(error: unknown) {
  const { code = 'INTERNAL', message = String(error), details } = error as Partial<InstarError>
  const handles = (details as { handles?: number[] } | undefined)?.handles ?? []
  return { type: 'nak' as const, code, message, handles }
}
