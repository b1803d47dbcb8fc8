import type { RecordLog } from '../../src/run/log.ts'

/** A journal in memory. It keeps text, as a disk would, so that nothing but JSON survives. */
export class MemoryLog implements RecordLog {
  /** The records of each append. */
  readonly frames: string[][] = []
  snapshots: { readonly seq: number; readonly text: string }[] = []
  closed = 0
  /** Set to make every append fail, after what runs now. */
  failure: Error | null = null
  snapshotFailure: Error | null = null
  /** Replace it to hold an append back. */
  gate: () => Promise<void> = async () => {}
  private appending = false

  get lastSeq(): number {
    return this.frames.reduce((count, frame) => count + frame.length, 0)
  }

  get snapshot() {
    const last = this.snapshots.at(-1)
    return last === undefined ? null : { seq: last.seq, state: JSON.parse(last.text) as unknown }
  }

  async append(records: readonly object[]): Promise<void> {
    if (this.appending) throw new Error('append while an append is in flight')
    const frame = records.map((record) => JSON.stringify(record))
    this.appending = true
    await this.gate()
    this.appending = false
    if (this.failure !== null) throw this.failure
    this.frames.push(frame)
  }

  async *read({ from = 1, to = Number.POSITIVE_INFINITY }: { from?: number; to?: number }) {
    for (const record of this.records()) if (record.seq >= from && record.seq <= to) yield record
  }

  records(): ({ seq: number } & Record<string, any>)[] {
    return this.frames.flat().map((text, at) => ({ seq: at + 1, ...JSON.parse(text) }))
  }

  async saveSnapshot(seq: number, state: unknown): Promise<void> {
    const text = JSON.stringify(state)
    await this.gate()
    if (this.snapshotFailure !== null) throw this.snapshotFailure
    this.snapshots.push({ seq, text })
  }

  async snapshotBefore(seq: number) {
    const found = this.snapshots.findLast((snapshot) => snapshot.seq <= seq)
    return found === undefined ? null : { seq: found.seq, state: JSON.parse(found.text) as unknown }
  }

  async close(): Promise<void> {
    this.closed += 1
  }

  /** What a process that starts after a crash here would find; without snapshots when `bare`. */
  copy({ bare = false, upTo }: { bare?: boolean; upTo?: number } = {}): MemoryLog {
    const copy = new MemoryLog()
    const texts = this.frames.flat().slice(0, upTo)
    if (texts.length > 0) copy.frames.push(texts)
    if (!bare) copy.snapshots = this.snapshots.filter(({ seq }) => seq <= texts.length)
    return copy
  }
}
