import { type Disk, realDisk } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { Cursor, type JournalRecord, type ReadRange } from './cursor.ts'
import { listJournal } from './directory.ts'

/**
 * The records of a journal that this process need not hold, from disk, in bounded memory. Takes no lock and changes
 * nothing, so it works beside a running controller, and ends with the last whole frame that it meets.
 *
 * That frame may still be on its way to the disk: unlike `Journal.read`, this cannot tell whether it has arrived.
 *
 * @throws {InstarError} `JOURNAL_DAMAGED`, `JOURNAL_NEWER`; `JOURNAL_COMPACTED` where `from` is no longer there.
 */
export async function* readJournal(
  directory: string,
  { from = 0, to = Number.POSITIVE_INFINITY }: ReadRange = {},
  disk: Disk = realDisk,
): AsyncGenerator<JournalRecord, void, void> {
  for (;;) {
    const { segments } = await listJournal(directory, disk)
    if (segments.length === 0) return
    const cursor = new Cursor({ directory, disk, segments: () => segments, activeEnd: () => undefined }, from)
    let begun = false
    try {
      for (let records = await cursor.more(); records.length > 0; records = await cursor.more()) {
        for (const record of records) {
          if (record.seq > to) return
          begun = true
          yield record
        }
      }
      return
    } catch (error) {
      // The oldest segment went between the look and the opening. Who asked for all there is gets what is there now.
      const again = from === 0 && !begun && error instanceof InstarError && error.code === 'JOURNAL_COMPACTED'
      if (!again) throw error
    } finally {
      await cursor.close()
    }
  }
}

/** All records as NDJSON, one line each, for other tools. */
export async function* exportJournal(
  directory: string,
  range: ReadRange = {},
  disk: Disk = realDisk,
): AsyncGenerator<string, void, void> {
  for await (const record of readJournal(directory, range, disk)) yield `${JSON.stringify(record)}\n`
}
