import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  FrameReader,
  frameTypes,
  type Gap,
  gapFrame,
  Hello,
  jsonFrame,
  limits,
  type Method,
  methods,
  numberedFrame,
  outputHead,
  type ParamsOf,
  Request,
  type ResultOf,
  readJson,
  type SessionExit,
  type SessionInfo,
  splitNumbered,
} from '../../../src/sessions/protocol.ts'

/** What answers a request: a result, an error of the protocol, or nothing. */
type Answering<M extends Method> = (
  params: ParamsOf<M>,
  connection: ScriptedConnection,
  number: number,
) => ResultOf<M> | WireError | typeof unanswered | Promise<ResultOf<M> | WireError>

export const unanswered = Symbol('unanswered')

/** An error as it crosses the socket, also one that no version knows. */
export class WireError {
  constructor(
    readonly code: string,
    readonly more: { message?: string; hint?: string; details?: Record<string, unknown> } = {},
  ) {}
}

export interface ScriptedSession {
  info: SessionInfo
  printed: Buffer
  /** What was typed. */
  input: Buffer
}

/** What is in its own queue of a client that reads slowly. */
const queueBytesMax = 128 * 1024

/** Speaks the protocol of session daemons without any terminal, and does whatever else a test wants. */
export class ScriptedDaemon implements AsyncDisposable {
  readonly sessions = new Map<string, ScriptedSession>()
  /** Those that are open, the oldest first. */
  readonly connections = new Set<ScriptedConnection>()
  /** Every request that came, in order. */
  readonly asked: { method: string; params: any }[] = []
  readonly hellos: Hello[] = []
  /** What it does instead of answering. */
  readonly script: { [M in Method]?: Answering<M> } = {}
  /** Nothing is answered. */
  isMute = false
  /** What it does when a client says hello. */
  greet = (connection: ScriptedConnection) => connection.welcome()
  /** Of one output frame. */
  pieceBytes: number = limits.dataBytesMax

  private handles = 0
  private server: Server | null = null

  private constructor(private readonly folder: string) {}

  static async start(): Promise<ScriptedDaemon> {
    const daemon = new ScriptedDaemon(await mkdtemp(join(tmpdir(), 'instar-scripted-')))
    await daemon.listen()
    return daemon
  }

  get path(): string {
    return join(this.folder, 'daemon.sock')
  }

  get connection(): ScriptedConnection {
    return [...this.connections].at(-1)!
  }

  async listen(): Promise<void> {
    this.server = createServer((socket) => new ScriptedConnection(this, socket))
    await new Promise<void>((resolve) => this.server!.listen(this.path, resolve))
  }

  /** Nobody can connect any more, and those that are connected are cut off. */
  async die(): Promise<void> {
    const { server } = this
    this.server = null
    for (const connection of this.connections) connection.cut()
    if (server !== null) await new Promise((resolve) => server.close(resolve))
  }

  /** Cuts everybody off who is connected; they can come again. */
  cut(): void {
    for (const connection of this.connections) connection.cut()
  }

  /** A new session. Its program prints what {@link print} is given. */
  add(id: string, more: Partial<SessionInfo> = {}): ScriptedSession {
    const handle = ++this.handles
    const pid = 1000 + handle
    const size = { columns: 80, rows: 24 }
    const info = {
      id,
      handle,
      pid,
      command: ['sh'],
      cwd: '/',
      size,
      createdAt: handle,
      start: 0,
      offset: 0,
      exit: null,
    }
    const session = { info: { ...info, ...more }, printed: Buffer.alloc(0), input: Buffer.alloc(0) }
    this.sessions.set(id, session)
    return session
  }

  /** Forgets everything and counts anew, as a daemon does that was killed together with its sessions. */
  forget(): void {
    this.sessions.clear()
    this.handles = 0
  }

  print(id: string, bytes: Buffer): void {
    const session = this.sessions.get(id)!
    session.printed = Buffer.concat([session.printed, bytes])
    session.info = { ...session.info, offset: session.printed.length }
    for (const connection of this.connections) connection.pump()
  }

  /** What was printed before `start` cannot be had any more. */
  drop(id: string, start: number): void {
    const session = this.sessions.get(id)!
    session.info = { ...session.info, start }
  }

  end(id: string, more: Partial<SessionExit> = {}): SessionExit {
    const session = this.sessions.get(id)!
    const offset = session.printed.length
    const exit = { code: 0, signal: null, lost: false, offset, hash: { from: 0, crc32: 0 }, at: 1, ...more }
    session.info = { ...session.info, exit }
    for (const connection of this.connections) connection.pump()
    return exit
  }

  /** How often something was asked. */
  count(method: Method): number {
    return this.asked.filter((request) => request.method === method).length
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.die()
    await rm(this.folder, { recursive: true, force: true })
  }
}

export class ScriptedConnection {
  /** By handle, the next byte to send. */
  readonly cursors = new Map<number, number>()
  readonly waiting: { number: number; session: string }[] = []
  /** Of output frames, in all. */
  sentBytes = 0
  private readonly reader = new FrameReader()

  constructor(
    private readonly daemon: ScriptedDaemon,
    readonly socket: Socket,
  ) {
    daemon.connections.add(this)
    socket.on('error', () => {})
    socket.on('close', () => daemon.connections.delete(this))
    socket.on('drain', () => this.pump())
    socket.on('data', (bytes) => {
      for (const { type, payload } of this.reader.push(bytes)) this.hear(type, payload)
    })
  }

  send(...frames: Buffer[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(frames))
  }

  welcome(more: object = {}): void {
    this.send(jsonFrame(frameTypes.welcome, { protocol: 1, capabilities: [], version: '1.2.3', pid: 77, ...more }))
  }

  refuse(number: number, { code, more }: WireError): void {
    this.send(numberedFrame(frameTypes.error, number, { code, message: code, ...more }))
  }

  answer(number: number, result: unknown): void {
    this.send(numberedFrame(frameTypes.result, number, result))
  }

  output(handle: number, offset: number, bytes: Buffer): void {
    this.sentBytes += bytes.length
    this.send(outputHead(handle, offset, bytes.length), bytes)
  }

  gap(handle: number, gap: Gap): void {
    this.send(gapFrame(handle, gap))
  }

  tell(event: object): void {
    this.send(jsonFrame(frameTypes.event, event))
  }

  /** As a daemon that is killed. */
  cut(): void {
    this.socket.destroy()
    this.daemon.connections.delete(this)
  }

  /** Sends what is attached and was printed, as long as it is taken. */
  pump(): void {
    for (const [handle, cursor] of this.cursors) {
      const session = [...this.daemon.sessions.values()].find(({ info }) => info.handle === handle)!
      let at = cursor
      const { start, exit } = session.info
      if (at < start) {
        this.gap(handle, { from: at, known: start, to: start })
        at = start
      }
      while (at < session.printed.length && this.socket.writableLength < queueBytesMax) {
        const bytes = session.printed.subarray(at, at + this.daemon.pieceBytes)
        this.output(handle, at, bytes)
        at += bytes.length
      }
      this.cursors.set(handle, at)
      if (at < session.printed.length || exit === null) continue
      this.cursors.delete(handle)
      this.send(numberedFrame(frameTypes.exit, handle, exit))
    }
    for (const { number, session: id } of this.waiting.splice(0)) {
      const exit = this.daemon.sessions.get(id)?.info.exit
      if (exit) this.answer(number, exit)
      else this.waiting.push({ number, session: id })
    }
  }

  private hear(type: number, payload: Buffer): void {
    if (type === frameTypes.hello) {
      this.daemon.hellos.push(readJson(Hello, payload, 'hello'))
      this.daemon.greet(this)
      return
    }
    const { number, body } = splitNumbered(payload)
    if (type === frameTypes.input) {
      const session = [...this.daemon.sessions.values()].find(({ info }) => info.handle === number)!
      session.input = Buffer.concat([session.input, body])
      return
    }
    const { method: name, params: given } = readJson(Request, body, 'request')
    const method = name as Method
    const params = methods[method].params.parse(given)
    this.daemon.asked.push({ method, params })
    if (!this.daemon.isMute) void this.perform(method, params, number)
  }

  private async perform(method: Method, params: any, number: number): Promise<void> {
    const scripted = this.daemon.script[method] as Answering<any> | undefined
    const answering = scripted?.(params, this, number) ?? this.usual(method, params, number)
    const answer: unknown = answering instanceof Promise ? await answering : answering
    if (answer instanceof WireError) this.refuse(number, answer)
    else if (answer !== unanswered) this.answer(number, answer)
    this.pump()
    if (method !== 'attach' || answer instanceof WireError || answer === unanswered) return
    const { session, from } = answer as ResultOf<'attach'>
    this.cursors.set(session.handle, from)
    this.pump()
  }

  private usual(method: Method, params: any, number: number): unknown {
    const { sessions } = this.daemon
    const session = sessions.get(params.session)
    if (params.session !== undefined && session === undefined) return new WireError('SESSION_UNKNOWN')
    switch (method) {
      case 'open':
        return this.daemon.add(params.id ?? `s${sessions.size}`).info
      case 'attach': {
        const { info } = session!
        if (this.cursors.has(info.handle)) return new WireError('SESSION_ATTACHED')
        const from = params.from === 'start' ? info.start : params.from === 'end' ? info.offset : params.from
        return { session: info, from }
      }
      case 'detach':
        this.cursors.delete(session!.info.handle)
        return {}
      case 'resize':
        session!.info = { ...session!.info, size: params.size }
        return {}
      case 'signal':
        return {}
      case 'close':
        return this.daemon.end(params.session, { code: null, signal: 'SIGHUP' })
      case 'wait':
        this.waiting.push({ number, session: params.session })
        return unanswered
      case 'list':
        return { sessions: [...sessions.values()].map(({ info }) => info) }
      case 'info':
        return {
          name: 'main',
          version: '1.2.3',
          node: '20.0.0',
          pid: 77,
          generation: 1,
          startedAt: 1,
          keeper: null,
          sessions: sessions.size,
          connections: this.daemon.connections.size,
        }
      case 'upgrade':
        return { outcome: 'handed-over', predecessor: 77, successor: 78, sessions: 0, freezeMs: 1, reason: null }
      case 'stop':
        return { sessions: sessions.size }
    }
  }
}
