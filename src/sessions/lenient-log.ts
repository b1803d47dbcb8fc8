import type { RecordLog } from '../run/log.ts'

/**
 * A journal that goes on in memory where the disk takes nothing more, or took nothing to begin with. Terminals live longer
 * than a disk is full: neither may they end for it, nor may a handoff stop in the middle.
 */
export class LenientLog implements RecordLog {
  private readonly unwritten: object[] = []

  /**
   * @param written Null where none could be opened.
   * @param failed Told once, when the first record is not written.
   */
  constructor(
    private readonly written: RecordLog | null,
    private readonly failed: (error: unknown) => void,
  ) {
    this.isWritten = written !== null
  }

  private isWritten: boolean

  get lastSeq(): number {
    return this.writtenSeq + this.unwritten.length
  }

  get snapshot(): RecordLog['snapshot'] {
    return this.written?.snapshot ?? null
  }

  async append(records: readonly object[]): Promise<void> {
    if (this.isWritten)
      try {
        await this.written!.append(records)
        return
      } catch (error) {
        this.isWritten = false
        this.failed(error)
      }
    this.unwritten.push(...records)
  }

  async *read({ from = 1, to = this.lastSeq }: { from?: number; to?: number } = {}) {
    const first = this.writtenSeq + 1
    if (from < first) yield* this.written!.read({ from, to: Math.min(to, first - 1) })
    for (let seq = Math.max(from, first); seq <= to; seq += 1) yield { seq, ...this.unwritten[seq - first] }
  }

  /** Of what is unwritten all records are at hand, so none is needed. */
  async saveSnapshot(seq: number, state: unknown): Promise<void> {
    if (this.isWritten) await this.written!.saveSnapshot(seq, state).catch(this.failed)
  }

  async snapshotBefore(seq: number): ReturnType<RecordLog['snapshotBefore']> {
    return this.written?.snapshotBefore(seq) ?? null
  }

  async close(): Promise<void> {
    await this.written?.close()
  }

  /** Does not change any more once something could not be written. */
  private get writtenSeq(): number {
    return this.written?.lastSeq ?? 0
  }
}
