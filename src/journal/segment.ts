import { join } from 'node:path'
import type { Disk, DiskReader } from '../disk.ts'
import { damaged, type Place } from './directory.ts'
import { decodeFrame, type Frame, fileName, findFrame, isHeader, lengthBeforeRoom } from './format.ts'

const LF = 10
const headerLengthMax = 4096
const chunkBytes = 128 * 1024
const roomChunkBytes = 16 * 1024

export interface PlacedFrame extends Frame, Place {
  readonly bytes: number
}

/**
 * Reads one segment forwards, in bounded memory: a chunk, or the longest frame.
 *
 * It stops before the first byte that is not a frame with the expected seq, and stays there. Whether that place is the
 * end, a torn tail or damage is for the caller to judge, with `findFrame`.
 */
export class SegmentReader {
  /** Where the next frame begins, and the seq it must have. */
  offset = 0
  line = 1
  nextSeq: number
  #headerRead = false
  #buffer = Buffer.allocUnsafe(chunkBytes)

  private constructor(
    readonly path: string,
    readonly first: number,
    private readonly file: DiskReader,
  ) {
    this.nextSeq = first
  }

  static async open(directory: string, first: number, disk: Disk): Promise<SegmentReader> {
    const path = join(directory, fileName('segment', first))
    return new SegmentReader(path, first, await disk.openForReading(path))
  }

  get place(): Place {
    return { line: this.line, offset: this.offset }
  }

  /** How long it is without the room at its end. */
  async size(): Promise<number> {
    let end = await this.file.size()
    const part = Buffer.allocUnsafe(Math.min(end, roomChunkBytes))
    while (end > 0) {
      const start = Math.max(0, end - part.length)
      const bytes = part.subarray(0, await this.file.read(part.subarray(0, end - start), start))
      end = start + lengthBeforeRoom(bytes)
      if (end > start) break
    }
    return end
  }

  /** The frames that follow, as many as one chunk holds; none where there is no good one that ends at or before `end`. */
  async frames(end: number): Promise<PlacedFrame[]> {
    if (!this.#headerRead && !(await this.#skipHeader(end))) return []
    for (;;) {
      const wanted = Math.min(end - this.offset, this.#buffer.length)
      if (wanted <= 0) return []
      const read = await this.file.read(this.#buffer.subarray(0, wanted), this.offset)
      const { frames, stopped } = this.#decode(this.#buffer.subarray(0, read))
      if (frames.length > 0 || stopped || read < this.#buffer.length) return frames
      // The chunk holds no end of line: the frame is longer.
      this.#buffer = Buffer.allocUnsafe(this.#buffer.length * 2)
    }
  }

  /** Goes to a place that `findFrame` found behind damage. */
  resumeAt(place: Place, seq: number): void {
    this.offset = place.offset
    this.line = place.line
    this.nextSeq = seq
    this.#headerRead = true
  }

  /** Every byte from this place to `end`. */
  async rest(end: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(Math.max(0, end - this.offset))
    return bytes.subarray(0, await this.file.read(bytes, this.offset))
  }

  close(): Promise<void> {
    return this.file.close()
  }

  async #skipHeader(end: number): Promise<boolean> {
    const start = Buffer.allocUnsafe(Math.min(end, headerLengthMax))
    const bytes = start.subarray(0, await this.file.read(start, 0))
    const lineFeed = bytes.indexOf(LF)
    const line = lineFeed < 0 ? bytes : bytes.subarray(0, lineFeed)
    if (!isHeader(line, 'segment', this.first, this.path) || lineFeed < 0) return false
    this.offset = lineFeed + 1
    this.line = 2
    this.#headerRead = true
    return true
  }

  #decode(bytes: Buffer): { frames: PlacedFrame[]; stopped: boolean } {
    const frames: PlacedFrame[] = []
    let start = 0
    for (let end = bytes.indexOf(LF); end >= 0; end = bytes.indexOf(LF, start)) {
      const frame = decodeFrame(bytes, start, end)
      if (frame?.seq !== this.nextSeq) return { frames, stopped: true }
      frames.push({ ...frame, ...this.place, bytes: end + 1 - start })
      this.offset += end + 1 - start
      this.line += 1
      this.nextSeq += frame.records.length
      start = end + 1
    }
    return { frames, stopped: false }
  }
}

/**
 * The bytes from the reader's place to `end`, where they are a torn end. Empty where there are none.
 *
 * @throws {InstarError} `JOURNAL_DAMAGED` where a frame begins in them that was written after the bad byte.
 */
export async function tornEnd(reader: SegmentReader, end: number): Promise<Buffer> {
  const bytes = await reader.rest(end)
  const later = findFrame(bytes, reader.nextSeq)
  if (later === undefined) return bytes
  const { seq } = later.frame
  throw damaged(
    reader.path,
    later.start === 0
      ? `record ${reader.nextSeq} must follow, and record ${seq} does`
      : `record ${reader.nextSeq} cannot be read, and record ${seq} follows it`,
    reader.place,
    { expectedSeq: reader.nextSeq, nextSeq: seq },
  )
}
