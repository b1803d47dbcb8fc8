import { InstarError } from '../errors.ts'
import { held } from '../held.ts'
import { abortable, pause } from '../runtime/pause.ts'
import { type Answer, Link, type LinkListener } from './client-link.ts'
import { isSame, type Output, type OutputHost } from './client-output.ts'
import { type Asking, Session, type SessionHost } from './client-session.ts'
import type {
  DaemonEvent,
  DaemonInfo,
  HandoffResult,
  Method,
  ParamsOf,
  ResultOf,
  SessionExit,
  SessionInfo,
  Welcome,
} from './protocol.ts'

export type { Chunk, From, Output } from './client-output.ts'
export { type Asking, type OutputOptions, Session } from './client-session.ts'
export type { Gap } from './protocol.ts'

export interface Reconnecting {
  /** Before the first attempt; doubled before each further one. Default: 10. */
  readonly delayMs?: number
  /** Default: 1000. */
  readonly delayMsMax?: number
  /** After so long without a daemon the client gives up. Default: 30000. */
  readonly forMs?: number
  /** Also while nobody listens, for somebody may start a daemon; else the client gives up then. Default: true. */
  readonly whileAbsent?: boolean
}

export interface ConnectOptions {
  /** Of the daemon's socket; where that may change, what finds it, before each attempt. */
  readonly path: string | (() => Promise<string>)
  /** Default: true. */
  readonly reconnect?: boolean | Reconnecting
  /** How long the daemon may take to answer what it answers at once. Default: 30000. */
  readonly answerTimeoutMs?: number
  /** How this client calls itself in the daemon's log. */
  readonly name?: string
  /** Gives up connecting; it does not close the client later. */
  readonly signal?: AbortSignal | undefined
}

export type ClientEvent =
  | DaemonEvent
  /** It is connecting anew. */
  | { readonly type: 'disconnected'; readonly error: InstarError }
  | { readonly type: 'reconnected'; readonly version: string; readonly pid: number }
  /** It has given up, and everything that is asked of it fails with this error. */
  | { readonly type: 'gone'; readonly error: InstarError }

interface RequestOptions extends Asking {
  /** The session that the request is about. */
  readonly about?: Session
  /** The answer, where it comes after the caller has given up. */
  readonly late?: (result: any) => void
}

/** What asks, or comes to the same when it is done twice. */
const repeatable: ReadonlySet<Method> = new Set<Method>(['info', 'list', 'wait', 'resize'])

const final = new Set<string>(['DAEMON_DENIED', 'PROTOCOL_UNSUPPORTED'])

/** A consumer that lags for so long gives way to others. */
const lagMsMax = 250
const lookForLagMs = 50

/** The connection ended before the answer came. */
class Lost extends Error {
  constructor(
    override readonly cause: InstarError,
    /** Whether the daemon may have got the request. */
    readonly wasAsked: boolean,
  ) {
    super(cause.message)
  }
}

/**
 * Connects to the daemon that serves at `path`. Nothing is begun where nobody serves.
 *
 * @throws {InstarError} `DAEMON_NOT_RUNNING`, `DAEMON_DENIED`, `DAEMON_BUSY`, `DAEMON_SILENT`, `DAEMON_GONE`,
 *   `PROTOCOL_UNSUPPORTED`, `PROTOCOL_INVALID` where something else answers; and the signal's reason.
 */
export async function connectDaemon(options: ConnectOptions): Promise<DaemonClient> {
  return held(DaemonClient.connect(options))
}

/**
 * A connection to a session daemon that heals itself. Through an upgrade it stays as it is; when it is lost, it is made
 * anew: outputs go on at the byte where they were, `info`, `list`, `resize` and waiting for an exit are repeated, and
 * anything else that was not answered rejects with `DAEMON_GONE`, for nobody knows whether it was done. What is asked while
 * there is no connection waits for the next one.
 *
 * It keeps the process alive while somebody waits for it, and no longer. Every call rejects with the reason of its signal.
 */
export class DaemonClient implements AsyncDisposable {
  private current: Link | null = null
  private over: InstarError | null = null
  private greeting!: Welcome
  private readonly given = new AbortController()
  private readonly linkWaiters = new Set<() => void>()
  private readonly listeners = new Set<(event: ClientEvent) => void>()
  /** Since the connection was last good for a while. */
  private attempts: { readonly until: number; delayMs: number } | null = null
  private linkedAtMs = 0
  private census: Promise<readonly SessionInfo[]> | null = null

  /** By the session's id: the one that is attached, or is going to be. */
  private readonly outputs = new Map<string, Output>()
  private readonly routes = new Map<number, Output>()
  /** Outputs whose consumers lag, and since when. While there are any, nothing is received. */
  private readonly lagging = new Map<Output, number>()
  private lagTimer: NodeJS.Timeout | undefined
  /** Requests that somebody waits for and the daemon answers at once. */
  private unanswered = 0

  private readonly listener: LinkListener = {
    output: (handle, offset, bytes) => this.routes.get(handle)?.receive(offset, bytes),
    gap: (handle, gap) => this.routes.get(handle)?.skip(gap),
    exit: (handle, exit) => this.routes.get(handle)?.exited(exit),
    event: (event) => this.hear(event),
    lost: (link, error) => this.lost(link, error),
  }

  private readonly host: SessionHost = {
    current: () => (this.over === null ? this.current : null),
    link: (signal) => this.link(signal),
    recognise: (session, link) => this.recognise(session, link),
    outputHost: (session) => this.outputHost(session),
    detach: (session) => this.detach(session),
  }

  private constructor(private readonly options: ConnectOptions) {}

  /** @internal {@link connectDaemon} keeps the process alive meanwhile. */
  static async connect(options: ConnectOptions): Promise<DaemonClient> {
    const client = new DaemonClient(options)
    client.linked(await client.dial(options.signal, client.answerTimeoutMs))
    return client
  }

  /** The daemon that serves it now, as far as is known. */
  get daemon(): Pick<Welcome, 'version' | 'pid' | 'capabilities'> {
    return this.greeting
  }

  /** Without a connection, what is asked waits for the next. */
  get isConnected(): boolean {
    return this.current?.isOpen === true
  }

  // ---- what can be asked

  info(asking: Asking = {}): Promise<DaemonInfo> {
    return this.request('info', {}, asking)
  }

  /** The sessions that run, and those that ended not long ago. */
  async list(asking: Asking = {}): Promise<SessionInfo[]> {
    return (await this.request('list', {}, asking)).sessions
  }

  /**
   * Begins a session. One that is given up is closed again when it has begun after all.
   *
   * @throws {InstarError} `SESSION_EXISTS`, `SESSION_CWD_INVALID`, `SESSION_COMMAND_INVALID`, `SESSION_LIMIT`,
   *   `PARAMETERS_INVALID`, `DAEMON_STOPPING`; `DAEMON_GONE` where nobody knows whether it has begun.
   */
  async open(params: ParamsOf<'open'> = {}, asking: Asking = {}): Promise<Session> {
    const late = ({ id }: SessionInfo) => this.request('close', { session: id }).catch(() => {}) // nobody is left to tell
    return this.sessionOf(await this.request('open', params, { ...asking, late }))
  }

  /** @throws {InstarError} `SESSION_UNKNOWN` */
  async session(id: string, asking: Asking = {}): Promise<Session> {
    const info = (await this.list(asking)).find((session) => session.id === id)
    if (info === undefined) throw new InstarError('SESSION_UNKNOWN', `there is no session ${id}`)
    return this.sessionOf(info)
  }

  /**
   * Has the daemon replaced by one started as `command`; default: as it was itself. Nothing is interrupted by it. Given up,
   * it goes on all the same.
   */
  upgrade(params: ParamsOf<'upgrade'> = {}, asking: Asking = {}): Promise<HandoffResult> {
    return this.request('upgrade', params, asking)
  }

  /** Ends every session and the daemon. Resolves with the number of sessions that ended. */
  async stop(asking: Asking = {}): Promise<{ sessions: number }> {
    return this.request('stop', {}, asking)
  }

  /** Events come one at a time, after the call that they came in has ended. Returns what ends the subscription. */
  onEvent(listener: (event: ClientEvent) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /**
   * Ends the connection; sessions stay. Whatever is still waited for rejects with `ABORTED`. What was written reaches the
   * daemon, where it takes it within a second.
   */
  async close(): Promise<void> {
    const reason = new InstarError('ABORTED', 'the client was closed')
    const link = this.current
    this.end(reason)
    if (link !== null) await held(link.close(reason))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // ---- requests

  /** @internal */
  request<M extends Method>(method: M, params: ParamsOf<M>, options: RequestOptions = {}): Promise<ResultOf<M>> {
    return held(this.perform(method, params, options))
  }

  private async perform<M extends Method>(method: M, params: ParamsOf<M>, options: RequestOptions) {
    const { signal, about } = options
    for (;;) {
      const link = await this.link(signal)
      if (about !== undefined) await abortable(this.recognise(about, link), signal)
      try {
        return await this.askOnce(link, method, params, options)
      } catch (error) {
        if (!(error instanceof Lost)) throw error
        if (error.wasAsked && !repeatable.has(method)) throw this.over ?? error.cause
      }
    }
  }

  private askOnce<M extends Method>(link: Link, method: M, params: ParamsOf<M>, { signal, late }: RequestOptions) {
    const isPrompt = method !== 'wait'
    return new Promise<ResultOf<M>>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const abort = () => {
        settled()
        reject(signal?.reason)
      }
      const settled = () => {
        signal?.removeEventListener('abort', abort)
        if (isPrompt) this.unanswered -= 1
      }
      const wasAsked = link.isOpen
      signal?.addEventListener('abort', abort, { once: true })
      if (isPrompt) this.unanswered += 1
      const answered = (answer: Answer<M>) => {
        if (signal?.aborted) {
          if ('result' in answer) late?.(answer.result)
          return
        }
        settled()
        if ('result' in answer) resolve(answer.result)
        else if ('error' in answer) reject(answer.error)
        else reject(new Lost(answer.lost, wasAsked))
      }
      try {
        link.ask(method, params, answered)
      } catch (error) {
        settled()
        reject(error)
      }
    })
  }

  private sessionOf(info: SessionInfo): Session {
    return new Session(info, this.current, this, this.host)
  }

  // ---- the connection

  /** The connection, or the next one. */
  private async link(signal?: AbortSignal): Promise<Link> {
    signal?.throwIfAborted()
    for (;;) {
      if (this.over !== null) throw this.over
      if (this.current !== null) return this.current
      let changed!: () => void
      const change = new Promise<void>((resolve) => {
        changed = resolve
      })
      this.linkWaiters.add(changed)
      await abortable(change, signal).finally(() => this.linkWaiters.delete(changed))
    }
  }

  private async dial(signal: AbortSignal | undefined, answerTimeoutMs: number): Promise<Link> {
    const { path: given, name = `client of process ${process.pid}` } = this.options
    const path = typeof given === 'string' ? given : await given()
    return Link.open({ path, name, answerTimeoutMs, signal }, this.listener)
  }

  private get answerTimeoutMs(): number {
    return this.options.answerTimeoutMs ?? 30_000
  }

  private linked(link: Link): void {
    this.current = link
    this.greeting = link.welcome
    this.linkedAtMs = performance.now()
    this.census = null
    this.changed()
    for (const output of this.outputs.values()) output.linked()
  }

  private changed(): void {
    for (const tell of this.linkWaiters) tell()
  }

  private lost(link: Link, error: InstarError): void {
    if (this.current !== link) return
    this.current = null
    this.routes.clear()
    this.lagging.clear()
    this.keepUp()
    if (this.over !== null) return
    const { reconnect = true } = this.options
    if (reconnect === false) {
      this.giveUp(error)
      return
    }
    for (const output of this.outputs.values()) output.unlinked()
    this.emit({ type: 'disconnected', error })
    void this.reconnect(error, reconnect === true ? {} : reconnect)
  }

  private async reconnect(
    lost: InstarError,
    { delayMs = 10, delayMsMax = 1000, forMs = 30_000, whileAbsent = true }: Reconnecting,
  ): Promise<void> {
    const giveUp = (cause: InstarError) =>
      this.giveUp(new InstarError('DAEMON_GONE', `no daemon stayed for ${forMs} ms`, { cause }))
    // A daemon that fails again and again right after it was reached is not there.
    const wasGood = performance.now() - this.linkedAtMs > delayMsMax
    if (wasGood || this.attempts === null) this.attempts = { until: performance.now() + forMs, delayMs }
    const { attempts } = this
    if (performance.now() > attempts.until) return giveUp(lost)
    const { signal } = this.given
    for (;;) {
      try {
        await pause(attempts.delayMs, signal, true)
        attempts.delayMs = Math.min(2 * attempts.delayMs, delayMsMax)
        const leftMs = Math.max(delayMsMax, attempts.until - performance.now())
        const link = await this.dial(signal, Math.min(leftMs, this.answerTimeoutMs))
        if (signal.aborted) return await link.close(signal.reason)
        this.linked(link)
        this.emit({ type: 'reconnected', version: link.welcome.version, pid: link.welcome.pid })
        return
      } catch (error) {
        if (signal.aborted) return
        const reason = error as InstarError
        const isAbsent = reason.code === 'DAEMON_NOT_RUNNING'
        if (final.has(reason.code) || (isAbsent && !whileAbsent)) return this.giveUp(reason)
        if (performance.now() > attempts.until) return giveUp(reason)
      }
    }
  }

  private giveUp(error: InstarError): void {
    this.end(error)
    this.emit({ type: 'gone', error })
  }

  private end(reason: InstarError): void {
    if (this.over !== null) return
    this.over = reason
    this.given.abort(reason)
    this.changed()
    for (const output of [...this.outputs.values()]) output.fail(reason)
  }

  private hear(event: DaemonEvent): void {
    if (event.type === 'handed-over') this.greeting = { ...this.greeting, version: event.version, pid: event.pid }
    this.emit(event)
  }

  private emit(event: ClientEvent): void {
    // Not from within the reading of a frame, which must go on whatever a listener throws.
    for (const listener of this.listeners) queueMicrotask(() => listener(event))
  }

  // ---- sessions

  /** The daemon may be another one that knows nothing of it, or has another session by its name or its handle. */
  private async recognise(session: Session, link: Link): Promise<void> {
    if (session.knownBy === link) return
    this.census ??= this.perform('list', {}, {})
      .then(({ sessions }) => sessions)
      .catch((error) => {
        this.census = null
        throw error
      })
    const listed = (await this.census).find(({ id }) => id === session.id)
    if (listed === undefined) return // it ended, and how may have been written down
    if (!isSame(listed, session.info))
      throw new InstarError('SESSION_UNKNOWN', `${session.id} is another session by now`)
    session.ended ??= listed.exit
    session.knownBy = link
  }

  private outputHost(session: Session): OutputHost {
    const client = this
    return {
      get isLinked() {
        return client.current?.isOpen === true
      },
      ask: (method, params, answered) => this.askFor(method, params, answered),
      endOf: () => session.exit,
      begin: (output) => this.begin(output),
      route: (handle, output) => this.routes.set(handle, output),
      full: (output) => this.filled(output),
      drained: (output) => this.drained(output),
      over: (output) => this.forget(output),
      ended: (exit: SessionExit) => {
        session.ended ??= exit
      },
    }
  }

  private askFor<M extends Method>(method: M, params: ParamsOf<M>, answered: (answer: Answer<M>) => void): void {
    this.current!.ask(method, params, answered)
  }

  private async begin(output: Output): Promise<void> {
    if (this.over !== null) throw this.over
    const { id } = output.session
    const before = this.outputs.get(id)
    if (before !== undefined && !before.isOver)
      throw new InstarError('SESSION_ATTACHED', `this client has an output of ${id} already`)
    this.outputs.set(id, output)
    await before?.left
  }

  private forget(output: Output): void {
    const { id, handle } = output.session
    if (this.outputs.get(id) === output) this.outputs.delete(id)
    if (this.routes.get(handle) === output) this.routes.delete(handle)
  }

  private async detach({ id }: Session): Promise<void> {
    const output = this.outputs.get(id)
    await output?.return()
    await output?.left
  }

  // ---- slow consumers

  private filled(output: Output): void {
    this.lagging.set(output, performance.now())
    this.keepUp()
  }

  private drained(output: Output): void {
    if (this.lagging.delete(output)) this.keepUp()
  }

  private keepUp(): void {
    if (this.lagging.size > 0) {
      this.current?.pause()
      this.lagTimer ??= setInterval(() => this.giveWay(), lookForLagMs).unref()
    } else {
      this.current?.resume()
      clearInterval(this.lagTimer)
      this.lagTimer = undefined
    }
  }

  /** Lets go of consumers that lag, where somebody else needs the connection. */
  private giveWay(): void {
    const isNeeded = [...this.outputs.values()].some((output) => output.isExpecting && !this.lagging.has(output))
    if (!isNeeded && this.unanswered === 0) return
    for (const [output, sinceMs] of this.lagging) {
      if (performance.now() - sinceMs < lagMsMax) continue
      output.park()
      this.drained(output)
    }
  }
}
