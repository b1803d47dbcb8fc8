import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'

/** How far a session's output had been read when this daemon was last heard of. */
export interface Watermark {
  /** All before it was certainly read. */
  readonly settled: number
  /** Nothing from it on was read. */
  readonly reserved: number
}

/**
 * Watermarks, format 1. Slots of 32 bytes; numbers are big-endian.
 *
 *   first slot: "watermarks 1" LF, zeros
 *   the others:
 *     0   u32  CRC-32 of what follows it
 *     4   u32  handle of the session; 0: the slot is free
 *     8   u64  settled
 *     16  u64  reserved
 *     24  zeros
 *
 * A slot is rewritten in place by one write(2) within one page, so that a killed process leaves the old content or the
 * new. Nothing is flushed: after a power cut there are no sessions to know anything about. A file that begins otherwise
 * and a slot whose checksum is wrong hold nothing.
 */
const slotBytes = 32
const head = Buffer.alloc(slotBytes)
head.write('watermarks 1\n')
const slotsMax = 64 * 1024

function encode(into: Buffer, handle: number, { settled, reserved }: Watermark): void {
  into.fill(0)
  into.writeUInt32BE(handle, 4)
  into.writeBigUInt64BE(BigInt(settled), 8)
  into.writeBigUInt64BE(BigInt(reserved), 16)
  into.writeUInt32BE(crc32(into.subarray(4)), 0)
}

function decode(slot: Buffer): { handle: number; mark: Watermark } | null {
  if (slot.readUInt32BE(0) !== crc32(slot.subarray(4))) return null
  const handle = slot.readUInt32BE(4)
  const settled = Number(slot.readBigUInt64BE(8))
  const reserved = Number(slot.readBigUInt64BE(16))
  if (handle === 0 || !Number.isSafeInteger(reserved) || settled > reserved) return null
  return { handle, mark: { settled, reserved } }
}

interface Slot {
  readonly index: number
  mark: Watermark
}

/** What the next daemon knows of the sessions' output when this one is killed. One daemon has the file at a time. */
export class Watermarks {
  private readonly slots = new Map<number, Slot>()
  private readonly free: number[] = []
  private slotCount = 1
  private readonly scratch = Buffer.alloc(slotBytes)
  private closed = false

  private constructor(private readonly fd: number) {}

  /** Opens the file with what is in it, or makes a new one, mode 0600, where it is missing or is none of these. */
  static open(path: string): Watermarks {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600)
    try {
      const marks = new Watermarks(fd)
      marks.load()
      return marks
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** Takes in what another daemon has written meanwhile. */
  reread(): void {
    this.slots.clear()
    this.free.length = 0
    this.slotCount = 1
    this.load()
  }

  get(handle: number): Watermark | undefined {
    return this.slots.get(handle)?.mark
  }

  all(): ReadonlyMap<number, Watermark> {
    return new Map([...this.slots].map(([handle, { mark }]) => [handle, mark]))
  }

  /** Outlives this process from here on. */
  set(handle: number, mark: Watermark): void {
    let slot = this.slots.get(handle)
    if (slot === undefined) {
      slot = { index: this.free.pop() ?? this.slotCount++, mark }
      this.slots.set(handle, slot)
    }
    slot.mark = { settled: mark.settled, reserved: mark.reserved }
    encode(this.scratch, handle, mark)
    this.write(slot.index)
  }

  remove(handle: number): void {
    const slot = this.slots.get(handle)
    if (slot === undefined) return
    this.slots.delete(handle)
    this.free.push(slot.index)
    this.scratch.fill(0)
    this.write(slot.index)
  }

  /** Leaves the file to the next daemon. Safe to call twice. */
  close(): void {
    if (!this.closed) closeSync(this.fd)
    this.closed = true
  }

  private write(index: number): void {
    writeSync(this.fd, this.scratch, 0, slotBytes, index * slotBytes)
  }

  private load(): void {
    const bytes = Buffer.alloc(Math.min(fstatSync(this.fd).size, slotsMax * slotBytes))
    const length = readSync(this.fd, bytes, 0, bytes.length, 0)
    if (!bytes.subarray(0, Math.min(length, slotBytes)).equals(head)) {
      ftruncateSync(this.fd)
      writeSync(this.fd, head, 0, slotBytes, 0)
      return
    }
    this.slotCount = Math.floor(length / slotBytes)
    for (let index = 1; index < this.slotCount; index += 1) {
      const found = decode(bytes.subarray(index * slotBytes, (index + 1) * slotBytes))
      if (found === null || this.slots.has(found.handle)) this.free.push(index)
      else this.slots.set(found.handle, { index, mark: found.mark })
    }
  }
}
