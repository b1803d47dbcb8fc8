import { crc32 } from 'node:zlib'
import type { Session } from '../../../src/sessions/client.ts'
import type { Gap, SessionExit } from '../../../src/sessions/protocol.ts'
import { eventually } from './eventually.ts'
import { NumberedCheck, numbered, offsetIn } from './numbered-stream.ts'

/** The output of a session as one client gets it: that offsets go on without a break is checked in all that follows. */
abstract class Followed {
  readonly gaps: Gap[] = []
  /** The longest time without a byte, since it was last set, in milliseconds. */
  longestSilenceMs = 0
  /** Resolves at the end of the output; rejects where it is not what it has to be. */
  readonly done: Promise<void>

  /** Of the next byte, as the daemon counts. */
  offset = 0

  /** Over what came without a gap. */
  private readonly hashed = { bytes: 0, crc32: 0 }
  private lastAt = performance.now()
  private readonly detached = new AbortController()
  private failure: unknown = null

  protected constructor(
    readonly session: Session,
    from: number | 'start' | 'end',
  ) {
    this.done = this.follow(from)
    this.done.catch((error) => {
      this.failure = error
    })
  }

  protected abstract take(bytes: Buffer): void
  protected abstract skip(gap: Gap): void

  /** Resolves once the byte before `offset` was received. */
  async reaches(offset: number, withinMs = 30_000): Promise<void> {
    await eventually(() => this.looked().offset >= offset, `byte ${offset} of ${this.session.id}`, withinMs)
  }

  /** Resolves at the exit, when all that was printed is here. */
  async ends(): Promise<SessionExit> {
    const exit = await this.session.exit
    await this.done
    if (this.offset !== exit.offset) throw new Error(`${this.offset} bytes of ${exit.offset} were received`)
    const { hashed } = this
    if (exit.hash.from === 0 && hashed.bytes === exit.offset && hashed.crc32 !== exit.hash.crc32)
      throw new Error(`${this.session.id} printed what hashes to ${exit.hash.crc32}, and ${hashed.crc32} was received`)
    return exit
  }

  /** @throws what was wrong with the output so far. */
  looked(): this {
    if (this.failure !== null) throw this.failure
    return this
  }

  async detach(): Promise<void> {
    this.detached.abort()
    await this.done.catch((error) => {
      if (!this.detached.signal.aborted || error !== this.detached.signal.reason) throw error
    })
  }

  private async follow(from: number | 'start' | 'end'): Promise<void> {
    let next = typeof from === 'number' ? from : from === 'start' ? 0 : null
    for await (const piece of this.session.output({ from, signal: this.detached.signal })) {
      this.sawSomething()
      const [begin, end] = 'bytes' in piece ? [piece.offset, piece.offset + piece.bytes.length] : [piece.from, piece.to]
      if (next !== null && begin !== next)
        throw new Error(`the output of ${this.session.id} goes on at ${begin}, where ${next} was expected`)
      if ('bytes' in piece) {
        this.hashed.bytes += piece.bytes.length
        this.hashed.crc32 = crc32(piece.bytes, this.hashed.crc32)
        this.take(piece.bytes)
      } else {
        this.gaps.push(piece)
        this.skip(piece)
      }
      next = end
      this.offset = end
    }
  }

  private sawSomething(): void {
    const now = performance.now()
    this.longestSilenceMs = Math.max(this.longestSilenceMs, now - this.lastAt)
    this.lastAt = now
  }
}

/** Follows the numbered stream, and compares every byte of it. */
export class FollowedStream extends Followed {
  private readonly check: NumberedCheck
  /** After a crash nobody knows how much was lost, only between what bounds; what comes next tells. */
  private finding: { readonly gap: Gap | null; readonly bytes: Buffer[] } | null = null

  /** @param lossBefore What crashes took before `from`; `unknown`: what is printed there tells. */
  constructor(session: Session, from = 0, lossBefore: 'none' | 'unknown' = 'none') {
    super(session, from)
    this.offset = from
    this.check = new NumberedCheck(from)
    if (lossBefore === 'unknown') this.finding = { gap: null, bytes: [] }
  }

  /** Follows from the start a program that waits for that (`begin`), so that nothing can be gone before. */
  static async begin(session: Session): Promise<FollowedStream> {
    const stream = new FollowedStream(session)
    await stream.reaches(1)
    await session.write('x')
    return stream
  }

  /** Of the next byte, as the program counts. */
  get printed(): number {
    return this.check.offset
  }

  protected override take(bytes: Buffer): void {
    if (this.finding === null) this.check.take(bytes)
    else {
      this.finding.bytes.push(Buffer.from(bytes))
      this.find(this.finding)
    }
  }

  protected override skip(gap: Gap): void {
    if (this.finding !== null) this.finding = { gap: null, bytes: [] }
    else if (gap.known === gap.to) this.check.skipTo(this.check.offset + gap.to - gap.from)
    else this.finding = { gap, bytes: [] }
  }

  private find({ gap, bytes }: { gap: Gap | null; bytes: Buffer[] }): void {
    const all = Buffer.concat(bytes)
    const resumesAt = offsetIn(all)
    if (resumesAt === null) return
    if (gap !== null) this.judge(resumesAt - this.check.offset, gap)
    this.check.skipTo(resumesAt)
    this.check.take(all)
    this.finding = null
  }

  private judge(lost: number, { from, known, to }: Gap): void {
    if (lost < known - from || lost > to - from)
      throw new Error(`${lost} bytes of ${this.session.id} were lost, and ${known - from} to ${to - from} reported`)
  }
}

/** Follows a program that prints what it is typed, which is the numbered stream; a daemon that is killed may lose of it. */
export class FollowedEcho extends Followed {
  private readonly received: Buffer[] = []

  constructor(session: Session, from = 0) {
    super(session, from)
    this.offset = from
  }

  protected override take(bytes: Buffer): void {
    this.received.push(Buffer.from(bytes))
  }

  protected override skip(): void {}

  /** Resolves once the stream was printed that comes before byte `end`. */
  async echoes(end: number): Promise<void> {
    const last = numbered(Math.max(0, end - enoughToKnow), Math.min(end, enoughToKnow))
    const isThere = () => Buffer.concat(this.looked().received).subarray(-last.length).equals(last)
    await eventually(isThere, `the echo of what is typed before byte ${end} of ${this.session.id}`)
  }

  /**
   * How often something is missing of the first `typed` bytes of the stream.
   *
   * @throws {Error} where a byte is none of them, or was printed twice or out of order.
   */
  breaks(typed: number): number {
    const all = Buffer.concat(this.received)
    const stream = numbered(0, typed)
    let pieces = 0
    for (let at = 0, from = 0; at < all.length; pieces += 1) {
      const { begin, length } = longestPiece(all.subarray(at), stream, from)
      if (length === 0) {
        const rest = all.toString('latin1', at, at + enoughToKnow)
        throw new Error(`${this.session.id} prints ${JSON.stringify(rest)} after byte ${from} of what it was typed`)
      }
      at += length
      from = begin + length
    }
    return Math.max(0, pieces - 1)
  }
}

/** So many bytes of the numbered stream hold a whole line, and are nowhere else in it. */
const enoughToKnow = 32

/** The longest beginning of `bytes` that the stream holds from byte `from` on, and where. */
function longestPiece(
  bytes: Buffer,
  stream: Buffer,
  from: number,
): { readonly begin: number; readonly length: number } {
  let [found, length] = [from, 0]
  for (let size = Math.min(enoughToKnow, bytes.length); size > 0 && length === 0; size -= 1) {
    const begin = stream.indexOf(bytes.subarray(0, size), from)
    if (begin >= 0) [found, length] = [begin, size]
  }
  while (length > 0 && length < bytes.length && stream[found + length] === bytes[length]) length += 1
  return { begin: found, length }
}

/** Follows text, and keeps it. */
export class FollowedText extends Followed {
  text = ''

  constructor(session: Session, from: number | 'start' | 'end' = 'start') {
    super(session, from)
  }

  protected override take(bytes: Buffer): void {
    this.text += bytes.toString('latin1')
  }

  protected override skip(): void {}

  /** Resolves once `text` was printed. */
  async says(text: string | RegExp): Promise<void> {
    const said = () => (typeof text === 'string' ? this.text.includes(text) : text.test(this.text))
    await eventually(() => this.looked() && said(), `"${text}"`).catch((cause) => {
      throw new Error(`${this.session.id} never said "${text}" but ${JSON.stringify(this.text.slice(-500))}`, { cause })
    })
  }
}
