import { connect, type Socket } from 'node:net'
import { codes, InstarError, type InstarErrorCode } from '../errors.ts'
import { goOnReceiving, receiveDirectly, sendDirectly, stopReceiving } from './pipe-handle.ts'
import {
  type DaemonEvent,
  ErrorBody,
  type Frame,
  FrameReader,
  frameTypes,
  type Gap,
  inputHead,
  jsonFrame,
  limits,
  type Method,
  methods,
  numberedFrame,
  type ParamsOf,
  protocolVersion,
  type ResultOf,
  readEvent,
  readJson,
  SessionExit,
  splitGap,
  splitNumbered,
  splitOutput,
  Welcome,
} from './protocol.ts'

/** What comes by a connection and is no answer. */
export interface LinkListener {
  output(handle: number, offset: number, bytes: Buffer): void
  gap(handle: number, gap: Gap): void
  exit(handle: number, exit: SessionExit): void
  event(event: DaemonEvent): void
  /** The connection is over. Comes once, after everything else. */
  lost(link: Link, error: InstarError): void
}

/** What becomes of a request. `lost`: the connection ended before the answer came. */
export type Answer<M extends Method> =
  | { readonly result: ResultOf<M> }
  | { readonly error: InstarError }
  | { readonly lost: InstarError }

export interface LinkOptions {
  readonly path: string
  /** How this client calls itself. */
  readonly name: string
  readonly answerTimeoutMs: number
  readonly signal?: AbortSignal | undefined
}

interface Asked {
  readonly method: Method
  readonly answered: (answer: Answer<any>) => void
  readonly timer: NodeJS.Timeout | undefined
}

/** Whoever asks for these knows that they take as long as they take. */
const unhurried: ReadonlySet<Method> = new Set<Method>(['wait', 'close', 'upgrade', 'stop'])

/** How long `close` waits for the daemon to take what was written, and to close its end. */
const lingerMs = 1000

/**
 * One connection to a daemon, from its hello to its end. It keeps no process alive. Answers are told synchronously, so that
 * what comes after an answer finds it known.
 */
export class Link {
  private readonly reader = new FrameReader(limits.answerBytesMax)
  private readonly asked = new Map<number, Asked>()
  private lastNumber = 0
  private failure: InstarError | null = null
  private readonly over: Promise<void>
  private tellOver!: () => void
  /** The daemon is gone, and what it had said is heard to its end. */
  private isEnding = false
  private room: Promise<void> | null = null
  private welcomed: ((answer: Welcome | InstarError) => void) | null = null
  /** What the daemon said about itself; another may have taken its place since. */
  private greeting: Welcome | null = null

  private constructor(
    private readonly socket: Socket,
    private readonly listener: LinkListener,
    private readonly answerTimeoutMs: number,
  ) {
    this.over = new Promise((resolve) => {
      this.tellOver = resolve
    })
    socket.unref()
    receiveDirectly(socket, (bytes) => this.take(bytes))
    socket.on('error', (cause) => this.end(new InstarError('DAEMON_GONE', 'the connection broke', { cause })))
    socket.on('close', () => {
      const where = this.reader.rest.length > 0 ? ' in the middle of a frame' : ''
      this.end(new InstarError('DAEMON_GONE', `the daemon closed the connection${where}`))
    })
  }

  /**
   * Connects and agrees on a version.
   *
   * @throws {InstarError} `DAEMON_NOT_RUNNING` where nobody listens; `DAEMON_DENIED`; `DAEMON_BUSY`; `DAEMON_SILENT` where
   *   no welcome comes in time; `DAEMON_GONE` where the connection ends before it; `PROTOCOL_UNSUPPORTED`;
   *   `PROTOCOL_INVALID` where something else answers; and the signal's reason.
   */
  static async open({ path, name, answerTimeoutMs, signal }: LinkOptions, listener: LinkListener): Promise<Link> {
    signal?.throwIfAborted()
    const socket = await dial(path, signal)
    const link = new Link(socket, listener, answerTimeoutMs)
    try {
      await link.greet(name, signal)
      // What came together with the welcome may have been none of the protocol.
      if (link.failure !== null) throw link.failure
      return link
    } catch (error) {
      socket.destroy()
      throw error
    }
  }

  /** What the daemon said when it was greeted. */
  get welcome(): Welcome {
    return this.greeting!
  }

  get isOpen(): boolean {
    return this.failure === null
  }

  // ---- sending

  /**
   * Asks, and tells the answer once, unless this throws.
   *
   * @throws {InstarError} `PARAMETERS_INVALID` where they do not fit into a frame.
   */
  ask<M extends Method>(method: M, params: ParamsOf<M>, answered: (answer: Answer<M>) => void): void {
    if (this.failure !== null) {
      answered({ lost: this.failure })
      return
    }
    const number = this.freeNumber()
    const frame = numberedFrame(frameTypes.request, number, { method, params })
    if (frame.length - 4 > limits.frameBytesMax)
      throw new InstarError('PARAMETERS_INVALID', `${method} was given more than ${limits.frameBytesMax} bytes`)
    this.asked.set(number, { method, answered, timer: this.patience(number, method) })
    this.socket.write(frame)
  }

  private freeNumber(): number {
    do this.lastNumber = this.lastNumber === 0xffff_ffff ? 1 : this.lastNumber + 1
    while (this.asked.has(this.lastNumber))
    return this.lastNumber
  }

  private patience(number: number, method: Method): NodeJS.Timeout | undefined {
    if (unhurried.has(method)) return undefined
    return setTimeout(() => {
      const { answered } = this.asked.get(number)!
      // It may still be answered, and its number must not be used for another one until then.
      this.asked.set(number, { method, answered: () => {}, timer: undefined })
      answered({ error: silence(`an answer to ${method}`, this.answerTimeoutMs) })
    }, this.answerTimeoutMs).unref()
  }

  /**
   * Sends input, which is copied. Resolves when the socket takes more; with false where the connection is over and nothing of
   * it was sent.
   *
   * @throws {InstarError} why the connection is over, where nobody knows how much of it was sent.
   */
  async input(handle: number, bytes: Uint8Array): Promise<boolean> {
    if (this.failure !== null) return false
    const frame = Buffer.concat([inputHead(handle, bytes.length), bytes])
    const unsent = this.socket.writableLength === 0 ? sendDirectly(this.socket, [frame]) : [frame]
    if (unsent === null) {
      // Also where that was to wait.
      this.isEnding = true
      goOnReceiving(this.socket)
      await this.over
      return false
    }
    const [rest] = unsent
    if (rest!.length === 0 || this.socket.write(rest!)) return true
    this.room ??= new Promise((resolve, reject) => {
      const drained = () => {
        this.socket.off('drain', drained).off('close', drained)
        this.room = null
        if (this.failure === null) resolve()
        else reject(this.failure)
      }
      // Our own listener for 'close' came first, so the failure is known by then.
      this.socket.on('drain', drained).on('close', drained)
    })
    await this.room
    return true
  }

  // ---- receiving

  /** Nothing more is received until {@link resume}. */
  pause(): void {
    if (this.isOpen && !this.isEnding) stopReceiving(this.socket)
  }

  resume(): void {
    if (this.isOpen) goOnReceiving(this.socket)
  }

  private take(bytes: Buffer): void {
    if (!this.isOpen) return // it is read to its end, and nobody listens any more
    try {
      for (const frame of this.reader.push(bytes)) {
        this.hear(frame)
        if (!this.isOpen) return
      }
    } catch (error) {
      this.end(error as InstarError)
      this.socket.destroy()
    }
  }

  private hear({ type, payload }: Frame): void {
    if (type === frameTypes.welcome) this.hearWelcome(readJson(Welcome, payload, 'a welcome'))
    else if (type === frameTypes.result) this.hearResult(splitNumbered(payload))
    else if (type === frameTypes.error) this.hearError(splitNumbered(payload))
    else if (this.greeting === null) throw new InstarError('PROTOCOL_INVALID', 'the first frame is no welcome')
    else this.pass(type, payload)
  }

  private pass(type: number, payload: Buffer): void {
    switch (type) {
      case frameTypes.output: {
        const { handle, offset, bytes } = splitOutput(payload)
        this.listener.output(handle, offset, bytes)
        break
      }
      case frameTypes.gap: {
        const { handle, gap } = splitGap(payload)
        this.listener.gap(handle, gap)
        break
      }
      case frameTypes.exit: {
        const { number: handle, body } = splitNumbered(payload)
        this.listener.exit(handle, readJson(SessionExit, body, 'an exit'))
        break
      }
      case frameTypes.event: {
        const event = readEvent(payload)
        if (event !== null) this.listener.event(event)
        break
      }
      default:
        throw new InstarError('PROTOCOL_INVALID', `a daemon does not send frames of type ${type}`)
    }
  }

  private hearWelcome(welcome: Welcome): void {
    if (this.greeting !== null) throw new InstarError('PROTOCOL_INVALID', 'a second welcome')
    if (welcome.protocol !== protocolVersion)
      throw new InstarError('PROTOCOL_UNSUPPORTED', `the daemon chose version ${welcome.protocol} of the protocol`)
    this.greeting = welcome
    this.welcomed?.(welcome)
  }

  private hearResult({ number, body }: { number: number; body: Buffer }): void {
    const value = jsonOf(body)
    const { method, answered } = this.answeredBy(number)
    const result = methods[method].result.safeParse(value)
    if (result.success) answered({ result: result.data })
    else
      answered({
        error: new InstarError('PROTOCOL_INVALID', `the result of ${method} is none`, { cause: result.error }),
      })
  }

  private hearError({ number, body }: { number: number; body: Buffer }): void {
    const error = errorOf(readJson(ErrorBody, body, 'an error'))
    if (number === 0) throw error
    this.answeredBy(number).answered({ error })
  }

  private answeredBy(number: number): Asked {
    const asked = this.asked.get(number)
    if (asked === undefined) throw new InstarError('PROTOCOL_INVALID', `an answer to ${number}, which was not asked`)
    clearTimeout(asked.timer)
    this.asked.delete(number)
    return asked
  }

  // ---- the beginning and the end

  private async greet(client: string, signal: AbortSignal | undefined): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    let abort: (() => void) | undefined
    const welcomed = new Promise<Welcome>((resolve, reject) => {
      this.welcomed = (answer) => (answer instanceof InstarError ? reject(answer) : resolve(answer))
      timer = setTimeout(() => reject(silence('a welcome', this.answerTimeoutMs)), this.answerTimeoutMs)
      abort = () => reject(signal?.reason)
      signal?.addEventListener('abort', abort, { once: true })
    })
    this.socket.write(jsonFrame(frameTypes.hello, { protocols: [protocolVersion], client, capabilities: [] }))
    try {
      await welcomed
    } finally {
      this.welcomed = null
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort!)
    }
  }

  private end(error: InstarError): void {
    if (this.failure !== null) return
    this.failure = error
    this.tellOver()
    this.welcomed?.(error)
    for (const { answered, timer } of this.asked.values()) {
      clearTimeout(timer)
      answered({ lost: error })
    }
    this.asked.clear()
    if (this.greeting !== null) this.listener.lost(this, error)
  }

  /**
   * Tells whoever waits that nothing more comes, and resolves when the connection is closed. What was written before still
   * reaches the daemon, where it takes it within a second.
   */
  async close(reason: InstarError): Promise<void> {
    this.end(reason)
    if (this.socket.closed) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.socket.destroy(), lingerMs)
      this.socket.once('close', () => {
        clearTimeout(timer)
        resolve()
      })
      // Closed with something unread, a socket is reset, and the daemon might not read what was written.
      goOnReceiving(this.socket)
      this.socket.end()
    })
  }
}

function dial(path: string, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    const abort = () => {
      socket.destroy()
      reject(signal?.reason)
    }
    const settled = () => {
      signal?.removeEventListener('abort', abort)
      socket.off('error', failed).off('connect', connected)
    }
    const failed = (error: NodeJS.ErrnoException) => {
      settled()
      reject(dialError(path, error))
    }
    const connected = () => {
      settled()
      resolve(socket)
    }
    socket.once('error', failed).once('connect', connected)
    signal?.addEventListener('abort', abort, { once: true })
  })
}

function dialError(path: string, cause: NodeJS.ErrnoException): InstarError {
  if (cause.code === 'EACCES' || cause.code === 'EPERM')
    return new InstarError('DAEMON_DENIED', `you may not connect to ${path}`, { cause })
  if (cause.code === 'EAGAIN') return new InstarError('DAEMON_BUSY', `nobody accepts on ${path}`, { cause })
  if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR' || cause.code === 'ECONNREFUSED')
    return new InstarError('DAEMON_NOT_RUNNING', `nobody listens on ${path}`, { cause })
  return new InstarError('DAEMON_FAILED', `it cannot be connected to ${path}`, { cause })
}

const silence = (what: string, timeoutMs: number) =>
  new InstarError('DAEMON_SILENT', `${what} did not come within ${timeoutMs} ms`)

function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (cause) {
    throw new InstarError('PROTOCOL_INVALID', 'a result is not JSON', { cause })
  }
}

/** A newer daemon may have codes that this version has no name for; they are kept in the details. */
function errorOf({ code, message, hint, details }: ErrorBody): InstarError {
  if (Object.hasOwn(codes, code))
    return new InstarError(code as InstarErrorCode, message, {
      ...(hint !== undefined && { hint }),
      ...(details !== undefined && { details }),
    })
  return new InstarError('DAEMON_FAILED', message, {
    ...(hint !== undefined && { hint }),
    details: { ...details, code },
  })
}
