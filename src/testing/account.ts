import { join } from 'node:path'
import { exists } from '../disk.ts'
import { readJournal } from '../journal/read.ts'
import { readRecord, type StoredRecord } from '../run/record.ts'

/** What the journal of a home tells while nobody has it open. */
export async function durableRecords(home: string): Promise<StoredRecord[]> {
  const records: StoredRecord[] = []
  const journal = join(home, 'journal')
  if (!(await exists(journal))) return records
  for await (const record of readJournal(journal)) records.push(readRecord(record))
  return records
}

/** Throws where a record is gone, or another one, that was durable before. */
export function assertKept(before: readonly StoredRecord[], now: readonly StoredRecord[]): void {
  for (const [at, record] of before.entries())
    if (JSON.stringify(now[at]) !== JSON.stringify(record))
      throw new Error(`record ${record.seq} was durable and is ${now[at] === undefined ? 'gone' : 'another one'} now`)
}

/** Throws where a program said that it has shown a record, `{"seq":7,"digest":"…"}`, which is not durable. */
export function assertDurable(stdout: string, records: readonly StoredRecord[]): void {
  for (const line of stdout.split('\n')) {
    if (!/^\{"seq":\d+,"digest":"[0-9a-f]{8}"\}$/.test(line)) continue
    const { seq, digest } = JSON.parse(line) as { seq: number; digest: string }
    if (records[seq - 1]?.digest !== digest) throw new Error(`record ${seq} was shown and was not durable`)
  }
}
