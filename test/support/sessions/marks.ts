import type { SessionMark } from '../../../machines/index.ts'
import { readJournal } from '../../../src/journal/read.ts'
import { readRecord, type StoredRecord } from '../../../src/run/record.ts'

/** Where each session was handed over, and the hash of what it had printed, as one of the two daemons has recorded it. */
export function marksIn(records: readonly StoredRecord[], machine: string): readonly SessionMark[] {
  return records.flatMap(({ run, event }) => {
    const { sessions } = (event.output ?? {}) as { sessions?: readonly Partial<SessionMark>[] }
    return run.startsWith(machine) && sessions?.[0]?.crc32 !== undefined ? (sessions as readonly SessionMark[]) : []
  })
}

/** What the journal in `directory` holds. */
export async function recordsIn(directory: string): Promise<StoredRecord[]> {
  const records: StoredRecord[] = []
  for await (const record of readJournal(directory)) records.push(readRecord(record))
  return records
}
