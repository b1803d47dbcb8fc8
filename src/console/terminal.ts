import type { IncomingMessage } from 'node:http'
import type { RawData, WebSocket } from 'ws'
import * as z from 'zod'
import { errorRecord } from '../errors.ts'
import type { ClientEvent, DaemonClient, Session } from '../sessions/client.ts'
import { Size } from '../sessions/protocol.ts'

/** Of one message, and of all that the program has not read yet. */
export const inputBytesMax = 65_536
const unreadInputMax = 1_048_576
/** One that does not answer for two of these is gone. */
const pingMs = 20_000
/** For a page to answer that the connection is closed. */
const closingMs = 1000

const asked = z.union([z.strictObject({ input: z.string().max(inputBytesMax) }), z.strictObject({ resize: Size })])

interface Closing {
  readonly code: number
  readonly reason: string
}

/**
 * One session, shown to one page over a WebSocket, by a connection to the daemon of its own.
 *
 *   to the page    binary   what the program printed
 *                  text     { attached: { offset } }     first: the byte that follows
 *                           { gap: { from, to } }        bytes that are gone; what follows begins at `to`
 *                           { upgrading: true }          nobody serves the session just now; it goes on
 *                           { upgrading: false, version, pid }   who serves it from now on
 *                           { exit }                     how it ended; the last
 *                           { error: { code, message, hint } }   the last
 *   from the page  text     { input: "…" } | { resize: { columns, rows } }
 *
 * A page that takes nothing for too long is cut, since it would hold up the program; it comes again by its offset.
 */
export class Terminal {
  private web: WebSocket | null = null
  private readonly over = new AbortController()
  private releasing: Promise<void> | null = null
  private unreadInput = 0

  constructor(
    readonly request: IncomingMessage,
    private readonly client: DaemonClient,
    private readonly session: Session,
    private readonly offset: number,
    private readonly takeMs: number,
  ) {}

  /** Resolves when the page is gone, or was told the last. */
  async show(web: WebSocket): Promise<void> {
    this.web = web
    web.on('error', () => {}) // a close follows
    web.on('close', () => this.over.abort())
    web.on('message', (data, isBinary) => this.take(data, isBinary))
    const unfollow = this.client.onEvent((event) => this.hear(event))
    const endPings = this.ping(web)
    try {
      this.say({ attached: { offset: this.offset } })
      await this.passOn(web)
      this.say({ exit: await this.session.exit })
      await this.close({ code: 1000, reason: 'the session has ended' })
    } catch (error) {
      if (!this.over.signal.aborted) {
        const { code, message, hint } = errorRecord(error)
        this.say({ error: { code, message, hint } })
        await this.close({ code: 1011, reason: 'the session cannot be shown' })
      }
    } finally {
      unfollow()
      endPings()
      await this.release()
    }
  }

  /** Says goodbye; resolves when the connection is closed. */
  async close({ code, reason }: Closing): Promise<void> {
    const { web } = this
    if (web === null || web.readyState === web.CLOSED) return
    const closed = new Promise<void>((resolve) => web.once('close', () => resolve()))
    const late = setTimeout(() => web.terminate(), closingMs)
    web.close(code, reason)
    await closed
    clearTimeout(late)
  }

  /** Lets go of the daemon; the session lives on. */
  release(): Promise<void> {
    this.releasing ??= this.client.close()
    return this.releasing
  }

  private async passOn(web: WebSocket): Promise<void> {
    for await (const piece of this.session.output({ from: this.offset, signal: this.over.signal }))
      if ('bytes' in piece) await this.send(web, piece.bytes)
      else this.say({ gap: { from: piece.from, to: piece.to } })
  }

  /** Resolves when the system has taken it: so a slow page has the program wait, and nothing is piled up. */
  private async send(web: WebSocket, bytes: Buffer): Promise<void> {
    const late = setTimeout(() => web.terminate(), this.takeMs)
    await new Promise<void>((resolve) => web.send(bytes, { binary: true }, () => resolve()))
    clearTimeout(late)
  }

  private say(what: object): void {
    this.web?.send(JSON.stringify(what), () => {}) // a close follows where it fails
  }

  private hear(event: ClientEvent): void {
    if (event.type === 'disconnected') this.say({ upgrading: true })
    else if (event.type === 'handed-over' || event.type === 'reconnected')
      this.say({ upgrading: false, version: event.version, pid: event.pid })
  }

  private take(data: RawData, isBinary: boolean): void {
    const wish = isBinary ? undefined : asked.safeParse(jsonIn(data)).data
    if (wish === undefined) void this.close({ code: 1008, reason: 'this is none of the messages' })
    else if ('resize' in wish)
      void this.session.resize(wish.resize).catch(() => {}) // the output tells what is wrong
    else this.type(Buffer.from(wish.input))
  }

  private type(input: Buffer): void {
    this.unreadInput += input.length
    if (this.unreadInput > unreadInputMax) {
      void this.close({ code: 1008, reason: 'the program does not read what is typed' })
      return
    }
    this.session
      .write(input, { signal: this.over.signal })
      .catch(() => {}) // the output tells what is wrong
      .finally(() => {
        this.unreadInput -= input.length
      })
  }

  private ping(web: WebSocket): () => void {
    let answered = true
    web.on('pong', () => {
      answered = true
    })
    const timer = setInterval(() => {
      if (!answered) return web.terminate()
      answered = false
      web.ping()
    }, pingMs)
    timer.unref()
    return () => clearInterval(timer)
  }
}

function jsonIn(data: RawData): unknown {
  try {
    return JSON.parse(String(data))
  } catch {
    return undefined // which is no message either
  }
}
