import { crc32 } from 'node:zlib'

/** CRC-32 of what a program has printed from byte `from` on. */
export interface RunningHash {
  readonly from: number
  readonly crc32: number
}

const blockBytesMax = 64 * 1024
const firstBlockBytes = 1024

/**
 * What a program has printed last, by absolute byte offset: at least the newest `capacityBytes`, and less than one block
 * more. Views that were handed out never change, because a block is only ever added to.
 */
export class Ring {
  private readonly live: Blocks
  /** What was printed before {@link expectHistory}, as far as it has come; null where nothing is on its way. */
  private past: Blocks | null = null
  private crc: number
  private readonly hashFrom: number

  /** @param at Where the output goes on that another process has read so far. */
  constructor(
    private readonly capacityBytes: number,
    at: { readonly offset: number; readonly hash: RunningHash } = { offset: 0, hash: { from: 0, crc32: 0 } },
  ) {
    this.live = new Blocks(at.offset)
    this.hashFrom = at.hash.from
    this.crc = at.hash.crc32
  }

  /** The oldest byte that can be read, or is still to come. */
  get start(): number {
    return (this.past ?? this.live).start
  }

  get end(): number {
    return this.live.end
  }

  /** Runs on over what the ring has dropped. */
  get hash(): RunningHash {
    return { from: this.hashFrom, crc32: this.crc }
  }

  append(bytes: Uint8Array): void {
    this.crc = crc32(bytes, this.crc)
    this.live.append(bytes)
    this.dropOld()
  }

  /**
   * At most `maxBytes` from `from` on, as a view; fewer where a block ends. Empty at the end, and where history is still
   * to come.
   */
  read(from: number, maxBytes: number): Buffer {
    if (from < this.start || from > this.end)
      throw new RangeError(`byte ${from} is not among ${this.start} to ${this.end}`)
    if (this.past === null || from >= this.live.start) return this.live.read(from, maxBytes)
    return from < this.past.end ? this.past.read(from, maxBytes) : nothing
  }

  // ---- history that comes after the present

  /** Bytes from `start` to where the ring begins will come by {@link prepend}, while it is appended to as always. */
  expectHistory(start: number): void {
    if (start > this.live.start || this.past !== null)
      throw new RangeError(`no history from byte ${start} can come before byte ${this.live.start}`)
    if (start < this.live.start) this.past = new Blocks(start)
  }

  get historyPending(): boolean {
    return this.past !== null
  }

  /** The next piece, in ascending order. Ignored where history was given up, or is older by now than what is kept. */
  prepend(bytes: Uint8Array): void {
    if (this.past === null) return
    if (this.past.end + bytes.length > this.live.start)
      throw new RangeError(`history that goes beyond byte ${this.live.start}`)
    this.past.append(bytes)
    if (this.past.end === this.live.start) {
      this.live.putBefore(this.past)
      this.past = null
    }
    this.dropOld()
  }

  /** No more of it comes. Nothing of it is kept, as it does not reach to what follows. */
  historyFailed(): void {
    this.past = null
  }

  /**
   * All bytes from `start` to `end` in order, as views.
   *
   * @throws {RangeError} While history is pending: what is here is not all.
   */
  history(): Buffer[] {
    if (this.past !== null) throw new RangeError(`history up to byte ${this.live.start} has not come yet`)
    return this.live.views()
  }

  private dropOld(): void {
    const needed = this.end - this.capacityBytes
    this.past?.dropBefore(needed)
    // What is missing is older than what was dropped.
    if (this.live.dropBefore(needed)) this.past = null
  }
}

const nothing = Buffer.alloc(0)

interface Block {
  readonly offset: number
  readonly bytes: Buffer
  used: number
}

/** A row of bytes that grows at its end and is dropped from its start, block by block. */
class Blocks {
  end: number
  private blocks: Block[] = []

  constructor(offset: number) {
    this.end = offset
  }

  get start(): number {
    return this.blocks[0]?.offset ?? this.end
  }

  append(bytes: Uint8Array): void {
    let taken = 0
    while (taken < bytes.length) {
      const block = this.blockWithRoom()
      const count = Math.min(bytes.length - taken, block.bytes.length - block.used)
      block.bytes.set(count === bytes.length ? bytes : bytes.subarray(taken, taken + count), block.used)
      block.used += count
      this.end += count
      taken += count
    }
  }

  /** The first one is small, as most programs print little; each next one twice as large. */
  private blockWithRoom(): Block {
    const last = this.blocks.at(-1)
    if (last !== undefined && last.used < last.bytes.length) return last
    const length = last === undefined ? firstBlockBytes : Math.min(2 * last.bytes.length, blockBytesMax)
    const block = { offset: this.end, bytes: Buffer.allocUnsafeSlow(length), used: 0 }
    this.blocks.push(block)
    return block
  }

  /** `from` is neither before the start nor behind the end. */
  read(from: number, maxBytes: number): Buffer {
    if (from === this.end) return nothing
    const { offset, bytes, used } = this.blockOf(from)
    const at = from - offset
    return bytes.subarray(at, Math.min(used, at + maxBytes))
  }

  private blockOf(offset: number): Block {
    let low = 0
    let high = this.blocks.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.blocks[middle]!.offset <= offset) low = middle
      else high = middle - 1
    }
    return this.blocks[low]!
  }

  /** Drops the blocks that hold nothing from `offset` on; returns whether there were any. */
  dropBefore(offset: number): boolean {
    let count = 0
    while (count < this.blocks.length && this.blocks[count]!.offset + this.blocks[count]!.used <= offset) count += 1
    if (count > 0) this.blocks.splice(0, count)
    return count > 0
  }

  putBefore(earlier: Blocks): void {
    this.blocks = [...earlier.blocks, ...this.blocks]
  }

  views(): Buffer[] {
    return this.blocks.map(({ bytes, used }) => bytes.subarray(0, used))
  }
}
