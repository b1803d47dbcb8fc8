import type { Socket } from 'node:net'
import { errorRecord, InstarError } from '../errors.ts'
import { goOnReceiving, pipeOf, receiveDirectly, sendDirectly, stopReceiving } from './pipe-handle.ts'
import {
  ErrorBody,
  type Frame,
  FrameReader,
  frameTypes,
  gapFrame,
  jsonFrame,
  limits,
  numberedFrame,
  outputHead,
} from './protocol.ts'
import type { Attachment, Session } from './session.ts'

/** What a connection asks of its daemon. */
export interface ConnectionHost {
  frame(connection: Connection, frame: Frame): void
  closed(connection: Connection): void
}

/** A request that is not answered yet. */
export interface Pending {
  readonly request: number
  readonly method: string
  readonly params: unknown
}

/** Of one connection, in this process: what the kernel has not taken is at most this and one frame. */
const queueBytesMax = 64 * 1024
/** What is gathered of a program that prints without a pause, and for how long; see {@link Connection.wake}. */
const gatheredBytesMax = 32 * 1024
const gatheredMs = 1
const inputBytesMax = 1024 * 1024
const nothing = Buffer.alloc(0)
/** Some name what was wrong with input of any length. */
const messageMax = 10_000

/**
 * One client. What it is given of a session's output comes out of the ring, as fast as it takes it: it holds up nobody
 * else, and costs no more memory than one frame beyond a full queue.
 */
export class Connection {
  /** Name and version as the client gave them; null before `hello`. */
  client: string | null = null
  readonly attachments = new Map<number, Attachment>()
  readonly pending = new Map<number, Pending>()

  private readonly reader: FrameReader
  /** What was given to the socket because the kernel did not take it at once, the oldest maybe taken in part by now. */
  private readonly queue: Buffer[] = []
  private givenInAll = 0
  private gathering: NodeJS.Timeout | undefined
  private begun: Buffer = nothing
  private unsent: Buffer = nothing
  /** What was to be sent while frozen. */
  private heldBack: Buffer[] = []
  private frozen = false
  private isListening = false
  private readonly heldUpBy = new Set<Session>()
  isClosed = false

  constructor(
    readonly number: number,
    readonly socket: Socket,
    private readonly host: ConnectionHost,
  ) {
    this.reader = new FrameReader()
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => this.close())
    socket.on('drain', () => this.pump())
  }

  /** Frames are delivered from now on. */
  listen(): void {
    this.isListening = true
    this.socket.on('end', () => this.close())
    receiveDirectly(this.socket, (bytes) => this.take(bytes))
  }

  // ---- sending

  answer(request: number, result: unknown): void {
    this.pending.delete(request)
    this.send(numberedFrame(frameTypes.result, request, result))
  }

  refuse(request: number, error: unknown): void {
    this.pending.delete(request)
    const { code = 'INTERNAL', message, hint, details } = errorRecord(error)
    const body = {
      code,
      message: message.slice(0, messageMax),
      ...(hint !== undefined && { hint }),
      ...(details !== undefined && { details }),
    }
    this.send(numberedFrame(frameTypes.error, request, ErrorBody.parse(body)))
  }

  tell(type: typeof frameTypes.welcome | typeof frameTypes.event, value: unknown): void {
    this.send(jsonFrame(type, value))
  }

  private send(...parts: Buffer[]): void {
    if (this.isClosed) return
    if (this.frozen) {
      this.heldBack.push(...parts)
      return
    }
    // Where nobody is there any more, it is the socket that finds out, also one of which nothing is read just now.
    const rest = this.queue.length === 0 ? (sendDirectly(this.socket, parts) ?? parts) : parts
    for (const part of rest) {
      if (part.length === 0) continue
      this.queue.push(part)
      this.givenInAll += part.length
      this.socket.write(part, () => this.queue.shift())
    }
  }

  // ---- output

  attach(session: Session, from: number): void {
    const attachment = { session, connection: this, cursor: from, movedAtMs: Date.now() }
    this.attachments.set(session.handle, attachment)
    session.attachments.add(attachment)
    session.regulate()
    this.giveAll(attachment)
  }

  detach(session: Session): void {
    const attachment = this.attachments.get(session.handle)
    if (attachment === undefined) return
    this.attachments.delete(session.handle)
    session.attachments.delete(attachment)
    session.regulate()
  }

  detachAll(): void {
    for (const { session } of [...this.attachments.values()]) this.detach(session)
  }

  /**
   * Something was printed. It goes out at once, unless more follows at once: that is gathered for a moment, as each frame
   * costs both ends the same, however short it is.
   */
  wake(attachment: Attachment, moreFollows: boolean): void {
    if (moreFollows && attachment.session.ring.end - attachment.cursor < gatheredBytesMax) {
      this.gathering ??= setTimeout(() => {
        this.gathering = undefined
        this.pump()
      }, gatheredMs)
      return
    }
    this.giveAll(attachment)
  }

  private giveAll(attachment: Attachment): void {
    while (this.hasRoom && this.give(attachment));
  }

  /** Gives every attached session's output, in turns, until the socket has enough. */
  pump(): void {
    let moved = true
    while (moved) {
      moved = false
      for (const attachment of this.attachments.values()) moved = (this.hasRoom && this.give(attachment)) || moved
    }
  }

  private get hasRoom(): boolean {
    return !this.frozen && !this.isClosed && this.socket.writableLength < queueBytesMax
  }

  /** True where there is more to give. */
  private give(attachment: Attachment): boolean {
    const { session, cursor } = attachment
    const { ring, handle } = session
    const gap = session.gapBefore(cursor)
    if (gap !== null) {
      this.send(gapFrame(handle, gap))
      attachment.cursor = gap.to
      if (gap.to < ring.start) return true
    } else if (cursor < ring.start) return false // its history is on the way
    const bytes = ring.read(attachment.cursor, limits.dataBytesMax)
    attachment.movedAtMs = Date.now()
    if (bytes.length > 0) {
      this.send(outputHead(handle, attachment.cursor, bytes.length), bytes)
      attachment.cursor += bytes.length
      session.regulate()
    }
    if (attachment.cursor < ring.end) return bytes.length > 0
    if (session.exit !== null) {
      this.send(exitFrame(session))
      this.detach(session)
    }
    return false
  }

  // ---- input

  /** The program does not take its input: nothing more is read from this client until it does. */
  holdUp(session: Session): void {
    if (session.unsentInputBytes < inputBytesMax) return
    this.heldUpBy.add(session)
    stopReceiving(this.socket)
  }

  goOn(session: Session): void {
    if (!this.heldUpBy.delete(session) || this.heldUpBy.size > 0 || this.frozen) return
    goOnReceiving(this.socket)
  }

  private take(bytes: Buffer): void {
    try {
      for (const frame of this.reader.push(bytes)) {
        this.host.frame(this, frame)
        if (this.isClosed) return
      }
    } catch (error) {
      this.end(error)
    }
  }

  /** Says why, and closes. A defect of our own is not the client's to read about in detail. */
  end(error: unknown): void {
    this.refuse(
      0,
      error instanceof InstarError ? error : new InstarError('INTERNAL', 'the daemon failed', { cause: error }),
    )
    this.socket.destroySoon()
    this.close()
  }

  private close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.socket.destroySoon()
    this.detachAll()
    this.host.closed(this)
  }

  // ---- handing over

  /** Where the connection of a predecessor goes on: in the middle of a frame maybe, in either direction. */
  continueWith(begun: Buffer, unsent: Buffer): void {
    this.begun = begun
    this.unsent = unsent
  }

  /** What follows of a session that it is attached to. */
  moveTo(handle: number, cursor: number): void {
    const attachment = this.attachments.get(handle)
    if (attachment !== undefined) attachment.cursor = cursor
  }

  freeze(): void {
    this.frozen = true
    stopReceiving(this.socket)
  }

  thaw(): void {
    this.frozen = false
    const held = [this.unsent, ...this.heldBack.splice(0)].filter(({ length }) => length > 0)
    if (held.length > 0) this.send(...held)
    if (this.begun.length > 0) this.take(this.begun)
    this.unsent = this.begun = nothing
    if (!this.isListening) this.listen()
    else if (this.heldUpBy.size === 0) goOnReceiving(this.socket)
    setImmediate(() => this.pump()) // when bytes flow again
  }

  /** What has come of a frame that is not whole. */
  get received(): Buffer {
    return this.reader.rest
  }

  /** What the kernel has not taken yet. It may go on taking that from this process, until {@link abandon}. */
  get untaken(): Buffer {
    if (this.queue.length === 0) return nothing
    const queued = Buffer.concat(this.queue)
    return queued.subarray(queued.length - (this.givenInAll - this.sentBytes))
  }

  /** Of all that this process has given to the socket, how much the kernel has taken. */
  get sentBytes(): number {
    const pipe = pipeOf(this.socket)
    return pipe === null ? this.givenInAll : pipe.bytesWritten - pipe.writeQueueSize
  }

  /** The predecessor has sent so much of what it could not get rid of at first. */
  skipUnsent(bytes: number): void {
    this.unsent = this.unsent.subarray(bytes)
  }

  /** Lets go without a word: another process has the connection. */
  abandon(): void {
    this.isClosed = true
    pipeOf(this.socket)?.close()
  }

  /** Nobody knows any more what was sent last: the client has to come again. */
  breakOff(): void {
    this.frozen = true
    this.socket.destroy()
    this.close()
  }
}

function exitFrame({ handle, exit }: Session): Buffer {
  return numberedFrame(frameTypes.exit, handle, exit)
}
