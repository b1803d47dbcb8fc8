import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Committed, DaemonProcess, SessionMark } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import { abortable, letOthersIn, pause } from '../runtime/pause.ts'
import type { Connection } from './connection.ts'
import type { Daemon } from './daemon.ts'
import { differInNumbersAlone, numbersOf } from './draft.ts'
import { isAlive, signalGroup } from './foreground.ts'
import { monotonicMs } from './monotonic.ts'
import { pipeOf } from './pipe-handle.ts'
import type { Session } from './session.ts'
import { Booted, commonFormat, type Delta, type Numbers, type Plan, readState, Verdict } from './snapshot.ts'
import { encodeState, Slices, StateStream } from './state-stream.ts'

/** The descriptors of every daemon process, in the order in which it inherits them. */
export const descriptors = { keeper: 3, listener: 4, state: 5, channel: 6, lock: 7, firstMaster: 8 } as const

/** What this process holds that is not a session or a connection. */
export interface Inheritance {
  /** The arguments of every daemon in this place. */
  readonly options: readonly string[]
  readonly keeper: number | null
  readonly lock: number | null
  /** The listening socket's. */
  readonly listener: () => number
}

const plansMax = 5
/** What holds a terminal open behind a program that has ended is cut off before. */
const endingMsMax = 3_000
const lookAgainMs = 20
const rehearsals = 4
const nothing = Buffer.alloc(0)
const exitGraceMs = 250
const historyPieceBytes = 256 * 1024

/**
 * The predecessor's side of one handoff. Until the successor's ack everything is this daemon's, and {@link rollBack}
 * leaves it as if nothing had been asked; after it everything is the successor's.
 */
export class Handoff {
  private child: ChildProcess | null = null
  private stream: StateStream | null = null
  private planned: Session[] = []
  /** Connections that the successor has a handle of. */
  private readonly given = new Set<Connection>()
  private readonly takings = new Map<number, () => void>()
  /** Connections with bytes that the kernel did not take, and how much it had taken of all when they were counted. */
  private readonly congested = new Map<Connection, number>()
  /** Input that was laid down for the successor, to be taken up again where it does not take over. */
  private readonly laidDown = new Map<Session, Buffer>()
  private frozen = false
  private acked = false
  private exited: Promise<unknown> = Promise.resolve()

  constructor(
    private readonly daemon: Daemon,
    private readonly inheritance: Inheritance,
  ) {}

  /** What would be handed over. @throws {InstarError} `PLATFORM_UNSUPPORTED`, `DAEMON_STOPPING` */
  async snapshot(): Promise<{ sessions: number }> {
    if (process.platform === 'win32')
      throw new InstarError('PLATFORM_UNSUPPORTED', 'terminals cannot be handed to another process on Windows')
    if (this.daemon.stopping) throw new InstarError('DAEMON_STOPPING', 'the daemon is being stopped')
    await this.daemon.hold()
    return { sessions: this.living().length }
  }

  /** Starts the successor with every descriptor, and waits until it has validated the plan. Everything is served on. */
  async spawnSuccessor(command: readonly string[], signal: AbortSignal): Promise<DaemonProcess> {
    const [program = '', ...args] = command
    this.planned = this.living()
    const { options, keeper, lock, listener } = this.inheritance
    // What is not there must not be a number that something else of the successor gets.
    const none = openSync('/dev/null', 'r+')
    const child = spawn(program, [...args, 'successor', ...options], {
      detached: true,
      cwd: '/',
      stdio: [
        'ignore',
        1,
        2,
        keeper ?? none,
        listener(),
        'pipe',
        'ipc',
        lock ?? none,
        ...this.planned.map(({ descriptor }) => descriptor),
      ],
    })
    closeSync(none)
    this.child = child
    this.exited = new Promise((resolve) => child.once('exit', resolve).once('error', resolve))
    child.on('error', () => {}) // of the channel, or of the start: the state stream ends, which is noticed below
    child.on('message', (message: { taken?: unknown }) => {
      if (typeof message?.taken === 'number') this.takings.get(message.taken)?.()
    })
    if (child.pid === undefined) {
      const [cause] = (await once(child, 'error')) as [Error]
      throw new InstarError('HANDOFF_FAILED', `${program} could not be started`, { cause })
    }
    this.stream = new StateStream((child.stdio as unknown as Socket[])[descriptors.state]!)
    await this.rehearse() // while it boots
    const first = (await this.hear(signal)).json
    const refusal = Verdict.safeParse(first).data
    if (refusal?.type === 'nak') throw refusalOf(refusal)
    const booted = readState(Booted, first, 'the first word of the successor')
    const format = commonFormat(booted.formats)
    this.daemon.options.log(`process ${booted.pid}, version ${booted.version}, is to take over by format ${format}`)
    for (let attempt = 1; ; attempt += 1) {
      await this.stream.send(this.plan(format))
      const verdict = readState(Verdict, (await this.hear(signal)).json, 'the verdict of the successor')
      if (verdict.type === 'prepared') return { pid: booted.pid, version: booted.version }
      if (verdict.type === 'ack')
        throw new InstarError('HANDOFF_FAILED', 'the successor acknowledged what it was not sent')
      // A program may end between the plan and the look at it; then the plan was right when it was made.
      if (attempt === plansMax || !(await this.haveEnded(verdict.handles, signal))) throw refusalOf(verdict)
    }
  }

  /** Whether one of these sessions is over. Where a program has just ended, its last output and its code are waited for. */
  private async haveEnded(handles: readonly number[], signal: AbortSignal): Promise<boolean> {
    const sessions = handles.flatMap((handle) => this.daemon.sessions.get(handle) ?? [])
    const isOver = () => sessions.length < handles.length || sessions.some(({ exit }) => exit !== null)
    const isEnding = sessions.some(({ pid }) => !isAlive(pid))
    for (let waitedMs = 0; isEnding && !isOver() && waitedMs < endingMsMax; waitedMs += lookAgainMs)
      await pause(lookAgainMs, signal)
    return isOver()
  }

  private plan(format: number): Plan {
    const { generation, settings } = this.daemon.options
    const sessions = this.planned.flatMap((session, index) =>
      session.exit === null ? [{ identity: session.plan, descriptor: descriptors.firstMaster + index }] : [],
    )
    return { type: 'plan', format: format as Plan['format'], generation: generation + 1, settings, sessions }
  }

  /** Every client's connection crosses, then nothing moves until the successor has what changed, and says so. */
  async commit(successor: DaemonProcess, timeoutMs: number, signal: AbortSignal): Promise<Committed> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    try {
      // What the keeper is to hold must not be lost with this process.
      await abortable(this.daemon.options.keeper?.channel.flushed() ?? Promise.resolve(), deadline)
      await this.giveConnections(deadline)
      const draft = await this.draft(deadline)
      await this.giveConnections(deadline) // of those who came meanwhile; from here on nobody can come
      const frozenAtMs = monotonicMs()
      this.freeze()
      const slices = new Slices()
      const delta = this.delta(frozenAtMs, slices, this.given)
      const sent = this.stream!.send(sinceDraft(draft, delta), slices.bytes)
      const marks = delta.sessions.map(({ handle, offset, hash }) => this.mark(handle, offset, hash.crc32))
      await abortable(sent, deadline)
      const verdict = readState(Verdict, (await this.hear(deadline)).json, 'the verdict of the successor')
      if (verdict.type !== 'ack') throw refusalOf(verdict)
      this.acked = true
      const freezeMs = monotonicMs() - frozenAtMs
      await this.letGo().catch(() => {}) // it is gone, and everything with it
      return { freezeMs, sessions: marks }
    } catch (error) {
      if (deadline.aborted && !signal.aborted)
        throw new InstarError('HANDOFF_TIMEOUT', `process ${successor.pid} did not take over within ${timeoutMs} ms`)
      throw error
    }
  }

  /** One at a time: a handle that is closed while it waits inside Node breaks the whole channel. */
  private async giveConnections(signal: AbortSignal): Promise<void> {
    for (;;) {
      const connection = [...this.daemon.connections].find((one) => !this.given.has(one) && !one.isClosed)
      if (connection === undefined) return
      this.given.add(connection)
      await this.give(connection.number, connection.socket, signal)
    }
  }

  private async give(number: number, socket: Socket, signal: AbortSignal): Promise<void> {
    const pipe = pipeOf(socket)
    if (pipe === null) return
    const taken = new Promise<void>((resolve) => {
      this.takings.set(number, resolve)
      socket.once('close', resolve) // it has left on the way
    })
    // As a bare handle it is duplicated, and stays ours as well; Node's types know sockets and servers only.
    this.child!.send({ connection: number }, pipe as never)
    await abortable(Promise.race([taken, this.exited]), signal)
    this.takings.delete(number)
    if (this.child!.exitCode !== null || this.child!.signalCode !== null)
      throw new InstarError('HANDOFF_FAILED', 'the successor ended before it took over')
  }

  /** What the successor is told before the freeze, so that less is left to be said in it. */
  private async draft(signal: AbortSignal): Promise<Delta> {
    const draft = this.delta(0, new Slices(), this.given)
    await this.stream!.send({ ...draft, type: 'draft' })
    const verdict = readState(Verdict, (await this.hear(signal)).json, 'the verdict of the successor')
    if (verdict.type !== 'prepared') throw refusalOf(verdict)
    return draft
  }

  private delta(frozenAtMs: number, slices: Slices, connections: ReadonlySet<Connection>): Delta {
    const { daemon } = this
    const living = this.planned.filter(({ exit }) => exit === null)
    const ended = [...daemon.sessions.values()].filter(({ exit }) => exit !== null)
    return {
      type: 'delta',
      frozenAtMs,
      nextHandle: daemon.nextHandle,
      predecessor: process.pid,
      sessions: living.map((session) => ({
        handle: session.handle,
        offset: session.ring.end,
        hash: session.ring.hash,
        size: session.plan.size,
        historyStart: session.ring.start,
        doubt: session.knownDoubt,
        input: slices.add(this.laidDown.get(session) ?? nothing),
        status: session.knownStatus,
      })),
      gone: this.planned.filter(({ exit }) => exit !== null).map(({ handle }) => handle),
      ended: ended.map((session) => ({
        identity: session.plan,
        exit: session.exit!,
        historyStart: session.ring.start,
      })),
      connections: [...daemon.connections]
        .filter((connection) => connections.has(connection) && !connection.isClosed)
        .map((connection) => ({
          number: connection.number,
          client: connection.client,
          received: slices.add(connection.received),
          attachments: [...connection.attachments.values()].map(({ session, cursor }) => ({
            handle: session.handle,
            cursor,
          })),
          pending: [...connection.pending.values()],
          unsent: slices.add(connection.untaken),
        })),
    }
  }

  /** What is under way goes on in the successor, or, after {@link thaw}, here. */
  private freeze(): void {
    this.frozen = true
    this.daemon.freeze()
    for (const session of this.planned) {
      const input = session.takeInput()
      if (input.length > 0) this.laidDown.set(session, input)
    }
    for (const connection of this.given)
      if (connection.untaken.length > 0) this.congested.set(connection, connection.sentBytes)
  }

  private thaw(): void {
    this.frozen = false
    for (const [session, input] of this.laidDown) session.write(input)
    this.laidDown.clear()
    this.congested.clear()
    this.daemon.thaw()
  }

  /** What runs while everything stands still has run before: the first times take several times as long. */
  private async rehearse(): Promise<void> {
    for (let round = 0; round < rehearsals; round += 1) {
      this.freeze()
      const slices = new Slices()
      const delta = this.delta(0, slices, this.daemon.connections)
      // Both that may have to be said: numbers, and the whole of it.
      for (const draft of [delta, { ...delta, nextHandle: 0 }]) encodeState(sinceDraft(draft, delta), slices.bytes)
      this.thaw()
      await letOthersIn()
    }
  }

  private mark(handle: number, offset: number, crc32: number): SessionMark {
    return { handle, id: this.daemon.sessions.get(handle)!.id, offset, crc32 }
  }

  /** The successor writes to the clients from now on. */
  private letGo(): Promise<void> {
    const connections = [...this.congested].map(([connection, before]) => ({
      number: connection.number,
      sent: connection.sentBytes - before,
    }))
    for (const connection of this.given) if (!connection.isClosed) connection.abandon()
    return this.stream!.send({ type: 'released', connections })
  }

  /** The successor serves. It gets the history, and those who came to this process's door meanwhile. */
  async finalize(signal: AbortSignal): Promise<void> {
    this.daemon.options.server.close()
    const late = new Set([...this.daemon.connections].filter((connection) => !this.given.has(connection)))
    for (const { number, socket } of late) await this.give(number, socket, signal)
    for (const connection of late) connection.abandon()
    for (const session of this.daemon.sessions.values())
      for (const block of session.ring.history())
        for (let at = 0; at < block.length; at += historyPieceBytes)
          await this.stream!.send(
            { type: 'history', handle: session.handle },
            block.subarray(at, at + historyPieceBytes),
          )
    await this.stream!.send({ type: 'end' })
  }

  /** Ends the successor and takes everything up again. Safe to call before there is one. */
  async rollBack(): Promise<void> {
    if (this.acked) return
    if (this.child?.pid !== undefined) {
      // What was started may be a shell, and the daemon its child: the group is theirs alone.
      signalGroup(this.child.pid, 'SIGKILL')
      await this.exited
    }
    const served = await this.hasServed()
    this.stream?.close()
    if (served) {
      this.laidDown.clear()
      this.daemon.goOnAfterAnother()
    }
    if (this.frozen) this.thaw()
    this.daemon.release()
  }

  /** An ack that came too late to count: until it was killed, the successor may have read, written and answered. */
  private async hasServed(): Promise<boolean> {
    if (!this.frozen) return false
    for (;;) {
      const message = await this.stream!.next().catch(() => null) // its end has come, or comes now
      if (message === null) return false
      if (Verdict.safeParse(message.json).data?.type === 'ack') return true
    }
  }

  private hear(signal: AbortSignal) {
    return this.stream!.next(signal).catch(async (error) => {
      if (signal.aborted) throw error
      // The channel closes a moment before its process is gone; how that ended says more.
      await abortable(Promise.race([this.exited, pause(exitGraceMs, undefined, true)]), signal)
      const { exitCode, signalCode } = this.child!
      if (exitCode === null && signalCode === null)
        throw new InstarError('HANDOFF_FAILED', 'the successor closed its channel', { cause: error })
      const how = exitCode === null ? `by ${signalCode}` : `with code ${exitCode}`
      throw new InstarError('HANDOFF_FAILED', `the successor ended ${how} before it took over`, { cause: error })
    })
  }

  private living(): Session[] {
    return [...this.daemon.sessions.values()].filter(({ exit }) => exit === null)
  }
}

/** What is left to be said of a delta to whoever has the draft. */
function sinceDraft(draft: Delta, delta: Delta): Delta | Numbers {
  if (!differInNumbersAlone(draft, delta)) return delta
  return { type: 'numbers', frozenAtMs: delta.frozenAtMs, numbers: numbersOf(delta) }
}

function refusalOf(verdict: { readonly type: string; readonly code?: string; readonly message?: string }): InstarError {
  const { code, message } = verdict
  return new InstarError(
    code === 'SNAPSHOT_UNSUPPORTED' ? code : code === 'SNAPSHOT_INVALID' ? code : 'HANDOFF_FAILED',
    `the successor refused: ${message ?? verdict.type}`,
    { details: { code } },
  )
}
