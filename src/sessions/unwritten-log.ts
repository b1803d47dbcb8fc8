import type { RecordLog } from '../run/log.ts'

/**
 * A journal that is not written anywhere: what a daemon goes on with when the disk takes nothing. Terminals must not end,
 * and must be able to be handed over, because a disk is full.
 */
export class UnwrittenLog implements RecordLog {
  readonly snapshot = null
  private readonly records: object[] = []

  get lastSeq(): number {
    return this.records.length
  }

  async append(records: readonly object[]): Promise<void> {
    this.records.push(...records)
  }

  async *read({ from = 1, to = this.lastSeq }: { from?: number; to?: number }) {
    for (let seq = from; seq <= to; seq += 1) yield { seq, ...this.records[seq - 1] }
  }

  /** All records are at hand, so none is needed. */
  async saveSnapshot(): Promise<void> {}

  async snapshotBefore(): Promise<null> {
    return null
  }

  async close(): Promise<void> {}
}
