import { existsSync } from 'node:fs'
import type { Server, Socket } from 'node:net'
import { join } from 'node:path'
import { InstarError } from '../errors.ts'
import { packageVersion } from '../package-info.ts'
import { Connection, type ConnectionHost, type Pending } from './connection.ts'
import { environmentOfPrograms } from './daemon-environment.ts'
import { findDescriptorCalls } from './descriptor-calls.ts'
import { ExitRecords } from './exit-records.ts'
import { isAlive } from './foreground.ts'
import { type KeeperChannel, metaBytesMax } from './keeper-channel.ts'
import { readBytesMax } from './master.ts'
import { loadNativePty, type NativePty } from './native-pty.ts'
import { openSession, type Shim } from './open-session.ts'
import { pipeOf } from './pipe-handle.ts'
import {
  type DaemonInfo,
  type Frame,
  frameTypes,
  type HandoffResult,
  Hello,
  limits,
  type Method,
  methods,
  type ParamsOf,
  protocolVersion,
  Request,
  type ResultOf,
  readJson,
  type SessionExit,
  splitNumbered,
} from './protocol.ts'
import { Ring } from './ring.ts'
import { Session, type SessionHost, type Status } from './session.ts'
import type { Identity, Settings } from './snapshot.ts'
import type { Watermark, Watermarks } from './watermarks.ts'

export interface DaemonOptions {
  readonly name: string
  readonly directory: string
  readonly settings: Settings
  /** 1 for the first; one more after each handoff or crash. */
  readonly generation: number
  readonly server: Server
  /** Null where sessions end with this process. */
  readonly keeper: { readonly channel: KeeperChannel; readonly program: string } | null
  readonly watermarks: Watermarks | null
  readonly log: (message: string) => void
  /** Hands everything over to another daemon; see `src/flows/daemon-handoff.ts`. */
  readonly handOver: (command: readonly string[] | undefined) => Promise<HandoffResult>
  /** Every session has ended because somebody asked for it: this process is of no more use. */
  readonly stopped: () => void
}

/** Somebody who wants to know how a session ends; null: this daemon itself. */
interface Waiting {
  readonly connection: Connection | null
  readonly resolve: (exit: SessionExit) => void
}

const helloWithinMs = 10_000
const endedKeptMs = 5 * 60_000
const endedKeptMax = 32
const stalledLookMs = 1_000
const statusKeptMs = 10_000
const defaultSize = { columns: 80, rows: 24 }

/** So much at once is all that the kernel gives, 4095 bytes on Linux: it has more, or soon will. */
const fullReadBytes = 4000
/**
 * So much may have been read beyond what is known to have been, when a daemon is killed. What a client had not been given
 * comes on top of it in the gap that it is told of: 128 KiB of its connection's queue, 64 KiB of the ring, and the read that
 * went beyond. Together they are at most 256 KiB, unless it fell behind for so long that the session went on without it.
 */
const reservedBytes = 48 * 1024
/** Where nobody knows how far a session was read: further than any is likely to be. */
export const unknowableBytes = 2 ** 32
/** Between two settlements. */
const quietBytesMax = 4 * 1024
/** To write a mark takes as long as to pass on a keystroke, so it is not done for each. */
const settleMs = 50

/**
 * The terminals and those who look at them. It neither knows how it came to be (`takeover.ts`) nor how it is replaced
 * (`handoff.ts`); both move what is in here.
 */
export class Daemon implements SessionHost, ConnectionHost {
  readonly sessions = new Map<number, Session>()
  readonly connections = new Set<Connection>()
  nextHandle = 1
  nextConnection = 1
  stopping = false
  /** A keeper holds what is here, too. */
  isKept: boolean

  private readonly ids = new Map<string, Session>()
  private readonly exits: ExitRecords
  private readonly waiting = new Map<Session, Set<Waiting>>()
  private readonly statuses = new Map<number, Status>()
  /** Sessions that have printed since their marks were settled, and where they were before. */
  private readonly moved = new Map<Session, number>()
  private settling: NodeJS.Timeout | undefined
  /** Requests that change something wait here while everything is being handed over. */
  private held: (() => void)[] | null = null
  /** Ids of sessions that are being opened. */
  private readonly reservedIds = new Set<string>()
  private frozen = false
  /** A watermark could not be written, which has been said. */
  private isMarkless = false
  private opening = 0
  private openingsDone: (() => void)[] = []
  private readonly startedAt = Date.now()

  constructor(readonly options: DaemonOptions) {
    this.isKept = options.keeper !== null
    this.exits = new ExitRecords(join(options.directory, 'exits'))
    setInterval(() => {
      for (const session of this.sessions.values()) session.regulate()
    }, stalledLookMs).unref()
  }

  get pty(): NativePty {
    return loadNativePty()
  }

  // ---- sessions

  /** Takes a session up, as a new one or from another daemon. It is frozen until it is thawed. */
  add(session: Session): void {
    this.sessions.set(session.handle, session)
    this.ids.set(session.id, session)
    this.nextHandle = Math.max(this.nextHandle, session.handle + 1)
    const status = this.statuses.get(session.pid)
    // A number that lives again was told of for somebody else.
    if (status !== undefined && session.exit === null && !isAlive(session.pid)) session.told(status)
    if (session.exit !== null) this.forgetLater(session)
  }

  /** It was handed over and had ended before that was done. */
  remove(handle: number): void {
    const session = this.sessions.get(handle)
    if (session === undefined) return
    session.abandon()
    this.forget(session)
  }

  /** Nobody will tell any more how programs end that are not children of this process. */
  keeperLost(): void {
    this.options.log('the keeper is gone: sessions end with this process now')
    this.isKept = false
    for (const session of this.sessions.values()) session.watchWithoutParent()
  }

  /** The keeper has seen a process end. Told again at each hello, so it may be known. */
  processEnded(pid: number, status: Status): void {
    for (const session of this.sessions.values())
      if (session.pid === pid && session.exit === null) {
        session.told(status)
        return
      }
    // A program may end before its session is known here. The number can be another's soon, so it is not kept for long.
    this.statuses.set(pid, status)
    setTimeout(() => this.statuses.delete(pid), statusKeptMs).unref()
  }

  printed(session: Session, bytes: number): void {
    const moreFollows = bytes >= fullReadBytes
    for (const attachment of session.attachments) attachment.connection.wake(attachment, moreFollows)
    this.reserve(session)
    if (this.options.watermarks === null) return
    if (!this.moved.has(session)) this.moved.set(session, session.ring.end - bytes)
    this.settling ??= setTimeout(() => this.settle(), settleMs).unref()
  }

  /** Before more is read than was reserved, more is reserved: what a daemon that is killed had read is never beyond. */
  reserve({ handle, ring, certainTo }: Session): void {
    const { watermarks } = this.options
    const { reserved = 0 } = watermarks?.get(handle) ?? {}
    if (ring.end + readBytesMax > reserved)
      this.mark(handle, { settled: certainTo, reserved: ring.end + reservedBytes })
  }

  /** One that prints little needs little room beyond the next read: less of it would be in doubt after a crash. */
  private settle(): void {
    this.settling = undefined
    if (this.frozen) return // another process may have the sessions, and writes their marks
    const { watermarks } = this.options
    for (const [{ handle, ring, exit, certainTo }, before] of this.moved) {
      const mark = watermarks?.get(handle)
      if (mark === undefined || exit !== null) continue
      const isQuiet = ring.end - before < quietBytesMax
      this.mark(handle, {
        settled: certainTo,
        reserved: isQuiet ? ring.end + readBytesMax + quietBytesMax : mark.reserved,
      })
    }
    this.moved.clear()
  }

  private mark(handle: number, mark: Watermark): void {
    try {
      this.options.watermarks?.set(handle, mark)
    } catch (error) {
      if (!this.isMarkless) this.options.log(`after a crash what was lost could not be told: ${String(error)}`)
      this.isMarkless = true
    }
  }

  private unmark({ id, handle }: Session): void {
    try {
      this.options.watermarks?.remove(handle)
    } catch (error) {
      this.options.log(`the mark of ${id} could not be removed: ${String(error)}`) // it is set anew with the next session of its handle
    }
  }

  inputDrained(session: Session): void {
    for (const connection of this.connections) connection.goOn(session)
  }

  resize(descriptor: number, size: { columns: number; rows: number }): void {
    this.pty.resize(descriptor, size)
  }

  ended(session: Session, exit: SessionExit): void {
    try {
      this.exits.write(session.id, exit)
    } catch (error) {
      this.options.log(`the end of ${session.id} could not be written down: ${String(error)}`)
    }
    this.options.keeper?.channel.drop(session.handle)
    this.unmark(session)
    for (const { resolve } of this.waiting.get(session) ?? []) resolve(exit)
    this.waiting.delete(session)
    for (const { connection } of [...session.attachments]) connection.pump()
    this.forgetLater(session)
    const ended = [...this.sessions.values()].filter(({ exit }) => exit !== null)
    for (const old of ended.slice(0, -endedKeptMax)) if (old.attachments.size === 0) this.forget(old)
  }

  /** What an ended session printed can be read a while longer, and for as long as somebody is reading it. */
  private forgetLater(session: Session): void {
    const look = () => (session.attachments.size === 0 ? this.forget(session) : this.forgetLater(session))
    setTimeout(look, endedKeptMs).unref()
  }

  private forget(session: Session): void {
    if (this.sessions.get(session.handle) === session) this.sessions.delete(session.handle)
    if (this.ids.get(session.id) === session) this.ids.delete(session.id)
  }

  // ---- connections

  /** A client that nobody has spoken with. */
  accept(socket: Socket): void {
    const connection = new Connection(this.nextConnection++, socket, this)
    this.connections.add(connection)
    if (!isOwners(socket)) {
      connection.end(new InstarError('DAEMON_DENIED', 'this daemon is of another user'))
      return
    }
    if (this.connections.size > limits.connectionsMax) {
      connection.end(new InstarError('DAEMON_BUSY', `${limits.connectionsMax} clients are connected`))
      return
    }
    this.expectHello(connection)
    if (this.frozen) connection.freeze()
    else connection.listen()
  }

  /** One that says nothing is not kept for ever. */
  expectHello(connection: Connection): void {
    setTimeout(() => {
      if (connection.client === null && !connection.isClosed)
        connection.end(new InstarError('PROTOCOL_INVALID', 'no hello came'))
    }, helloWithinMs).unref()
  }

  closed(connection: Connection): void {
    this.connections.delete(connection)
    for (const waiting of this.waiting.values())
      for (const one of waiting) if (one.connection === connection) waiting.delete(one)
  }

  /** @throws {InstarError} what ends the connection */
  frame(connection: Connection, { type, payload }: Frame): void {
    if (type === frameTypes.hello) this.greet(connection, payload)
    else if (connection.client === null) throw new InstarError('PROTOCOL_INVALID', 'the first frame is no hello')
    else if (type === frameTypes.input) this.input(connection, payload)
    else if (type === frameTypes.request) this.request(connection, payload)
    else throw new InstarError('PROTOCOL_INVALID', `a client does not send frames of type ${type}`)
  }

  private greet(connection: Connection, payload: Buffer): void {
    if (connection.client !== null) throw new InstarError('PROTOCOL_INVALID', 'a second hello')
    const { protocols, client } = readJson(Hello, payload, 'hello')
    if (!protocols.includes(protocolVersion))
      throw new InstarError(
        'PROTOCOL_UNSUPPORTED',
        `the client speaks version ${protocols.join(', ')}, this daemon ${protocolVersion}`,
      )
    connection.client = client
    const { pid } = process
    connection.tell(frameTypes.welcome, { protocol: protocolVersion, capabilities: [], version: packageVersion, pid })
  }

  private input(connection: Connection, payload: Buffer): void {
    const { number: handle, body } = splitNumbered(payload)
    if (body.length > limits.dataBytesMax) throw new InstarError('PROTOCOL_INVALID', 'too much input in one frame')
    const session = this.sessions.get(handle)
    if (session === undefined || session.exit !== null) return // it ended while this was on its way
    session.write(body)
    connection.holdUp(session)
  }

  private request(connection: Connection, payload: Buffer): void {
    const { number, body } = splitNumbered(payload)
    if (number === 0 || connection.pending.has(number))
      throw new InstarError('PROTOCOL_INVALID', `request number ${number} is in use`)
    const { method, params } = readJson(Request, body, 'request')
    if (connection.pending.size >= limits.requestsMax) {
      connection.refuse(number, new InstarError('DAEMON_BUSY', `${limits.requestsMax} requests are not answered yet`))
      return
    }
    this.begin(connection, { request: number, method, params })
  }

  /** Does what a client asks, now or, while everything is being handed over, afterwards. */
  begin(connection: Connection, pending: Pending): void {
    const { request, method, params } = pending
    connection.pending.set(request, pending)
    const run = async () => {
      try {
        const done = this.perform(connection, method, params)
        // What can be answered at once is done before the next request is looked at.
        const answer = done instanceof Promise ? await done : done
        connection.answer(request, answer)
        // Frames that the answer speaks of come after it.
        if (method === 'attach') this.follow(connection, answer as ResultOf<'attach'>)
      } catch (error) {
        connection.refuse(request, error)
      }
    }
    if (this.held !== null && changing.has(method)) this.held.push(run)
    else void run()
  }

  private perform(connection: Connection, name: string, input: unknown): unknown {
    if (!Object.hasOwn(methods, name)) throw new InstarError('METHOD_UNKNOWN', `there is no method ${name}`)
    const method = name as Method
    const read = methods[method].params.safeParse(input ?? {})
    if (!read.success) {
      const { path, message } = read.error.issues[0]!
      throw new InstarError('PARAMETERS_INVALID', `${method}: ${path.join('.')}${path.length > 0 ? ' ' : ''}${message}`)
    }
    const params = read.data as never
    switch (method) {
      case 'open':
        return this.open(params)
      case 'attach':
        return this.attach(connection, params)
      case 'detach':
        connection.detach(this.named(params))
        return {}
      case 'resize':
        return this.resizeSession(params)
      case 'signal':
        this.living(params).signal((params as ParamsOf<'signal'>).signal)
        return {}
      case 'close':
        return this.close(params, connection)
      case 'wait':
        return this.wait(params, connection)
      case 'list':
        // One that has ended gives way to the next one of its id.
        return { sessions: [...this.ids.values()].map(({ info }) => info) } satisfies ResultOf<'list'>
      case 'info':
        return this.info()
      case 'upgrade':
        return this.options.handOver((params as ParamsOf<'upgrade'>).command)
      case 'stop':
        return this.stop()
    }
  }

  // ---- what can be asked

  private async open({ id, command, cwd, env, size }: ParamsOf<'open'>): Promise<ResultOf<'open'>> {
    if (this.stopping) throw new InstarError('DAEMON_STOPPING', 'the daemon is being stopped')
    if ([...this.sessions.values()].filter(({ exit }) => exit === null).length >= limits.sessionsMax)
      throw new InstarError('SESSION_LIMIT', `there are ${limits.sessionsMax} sessions`)
    if (id !== undefined && this.isTaken(id)) throw new InstarError('SESSION_EXISTS', `there is a session ${id}`)
    const handle = this.nextHandle++
    const name = id ?? this.freeId(handle)
    const { settings } = this.options
    const opening = {
      handle,
      command: command ?? [settings.shell],
      cwd: cwd ?? process.env.HOME ?? '/',
      env: sessionEnvironment(name, env),
      size: size ?? defaultSize,
    }
    this.opening += 1
    this.reservedIds.add(name)
    try {
      const { descriptor, pid, ptsName, exited } = await openSession(this.pty, opening, this.shim)
      const { command, cwd, size } = opening
      const identity: Identity = {
        id: name,
        handle,
        pid,
        command: [...command],
        cwd,
        createdAt: Date.now(),
        ptsName,
        size,
      }
      const session = new Session(identity, this, { descriptor, ring: new Ring(settings.scrollbackBytes) })
      this.exits.forget(name)
      this.add(session)
      this.reserve(session)
      if (exited !== null) void exited.then((status) => session.told(status))
      this.keep(session)
      session.thaw()
      return session.info
    } finally {
      this.reservedIds.delete(name)
      this.opening -= 1
      if (this.opening === 0) for (const done of this.openingsDone.splice(0)) done()
    }
  }

  /** The keeper's program may have been removed with the package it came in; what runs can still be started. */
  private get shim(): Shim | null {
    const { keeper, directory } = this.options
    if (keeper === null || !this.isKept) return null
    const { keeperPid } = keeper.channel
    const program = existsSync(keeper.program) || keeperPid === null ? keeper.program : `/proc/${keeperPid}/exe`
    return { program, pidDirectory: join(directory, 'pids') }
  }

  private keep(session: Session): void {
    if (!this.isKept) return
    const { keeper, log } = this.options
    void keeper?.channel.keep(session.handle, session.pid, metaOf(session.plan), session.pipe).then((isKept) => {
      if (!isKept && session.exit === null) log(`${session.id} would not outlive a crash of this daemon`)
    })
  }

  private isTaken(id: string): boolean {
    return this.reservedIds.has(id) || this.ids.get(id)?.exit === null
  }

  private freeId(handle: number): string {
    for (let suffix = handle; ; suffix += 1) if (!this.isTaken(`s${suffix}`)) return `s${suffix}`
  }

  private attach(connection: Connection, params: ParamsOf<'attach'>): ResultOf<'attach'> {
    const session = this.named(params)
    if (connection.attachments.has(session.handle))
      throw new InstarError('SESSION_ATTACHED', `this connection is attached to ${session.id}`)
    const { start, end } = session.ring
    const from = params.from === 'start' ? start : params.from === 'end' ? end : params.from
    if (from > end)
      throw new InstarError('PARAMETERS_INVALID', `${session.id} has printed ${end} bytes, and ${from} were asked for`)
    return { session: session.info, from }
  }

  private follow(connection: Connection, { session: { handle }, from }: ResultOf<'attach'>): void {
    const session = this.sessions.get(handle)
    if (session !== undefined && !connection.isClosed) connection.attach(session, from)
  }

  private resizeSession(params: ParamsOf<'resize'>): ResultOf<'resize'> {
    const session = this.living(params)
    session.resize(params.size)
    this.options.keeper?.channel.note(session.handle, metaOf(session.plan))
    for (const { connection } of session.attachments)
      connection.tell(frameTypes.event, { type: 'resized', session: session.id, size: params.size })
    return {}
  }

  private close(params: ParamsOf<'close'>, connection: Connection | null): Promise<SessionExit> {
    this.ids.get(params.session)?.hangUp()
    return this.wait(params, connection)
  }

  private wait({ session: id }: ParamsOf<'wait'>, connection: Connection | null): Promise<SessionExit> {
    const session = this.ids.get(id)
    const exit = session === undefined ? this.exits.read(id) : session.exit
    if (exit !== null) return Promise.resolve(exit)
    if (session === undefined) return Promise.reject(unknownSession(id))
    return new Promise((resolve) => {
      const waiting = this.waiting.get(session) ?? new Set()
      this.waiting.set(session, waiting.add({ connection, resolve }))
    })
  }

  private info(): DaemonInfo {
    const { name, generation, keeper } = this.options
    const keeperPid = keeper?.channel.keeperPid ?? null
    return {
      name,
      version: packageVersion,
      node: process.versions.node,
      pid: process.pid,
      generation,
      startedAt: this.startedAt,
      keeper: keeperPid === null ? null : { pid: keeperPid, protocol: 1 },
      sessions: [...this.sessions.values()].filter(({ exit }) => exit === null).length,
      connections: this.connections.size,
    }
  }

  /** Ends every session in good order, and then this process. */
  async stop(): Promise<ResultOf<'stop'>> {
    this.stopping = true
    const living = [...this.sessions.values()].filter(({ exit }) => exit === null)
    this.options.keeper?.channel.bye()
    const ended = living.map(({ id }) => this.close({ session: id }, null))
    await Promise.all(ended)
    setImmediate(this.options.stopped)
    return { sessions: living.length }
  }

  private named({ session: id }: { session: string }): Session {
    const session = this.ids.get(id)
    if (session === undefined) throw unknownSession(id)
    return session
  }

  private living(params: { session: string }): Session {
    const session = this.named(params)
    if (session.exit !== null) throw new InstarError('SESSION_ENDED', `${session.id} has ended`)
    return session
  }

  // ---- handing over

  /** From here on what changes something waits; resolves when what was begun before is done. */
  hold(): Promise<void> {
    this.held ??= []
    return this.opening === 0 ? Promise.resolve() : new Promise((resolve) => this.openingsDone.push(resolve))
  }

  /** Synchronous: after it no byte moves, in or out. */
  freeze(): void {
    this.frozen = true
    for (const session of this.sessions.values()) session.freeze()
    for (const connection of this.connections) connection.freeze()
    this.options.keeper?.channel.pause()
  }

  /** Everything goes on as if nothing had been asked. */
  thaw(): void {
    this.frozen = false
    this.options.keeper?.channel.resume()
    for (const session of this.sessions.values()) session.thaw()
    for (const connection of [...this.connections]) connection.thaw()
  }

  /**
   * Another process has served for a while and is gone: what it read is lost, and where it stopped in the middle of a frame
   * nobody knows. As after a crash, only that this process still has everything else.
   */
  goOnAfterAnother(): void {
    const { settings, watermarks } = this.options
    watermarks?.reread()
    for (const session of this.sessions.values()) {
      if (session.exit !== null) continue
      const known = session.ring.end
      const to = Math.max(known, watermarks?.get(session.handle)?.reserved ?? known + unknowableBytes)
      const ring = new Ring(settings.scrollbackBytes, { offset: to, hash: { from: to, crc32: 0 } })
      session.goOnAfterLoss(ring, { known, to })
      this.reserve(session)
    }
    for (const connection of [...this.connections]) connection.breakOff()
    this.options.keeper?.channel.hello()
  }

  release(): void {
    const held = this.held ?? []
    this.held = null
    for (const run of held) run()
  }
}

/**
 * Whether this user or root is at the other end: root could open every descriptor of this process anyway. The modes of the
 * socket and of its directory say the same, as long as nobody changes them; where the addon is not, they have to do.
 */
function isOwners(socket: Socket): boolean {
  const { calls } = findDescriptorCalls()
  const pipe = pipeOf(socket)
  if (calls === null || pipe === null) return true
  try {
    return [0, process.getuid!()].includes(calls.peerUid(pipe.fd))
  } catch {
    return false // nobody knows who it is
  }
}

/** What a successor has to do, once and for all. */
const changing = new Set<string>(['open', 'stop'] satisfies Method[])

/** What the keeper holds of a session; a command that is too long for it is told in part. */
function metaOf(identity: Identity): string {
  const whole = JSON.stringify(identity)
  if (Buffer.byteLength(whole) <= metaBytesMax) return whole
  return JSON.stringify({ ...identity, command: identity.command.slice(0, 1).map((word) => word.slice(0, 256)) })
}

const unknownSession = (id: string) => new InstarError('SESSION_UNKNOWN', `there is no session ${id}`)

function sessionEnvironment(id: string, added: Record<string, string> = {}): Record<string, string> {
  return { ...environmentOfPrograms(process.env), TERM: 'xterm-256color', ...added, INSTAR_SESSION: id }
}
