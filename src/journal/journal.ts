import { join } from 'node:path'
import { assert } from '../assert.ts'
import { type Disk, type DiskFile, makeDirectories, realDisk, replaceFile } from '../disk.ts'
import { diskError, InstarError } from '../errors.ts'
import { Cursor, type CursorSource, type JournalRecord, type ReadRange } from './cursor.ts'
import { isMissing, listJournal, readSnapshot } from './directory.ts'
import { encodeFrame, encodeHeader, encodeSnapshot, fileName, type Snapshot, tornPrefix, withRoom } from './format.ts'
import { acquireLock, type DirectoryLock } from './lock.ts'
import { type ActiveSegment, type Recovered, recover } from './recover.ts'
import { Witness } from './witness.ts'

export interface JournalOptions {
  readonly directory: string
  readonly disk?: Disk
  /** What to tell a second controller about this one, beside pid, host and time. */
  readonly holder?: Readonly<Record<string, string | number>>
  /** A segment that is this long is finished. Default 16 MiB. */
  readonly segmentBytes?: number
  /**
   * How much room is made behind a commit that finds none. A commit that fits into room does not make the file longer,
   * which would be a second thing to write down. Default 64 KiB.
   */
  readonly roomBytes?: number
  /**
   * Every commit fills whole sectors of this size, so that a disk which garbles a sector in a power cut cannot reach an
   * earlier commit. Default 0: disks are trusted to leave the bytes beside a write alone, as SQLite trusts them.
   */
  readonly padBytes?: 0 | 512 | 4096
  /**
   * How many records to keep for reading history; what is older goes, in whole segments, when a snapshot that old makes
   * it superfluous. Default 1,000,000; `Infinity` keeps all.
   */
  readonly retainRecords?: number
  /** How far the witness may lag. Default 1000; 0: it is written again as soon as the last writing is done. */
  readonly witnessEveryMs?: number
}

/** A torn end that was cut off at opening: a commit that a crash interrupted, so that nobody was told it succeeded. */
export interface Repaired {
  readonly file: string
  readonly offset: number
  readonly bytes: number
  /** A copy of what was cut off. */
  readonly keptAs: string
}

export interface FollowOptions {
  readonly from?: number
  /** Ends the iteration, without an error. */
  readonly signal?: AbortSignal
}

/**
 * Opens the journal in `directory`, or creates it. Resolves when what it found would survive a power cut.
 *
 * A commit that a crash tore is cut off, with a copy kept, and reported in `repaired`; it was never acknowledged. For
 * everything else that is wrong the journal is refused and nothing is changed. Reads the newest snapshot and the
 * segments after it; after an end that was not `close`, the active segment is written anew, because what the page cache
 * shows of it need not be on the disk.
 *
 * @throws {InstarError} `HOME_LOCKED`, `JOURNAL_NEWER`, `JOURNAL_DAMAGED`, `JOURNAL_LOST_RECORDS`, `DISK_FULL`,
 *   `DISK_FAILED`.
 */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  const { directory, holder, disk = realDisk } = options
  try {
    await makeDirectories(directory, disk)
    const lock = await acquireLock(directory, holder, disk)
    try {
      return await Journal.open(options, lock)
    } catch (error) {
      lock.release()
      throw error
    }
  } catch (error) {
    throw diskError(error, `opening the journal in ${directory}`)
  }
}

/** An open journal: the only writer in its directory, and any number of readers of what it has made durable. */
export class Journal implements AsyncDisposable {
  /** The newest one, as found at opening; those saved since are not held in memory. */
  readonly snapshot: Snapshot | null
  /** What opening had to cut off. */
  readonly repaired: Repaired | null

  readonly #directory: string
  readonly #disk: Disk
  readonly #segmentBytes: number
  readonly #roomBytes: number
  readonly #padBytes: number
  readonly #retainRecords: number
  readonly #lock: DirectoryLock
  readonly #witness: Witness
  readonly #source: CursorSource

  #lastSeq: number
  /** First seqs, ascending; the last one is the active segment. */
  readonly #segments: number[]
  /** Seqs, ascending. */
  readonly #snapshots: number[]
  #file: DiskFile | undefined
  /** How much of the active segment holds durable frames. */
  #activeBytes = 0
  /** How long the file is, with the room behind them. */
  #fileBytes = 0

  /** Appends and rotations take turns. */
  #turn: Promise<unknown> = Promise.resolve()
  #appending = false
  #saving: Promise<void> | undefined
  #failure: InstarError | undefined
  #closing: Promise<void> | undefined
  #closed = false
  /** Followers that wait for the next commit, or for the end. */
  readonly #waiting = new Set<() => void>()

  private constructor(
    options: JournalOptions,
    lock: DirectoryLock,
    found: Recovered,
    listing: { segments: number[]; snapshots: number[] },
    repaired: Repaired | null,
  ) {
    const { directory, disk = realDisk } = options
    this.#directory = directory
    this.#disk = disk
    this.#segmentBytes = options.segmentBytes ?? 16 * 1024 * 1024
    this.#roomBytes = options.roomBytes ?? 64 * 1024
    this.#padBytes = options.padBytes ?? 0
    this.#retainRecords = options.retainRecords ?? 1_000_000
    this.#lock = lock
    const failed = (error: unknown) => void this.#die(error, 'writing the head')
    this.#witness = new Witness(directory, options.witnessEveryMs ?? 1000, disk, failed)
    this.#lastSeq = found.lastSeq
    this.#segments = listing.segments
    this.#snapshots = listing.snapshots
    this.snapshot = found.snapshot
    this.repaired = repaired
    this.#activeBytes = found.active?.goodBytes ?? 0
    this.#source = { directory, disk, segments: () => this.#segments, activeEnd: () => this.#activeBytes }
  }

  /** For `openJournal`, which holds the lock. */
  static async open(options: JournalOptions, lock: DirectoryLock): Promise<Journal> {
    const { directory, disk = realDisk } = options
    const listing = await listJournal(directory, disk)
    const found = await recover(directory, listing, disk)
    // Everything has been looked at and nothing refused: only now something is changed.
    // Whoever put these files here, a person from a backup perhaps, need not have flushed them.
    for (const path of found.files) await disk.flush(path)
    await disk.flushDirectory(directory)
    for (const draft of listing.drafts) await disk.remove(join(directory, draft))
    const repaired = found.active && !found.closed ? await rewrite(directory, found.active, disk) : null
    const journal = new Journal(options, lock, found, listing, repaired)
    try {
      await journal.#begin()
    } catch (error) {
      await journal.#file?.close().catch(() => {}) // the first error is the one to report
      throw error
    }
    return journal
  }

  /** The last record that is durable; 0 where there is none. */
  get lastSeq(): number {
    return this.#lastSeq
  }

  /** The first record that is still kept, or that will be. */
  get firstSeq(): number {
    return this.#segments[0]!
  }

  /**
   * Adds `records` as one commit: after a crash all of them are there or none. They get the numbers from `lastSeq` + 1.
   * Resolves when they would survive a power cut.
   *
   * After a failure the outcome of this commit is unknown, and the journal does nothing more: every later call is
   * refused with the same error. The next opening finds out from the files. One at a time: the caller gathers what
   * arrives meanwhile into the next batch.
   *
   * @param records Plain objects that JSON keeps, without a field `seq`.
   * @throws {InstarError} `JOURNAL_WRITE_FAILED`, `DISK_FULL`, `JOURNAL_CLOSED`
   */
  async append(records: readonly object[]): Promise<void> {
    this.#refuseUnusable()
    assert(!this.#appending, 'append is called while an append is in flight')
    if (records.length === 0) return
    for (const record of records) assertRecord(record)
    const frame = encodeFrame(this.#lastSeq + 1, records, this.#padBytes)
    this.#appending = true
    try {
      await this.#takeTurn('appending', async () => {
        if (this.#activeHasRecords && this.#activeBytes + frame.length > this.#segmentBytes) await this.#startSegment()
        await this.#write(frame)
        this.#lastSeq += records.length
      })
    } finally {
      this.#appending = false
    }
    this.#witness.note(this.#lastSeq)
    this.#wake()
  }

  /**
   * The records that are durable now, from disk, in bounded memory.
   *
   * @throws {InstarError} `JOURNAL_COMPACTED` where `from` has been dropped, `JOURNAL_DAMAGED`, and what ended the
   *   journal meanwhile.
   */
  async *read({ from = 0, to = Number.POSITIVE_INFINITY }: ReadRange = {}): AsyncGenerator<JournalRecord, void, void> {
    this.#refuseUnusable()
    const last = Math.min(to, this.#lastSeq)
    const cursor = new Cursor(this.#source, from)
    try {
      while (cursor.next <= last) {
        const records = await cursor.more()
        if (records.length === 0) return // none is kept
        for (const record of records) {
          if (record.seq > last) return
          yield record
        }
        this.#refuseUnusable()
      }
    } finally {
      await cursor.close()
    }
  }

  /**
   * The records from `from` on, those of the past and then each new one once it is durable; every one once, in order.
   * A follower reads from disk at its own pace and holds no queue. Ends, without an error, when the journal is closed or
   * the signal aborts.
   *
   * @throws {InstarError} `JOURNAL_COMPACTED` where it was so slow that its next record has been dropped, and what ended
   *   the journal.
   */
  async *follow({ from = 0, signal }: FollowOptions = {}): AsyncGenerator<JournalRecord, void, void> {
    this.#refuseUnusable()
    const cursor = new Cursor(this.#source, from)
    try {
      while (await this.#untilDurable(cursor.next, signal)) {
        for (const record of await cursor.more()) {
          yield record
          if (signal?.aborted) return
        }
      }
    } finally {
      await cursor.close()
    }
  }

  /**
   * Writes down the state after record `seq`, durably, begins a new segment, and drops what `retainRecords` allows.
   *
   * Appends may go on meanwhile, so `seq` may be lower than `lastSeq` by the time this runs: the records in between stay
   * in their segment and the next opening reads them from there. Only the turn of the segment waits for the append in
   * flight. One at a time; `seq` never lower than the last snapshot's.
   *
   * @throws {InstarError} `JOURNAL_WRITE_FAILED`, `DISK_FULL`, `JOURNAL_CLOSED`; the journal is then dead.
   */
  async saveSnapshot(seq: number, state: unknown): Promise<void> {
    this.#refuseUnusable()
    assert(seq >= 1 && seq <= this.#lastSeq, `snapshot of record ${seq}, the last one is ${this.#lastSeq}`)
    assert(seq >= (this.#snapshots.at(-1) ?? 0), `snapshot of record ${seq} after one of ${this.#snapshots.at(-1)}`)
    assert(state !== undefined, 'a snapshot without a state')
    assert(this.#saving === undefined, 'saveSnapshot is called while a snapshot is being saved')
    this.#saving = this.#saveSnapshot({ seq, state })
    try {
      await this.#saving
    } finally {
      this.#saving = undefined
    }
  }

  /** The newest snapshot at or before `seq`: with the records after it, the way to the state at any record. */
  async snapshotBefore(seq: number): Promise<Snapshot | null> {
    for (;;) {
      this.#refuseUnusable()
      const newest = this.#snapshots.findLast((saved) => saved <= seq)
      if (newest === undefined) return null
      try {
        return await readSnapshot(this.#directory, newest, this.#disk)
      } catch (error) {
        // Dropped between the look and the reading: look again.
        if (isMissing(error) && !this.#snapshots.includes(newest)) continue
        throw diskError(error, `reading the snapshot of record ${newest} in ${this.#directory}`)
      }
    }
  }

  /**
   * Waits for what is being written, marks the journal as closed, and frees the lock. Followers end. Safe to call twice,
   * and after a failure, when it only lets go.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get #activeHasRecords(): boolean {
    return this.#lastSeq >= this.#segments.at(-1)!
  }

  /** Makes the active segment ready for appending. */
  async #begin(): Promise<void> {
    const misaligned = this.#padBytes > 0 && this.#activeBytes % this.#padBytes !== 0
    if (this.#activeBytes === 0 || misaligned) await this.#startSegment()
    else await this.#openSegment(this.#segments.at(-1)!)
  }

  /** Begins the segment for the next record; where the active one has none yet, that one anew. */
  async #startSegment(): Promise<void> {
    const first = this.#lastSeq + 1
    const path = this.#pathOf(first)
    const header = encodeHeader('segment', first, this.#padBytes)
    await this.#file?.close()
    this.#file = undefined
    await replaceFile(path, header, this.#disk)
    await this.#openSegment(first)
    if (this.#segments.at(-1) !== first) this.#segments.push(first)
    this.#activeBytes = header.length
  }

  async #openSegment(first: number): Promise<void> {
    this.#file = await this.#disk.open(this.#pathOf(first))
    this.#fileBytes = await this.#file.size()
  }

  /** Puts a frame behind the last one, in one write. */
  async #write(frame: Buffer): Promise<void> {
    const fits = this.#activeBytes + frame.length <= this.#fileBytes
    const bytes = fits ? frame : withRoom(frame, this.#roomBytes)
    await this.#file!.write(bytes, this.#activeBytes)
    this.#fileBytes = Math.max(this.#fileBytes, this.#activeBytes + bytes.length)
    this.#activeBytes += frame.length
  }

  async #saveSnapshot(snapshot: Snapshot): Promise<void> {
    const bytes = encodeSnapshot(snapshot)
    try {
      await replaceFile(join(this.#directory, fileName('snapshot', snapshot.seq)), bytes, this.#disk)
      if (this.#snapshots.at(-1) !== snapshot.seq) this.#snapshots.push(snapshot.seq)
      await this.#takeTurn('starting a segment', async () => {
        if (this.#activeHasRecords) await this.#startSegment()
      })
      await this.#witness.write()
      await this.#compact()
    } catch (error) {
      throw this.#die(error, 'saving a snapshot')
    }
  }

  /**
   * The newest snapshot that has `retainRecords` behind it is the floor: it and all after it stay, so the state at every
   * record that is kept can be read.
   */
  async #compact(): Promise<void> {
    const floor = this.#snapshots.findLast((seq) => seq <= this.#lastSeq - this.#retainRecords)
    if (floor === undefined) return
    while (this.#segments.length > 1 && this.#segments[1]! <= floor + 1) {
      const first = this.#segments.shift()!
      await this.#disk.remove(this.#pathOf(first))
      // One by one and oldest first, so that a crash cannot leave a gap.
      await this.#disk.flushDirectory(this.#directory)
    }
    while (this.#snapshots[0]! < floor) {
      await this.#disk.remove(join(this.#directory, fileName('snapshot', this.#snapshots.shift()!)))
    }
  }

  async #close(): Promise<void> {
    await this.#turn
    await this.#saving?.catch(() => {}) // its caller has been told
    try {
      if (this.#failure === undefined) {
        this.#witness.note(this.#lastSeq)
        await this.#witness.write(true)
      }
    } catch (error) {
      throw this.#die(error, 'closing')
    } finally {
      await this.#witness.end()
      this.#closed = true
      this.#wake()
      await this.#file?.close().catch(() => {}) // every append was durable before this
      this.#lock.release()
    }
  }

  /** Runs `work` when what was begun before it is done; its failure is the journal's end. */
  async #takeTurn(doing: string, work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(() => {
      if (this.#failure !== undefined) throw this.#failure
      return work()
    })
    this.#turn = turn.catch(() => {}) // reported to the one who asked for it
    await turn.catch((error) => {
      throw this.#die(error, doing)
    })
  }

  /** Resolves with true when record `seq` is durable, with false when it will not be while anybody waits for it. */
  async #untilDurable(seq: number, signal: AbortSignal | undefined): Promise<boolean> {
    while (true) {
      if (signal?.aborted) return false
      if (this.#failure !== undefined) throw this.#failure
      if ((seq === 0 ? this.firstSeq : seq) <= this.#lastSeq) return true
      if (this.#closed) return false
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake)
          signal?.removeEventListener('abort', wake)
          resolve()
        }
        this.#waiting.add(wake)
        signal?.addEventListener('abort', wake)
      })
    }
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
  }

  /** The first failure is the one that counts, and the one that everybody hears. */
  #die(error: unknown, doing: string): InstarError {
    this.#failure ??= failureOf(error, `${doing} (journal in ${this.#directory})`)
    this.#witness.stop()
    this.#wake()
    return this.#failure
  }

  #refuseUnusable(): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#closing !== undefined) throw new InstarError('JOURNAL_CLOSED', 'the journal has been closed')
  }

  #pathOf(first: number): string {
    return join(this.#directory, fileName('segment', first))
  }
}

/**
 * Puts what may be believed of a segment into a new file. An earlier holder's failed flush can have left pages that look
 * clean and are on no disk; flushing them again would report success. So they are written again, and with them the torn
 * end goes, after a copy of it is safe.
 */
async function rewrite(directory: string, active: ActiveSegment, disk: Disk): Promise<Repaired | null> {
  const { first, goodBytes, tornBytes } = active
  const path = join(directory, fileName('segment', first))
  const bytes = await disk.read(path)
  let repaired: Repaired | null = null
  if (tornBytes > 0) {
    const when = new Date().toISOString().replaceAll(':', '-')
    const keptAs = join(directory, `${tornPrefix}${fileName('segment', first)}-${goodBytes}-${when}`)
    await replaceFile(keptAs, bytes.subarray(goodBytes), disk)
    repaired = { file: path, offset: goodBytes, bytes: tornBytes, keptAs }
  }
  await replaceFile(path, bytes.subarray(0, goodBytes), disk)
  return repaired
}

function assertRecord(record: object): void {
  // Anything else would be read back as damage, or as another record's number.
  assert(!Array.isArray(record) && !('toJSON' in record), 'a record is a plain object')
  assert(!('seq' in record), 'the journal numbers the records')
}

function failureOf(error: unknown, doing: string): InstarError {
  if (error instanceof InstarError) return error
  const named = diskError(error, doing)
  if (named instanceof InstarError && named.code === 'DISK_FULL')
    return new InstarError('DISK_FULL', named.message, {
      cause: error,
      hint: 'Free some space, then start again: the next start decides from the files.',
    })
  return new InstarError('JOURNAL_WRITE_FAILED', `the disk failed while ${doing}`, { cause: error })
}
