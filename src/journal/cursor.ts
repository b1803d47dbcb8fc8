import type { Disk } from '../disk.ts'
import { diskError, InstarError } from '../errors.ts'
import { damaged, isMissing } from './directory.ts'
import type { RecordFields } from './format.ts'
import { type PlacedFrame, SegmentReader, tornEnd } from './segment.ts'

/** One record as it is read: the fields that were appended, and the number it got. */
export interface JournalRecord {
  readonly seq: number
  readonly [field: string]: unknown
}

/** Which records to read, both ends included. `from` 0 or absent: the first one that is still there. */
export interface ReadRange {
  readonly from?: number
  readonly to?: number
}

/** What a cursor walks over; the answers may change while it walks. */
export interface CursorSource {
  readonly directory: string
  readonly disk: Disk
  /** First seqs, ascending, at least one; the last one is active. */
  segments(): readonly number[]
  /** How far the active segment may be believed; undefined: to its last good frame, what follows being in flight. */
  activeEnd(): number | undefined
}

/** Walks forwards over the records from `from` on, from segment to segment, and knows where it is. */
export class Cursor {
  /** The next record's seq. */
  next: number
  #reader: SegmentReader | undefined

  constructor(
    private readonly source: CursorSource,
    private readonly from: number,
  ) {
    this.next = from
  }

  /**
   * Some of the records that follow; none where the cursor is at the end as it is now.
   *
   * @throws {InstarError} `JOURNAL_COMPACTED` where the next record has been dropped, `JOURNAL_DAMAGED`,
   *   `JOURNAL_NEWER`, `DISK_FAILED`.
   */
  async more(): Promise<JournalRecord[]> {
    try {
      return await this.#advance()
    } catch (error) {
      throw diskError(error, `reading record ${this.next} of the journal in ${this.source.directory}`)
    }
  }

  async close(): Promise<void> {
    const reader = this.#reader
    this.#reader = undefined
    await reader?.close()
  }

  async #advance(): Promise<JournalRecord[]> {
    for (;;) {
      this.#reader ??= await this.#open()
      // Asked before reading: a segment that was active then may have grown since, and is looked at again.
      const active = this.#reader.first === this.source.segments().at(-1)
      const end = (active ? this.source.activeEnd() : undefined) ?? (await this.#reader.size())
      const frames = await this.#reader.frames(end)
      if (frames.length > 0) {
        const records = this.#take(frames)
        if (records.length > 0) return records
      } else {
        if (this.#reader.offset < end) await this.#judgeRest(this.#reader, active, end)
        if (active) return []
        this.#requireNoGapAfter(this.#reader)
        await this.close()
      }
    }
  }

  #take(frames: readonly PlacedFrame[]): JournalRecord[] {
    const records: JournalRecord[] = []
    for (const frame of frames) {
      if (frame.seq + frame.records.length <= this.next) continue
      frame.records.forEach((fields: RecordFields, index) => {
        const seq = frame.seq + index
        if (seq >= this.next) records.push({ seq, ...fields })
      })
    }
    if (records.length > 0) this.next = records.at(-1)!.seq + 1
    return records
  }

  async #open(): Promise<SegmentReader> {
    for (;;) {
      const segments = this.source.segments()
      const oldest = segments[0]!
      // Only a reader that asked for everything there is begins at the oldest; another one would miss records.
      if (this.next === 0) this.next = oldest
      if (this.next < oldest) throw compacted(this.next, oldest)
      const first = segments.findLast((seq) => seq <= this.next)!
      try {
        return await SegmentReader.open(this.source.directory, first, this.source.disk)
      } catch (error) {
        if (!isMissing(error)) throw error
        // Dropped between the look and the opening.
        if (this.source.segments()[0] === oldest) throw compacted(this.next, undefined, error)
        if (this.from === 0 && this.next === oldest) this.next = 0
      }
    }
  }

  #requireNoGapAfter({ path, first, nextSeq }: SegmentReader): void {
    const segments = this.source.segments()
    const following = segments.find((seq) => seq > first)
    const dropped = segments[0]! > nextSeq // which the next opening says
    if (following !== nextSeq && !dropped)
      throw damaged(path, `ends before record ${nextSeq}, the next segment begins with ${following}`)
  }

  async #judgeRest(reader: SegmentReader, active: boolean, end: number): Promise<void> {
    await tornEnd(reader, end)
    const inFlight = active && this.source.activeEnd() === undefined
    if (!inFlight) throw damaged(reader.path, `record ${reader.nextSeq} cannot be read`, reader.place)
  }
}

function compacted(wanted: number, first?: number, cause?: unknown): InstarError {
  const kept = first === undefined ? '' : `; the first one is ${first}`
  return new InstarError('JOURNAL_COMPACTED', `record ${wanted} is no longer kept${kept}`, {
    cause,
    details: { wanted, first },
  })
}
