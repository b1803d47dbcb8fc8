import { InstarError } from '../errors.ts'
import { held } from '../held.ts'
import type { Answer } from './client-link.ts'
import type { Gap, Method, ParamsOf, ResultOf, SessionExit, SessionInfo } from './protocol.ts'

/** What a program printed, from byte `offset` of its output on. */
export interface Chunk {
  readonly offset: number
  readonly bytes: Buffer
}

/** What an output needs of its client. */
export interface OutputHost {
  readonly isLinked: boolean
  ask<M extends Method>(method: M, params: ParamsOf<M>, answered: (answer: Answer<M>) => void): void
  /** How a session ended that cannot be attached to any more. */
  endOf(info: SessionInfo): Promise<SessionExit>
  /** From now on its session's output is its own. */
  begin(output: Output): Promise<void>
  /** The frames of this handle are for this output. */
  route(handle: number, output: Output): void
  /** The consumer lags; it would be good if nothing more came for a while. */
  full(output: Output): void
  drained(output: Output): void
  over(output: Output): void
  /** The session has ended. */
  ended(exit: SessionExit): void
}

export type From = number | 'start' | 'end'

type State =
  /** Nobody has asked for anything yet. */
  | 'new'
  /** To be attached as soon as there is a connection. */
  | 'waiting'
  | 'attaching'
  | 'attached'
  /** To be detached, and attached again where it left off when the consumer has caught up. */
  | 'parking'
  | 'parked'
  /** There is nothing to attach to, and how it ended is asked for. */
  | 'concluding'
  /** Ended for its consumer, and still to be detached. */
  | 'leaving'
  | 'over'

/** The consumer lags when more than this waits for it, until less than the other does. */
const fullBytes = 256 * 1024
const drainedBytes = 64 * 1024
/** What a piece costs beside its bytes, about. */
const pieceBytes = 100

/**
 * One attachment, as its consumer sees it: bytes without a break, each once, whatever becomes of the connection. What is
 * gone is a {@link Gap}. It ends when the session has ended and all was taken.
 */
export class Output implements AsyncIterableIterator<Chunk | Gap> {
  /** Resolves when the session can be attached to anew by this connection. */
  readonly left: Promise<void>

  private state: State = 'new'
  /** The next byte that has to come; null before it is known. */
  private expected: number | null
  private readonly pieces: (Chunk | Gap)[] = []
  private waitingBytes = 0
  private isFull = false
  private readonly takers: { resolve(result: IteratorResult<Chunk | Gap>): void; reject(error: unknown): void }[] = []
  /** Set once no more comes; the error is told once. */
  private end: { error: unknown } | null = null
  private hasLeft!: () => void
  private readonly onAbort = () => this.stop(this.signal?.reason)

  constructor(
    readonly session: SessionInfo,
    private readonly from: From,
    private readonly host: OutputHost,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.expected = typeof from === 'number' ? from : null
    this.left = new Promise((resolve) => {
      this.hasLeft = resolve
    })
  }

  /** Ended for its consumer. */
  get isOver(): boolean {
    return this.state === 'leaving' || this.state === 'over'
  }

  /** Something is to come for it. */
  get isExpecting(): boolean {
    return this.state === 'waiting' || this.state === 'attaching' || this.state === 'attached'
  }

  // ---- what the consumer does

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<Chunk | Gap>> {
    if (this.state === 'new') this.start()
    const piece = this.pieces.shift()
    if (piece !== undefined) {
      this.took(piece)
      return Promise.resolve({ done: false, value: piece })
    }
    if (this.end !== null) return this.ending(this.end)
    return held(new Promise((resolve, reject) => this.takers.push({ resolve, reject })))
  }

  /** Detaches; what was not taken is dropped. */
  return(): Promise<IteratorResult<Chunk | Gap>> {
    this.stop(null)
    return Promise.resolve({ done: true, value: undefined })
  }

  private ending(end: { error: unknown }): Promise<IteratorResult<Chunk | Gap>> {
    const { error } = end
    end.error = null
    return error === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error)
  }

  private took(piece: Chunk | Gap): void {
    this.waitingBytes -= cost(piece)
    if (this.isFull && this.waitingBytes < drainedBytes) {
      this.isFull = false
      this.host.drained(this)
    }
    if (this.state === 'parked' && this.pieces.length === 0) this.wait()
  }

  /** Ends it for its consumer at once. */
  private stop(error: unknown): void {
    this.pieces.length = 0
    this.waitingBytes = 0
    this.finish(error)
  }

  // ---- attaching

  private start(): void {
    this.state = 'waiting'
    if (this.signal?.aborted) {
      this.stop(this.signal.reason)
      return
    }
    this.signal?.addEventListener('abort', this.onAbort, { once: true })
    this.host.begin(this).then(
      () => this.linked(),
      (error) => this.finish(error),
    )
  }

  private wait(): void {
    this.state = 'waiting'
    this.linked()
  }

  /** There is a connection. */
  linked(): void {
    if (this.state !== 'waiting' || !this.host.isLinked) return
    this.state = 'attaching'
    const { id } = this.session
    this.host.ask('attach', { session: id, from: this.expected ?? this.from }, (answer) => {
      if ('lost' in answer) this.unlinked()
      else if ('result' in answer) this.accepted(answer.result)
      else this.refused(answer.error)
    })
  }

  /** The connection is over, and with it whatever was asked by it. */
  unlinked(): void {
    if (this.state === 'leaving') this.leave()
    else if (this.state === 'attaching' || this.state === 'attached') this.state = this.isFull ? 'parked' : 'waiting'
    else if (this.state === 'parking') this.park()
  }

  private accepted({ session, from }: ResultOf<'attach'>): void {
    if (this.state === 'leaving') this.detach()
    else if (!isSame(session, this.session)) {
      this.finish(new InstarError('SESSION_UNKNOWN', `${session.id} is another session by now`))
      this.detach()
    } else {
      this.host.route(session.handle, this)
      this.expected ??= from
      this.state = 'attached'
    }
  }

  private refused(error: InstarError): void {
    if (this.state === 'leaving') this.leave()
    else if (error.code !== 'SESSION_UNKNOWN' && error.code !== 'SESSION_ENDED') this.fail(error)
    else {
      // What it printed is gone, and how it ended may still be known.
      this.state = 'concluding'
      this.host.endOf(this.session).then(
        (exit) => this.conclude(exit),
        () => this.fail(error),
      )
    }
  }

  /** The consumer does not take anything: the connection is for others, until it does. */
  park(): void {
    if (this.state === 'attached') {
      this.state = 'parking'
      this.detach()
    } else if (this.state === 'parking') {
      this.state = 'parked'
      if (this.pieces.length === 0) this.wait()
    }
  }

  private detach(): void {
    this.host.ask('detach', { session: this.session.id }, (answer) => {
      // With the connection it ends anyway, and a session that is unknown by now has nobody attached.
      if ('lost' in answer) this.unlinked()
      else if (this.state === 'parking') this.park()
      else this.leave()
    })
  }

  private leave(): void {
    this.state = 'over'
    this.host.over(this)
    this.hasLeft()
  }

  // ---- what the daemon sends

  /** Frames from before a detachment was answered are dropped: they come again. */
  receive(offset: number, bytes: Buffer): void {
    if (this.state !== 'attached') return
    if (offset > this.expected!) this.skip({ from: this.expected!, known: offset, to: offset })
    const twice = this.expected! - offset
    if (twice >= bytes.length) return
    this.expected = offset + bytes.length
    this.give({ offset: offset + twice, bytes: Buffer.from(bytes.subarray(twice)) })
  }

  skip({ known, to }: Gap): void {
    if (this.state !== 'attached') return
    const from = this.expected!
    if (to <= from) return
    this.expected = to
    this.give({ from, known: Math.max(from, known), to })
  }

  exited(exit: SessionExit): void {
    this.host.ended(exit)
    if (this.state !== 'attached') return
    this.conclude(exit)
  }

  private conclude(exit: SessionExit): void {
    if (this.isOver) return
    this.host.ended(exit)
    if (this.expected !== null && this.expected < exit.offset) {
      this.give({ from: this.expected, known: exit.offset, to: exit.offset })
      this.expected = exit.offset
    }
    this.state = 'over'
    this.finish(null)
  }

  /** Nothing more comes from the daemon; what has come can be taken, and then the error. */
  fail(error: unknown): void {
    if (this.isOver) return
    this.state = 'over'
    this.finish(error)
  }

  private give(piece: Chunk | Gap): void {
    const taker = this.takers.shift()
    if (taker !== undefined) {
      taker.resolve({ done: false, value: piece })
      return
    }
    this.pieces.push(piece)
    this.waitingBytes += cost(piece)
    if (this.isFull || this.waitingBytes <= fullBytes) return
    this.isFull = true
    this.host.full(this)
  }

  private finish(error: unknown): void {
    if (this.end !== null) {
      // Given up after all had come.
      this.end.error = null
      return
    }
    this.signal?.removeEventListener('abort', this.onAbort)
    this.end = { error }
    for (const [index, { resolve, reject }] of this.takers.splice(0).entries())
      if (index === 0 && error !== null) {
        this.end.error = null
        reject(error)
      } else resolve({ done: true, value: undefined })
    switch (this.state) {
      case 'attached':
        this.state = 'leaving'
        this.detach()
        break
      case 'attaching':
      case 'parking':
        this.state = 'leaving'
        break
      default:
        this.leave()
    }
    if (this.isFull) this.host.drained(this)
    this.isFull = false
  }
}

const cost = (piece: Chunk | Gap) => pieceBytes + ('bytes' in piece ? piece.bytes.length : 0)

/** A daemon that lost everything begins to count anew, so only all of these together tell sessions apart. */
export function isSame(one: SessionInfo, other: SessionInfo): boolean {
  return (
    one.id === other.id && one.handle === other.handle && one.pid === other.pid && one.createdAt === other.createdAt
  )
}
