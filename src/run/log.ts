/**
 * What the interpreter asks of the journal, and no more. `Journal` of `src/journal/` satisfies it; a fleet may bring
 * another one.
 */
export interface RecordLog {
  /** 0 while empty. */
  readonly lastSeq: number
  /** The newest snapshot, or null. */
  readonly snapshot: { readonly seq: number; readonly state: unknown } | null
  /** Adds the records as one frame: all or none of them survive. Resolves when they would. Never called while it runs. */
  append(records: readonly object[]): Promise<void>
  /** Records `from`…`to`, both included. */
  read(range: { from?: number; to?: number }): AsyncIterable<{ readonly seq: number }>
  /** May run beside an `append`. `state` is plain data that nobody changes. */
  saveSnapshot(seq: number, state: unknown): Promise<void>
  /** The newest snapshot that holds nothing younger than `seq`, or null. */
  snapshotBefore(seq: number): Promise<{ readonly seq: number; readonly state: unknown } | null>
  close(): Promise<void>
}
