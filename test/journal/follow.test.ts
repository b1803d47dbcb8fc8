import { getEventListeners } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type DiskFile, realDisk } from '../../src/disk.ts'
import { type JournalRecord, openJournal, readJournal } from '../../src/journal/index.ts'
import { all, appendEach, range, seqs } from './files.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'instar-follow-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const collect = (source: AsyncIterable<JournalRecord>, into: JournalRecord[]) =>
  (async () => {
    for await (const record of source) into.push(record)
  })()

describe('a follower', () => {
  test('sees history and then every new record once, across segments and compaction', async () => {
    const journal = await openJournal({ directory, segmentBytes: 400, retainRecords: 20 })
    await appendEach(journal, 30)
    const early: JournalRecord[] = []
    const late: JournalRecord[] = []
    const following = [collect(journal.follow(), early), collect(journal.follow({ from: 45 }), late)]
    for (let round = 0; round < 20; round += 1) {
      await appendEach(journal, 7)
      await journal.saveSnapshot(journal.lastSeq - 3, {})
      // Keeps up: what it has not read may go.
      while (early.length < journal.lastSeq) await setImmediate()
    }
    expect(journal.firstSeq).toBeGreaterThan(100)
    await journal.close()
    await Promise.all(following)
    expect(seqs(early)).toEqual(range(1, 170))
    expect(seqs(late)).toEqual(range(45, 170))
  })

  test('sees a record only when it is durable', async () => {
    let durable = 0
    const disk = Object.assign(Object.create(realDisk), {
      open: async (path: string) => {
        const file = await realDisk.open(path)
        const write: DiskFile['write'] = async (...given) => {
          await file.write(...given)
          await setImmediate() // written, and not yet reported as durable
          durable += 1
        }
        return Object.assign(Object.create(file), { write })
      },
    })
    const journal = await openJournal({ directory, disk })
    const following = (async () => {
      for await (const { seq } of journal.follow()) expect(seq).toBeLessThanOrEqual(durable)
    })()
    const reading = (async () => {
      while (durable < 50) for await (const { seq } of journal.read()) expect(seq).toBeLessThanOrEqual(durable)
    })()
    await appendEach(journal, 50)
    await reading
    await journal.close()
    await following
  })

  test('that is slow holds nothing: it reads on from disk where it was', async () => {
    const journal = await openJournal({ directory, segmentBytes: 1000 })
    await appendEach(journal, 2)
    const follower = journal.follow()
    expect((await follower.next()).value).toMatchObject({ seq: 1 })
    await appendEach(journal, 200)
    await journal.saveSnapshot(150, {})
    for (const seq of range(2, 202)) expect((await follower.next()).value).toMatchObject({ seq })
    await follower.return()
    await journal.close()
  })

  test('that is overtaken by compaction is told so, and never misses records silently', async () => {
    await using journal = await openJournal({ directory, segmentBytes: 200, retainRecords: 0 })
    await appendEach(journal, 1)
    const follower = journal.follow()
    await follower.next()
    await appendEach(journal, 50)
    await journal.saveSnapshot(51, {})
    // The segment it has open can be read on, though its name is gone.
    const read: number[] = []
    const reading = async () => {
      for await (const { seq } of follower) read.push(seq)
    }
    await expect(reading()).rejects.toMatchObject({ code: 'JOURNAL_COMPACTED', details: { first: 52 } })
    expect(read).toEqual(range(2, read.length + 1))
  })

  test('gets the commit that was in flight when the journal was closed', async () => {
    const journal = await openJournal({ directory })
    const seen: JournalRecord[] = []
    const following = collect(journal.follow(), seen)
    await appendEach(journal, 2)
    const appending = journal.append([{ n: 3 }])
    await journal.close()
    await Promise.all([appending, following])
    expect(seqs(seen)).toEqual([1, 2, 3])
  })

  test('may wait for a record that is far ahead', async () => {
    await using journal = await openJournal({ directory, segmentBytes: 200 })
    const seen: JournalRecord[] = []
    const following = collect(journal.follow({ from: 40 }), seen)
    await appendEach(journal, 45)
    await journal.close()
    await following
    expect(seqs(seen)).toEqual(range(40, 45))
  })

  test('ends without an error when its signal aborts, waiting or not', async () => {
    await using journal = await openJournal({ directory })
    await appendEach(journal, 3)
    const waiting = new AbortController()
    const seen: JournalRecord[] = []
    const following = collect(journal.follow({ signal: waiting.signal }), seen)
    while (seen.length < 3) await setImmediate()
    await appendEach(journal, 5)
    while (seen.length < 8) await setImmediate()
    expect(getEventListeners(waiting.signal, 'abort').length).toBeLessThanOrEqual(1)
    waiting.abort()
    await following
    expect(getEventListeners(waiting.signal, 'abort')).toEqual([])
    expect(await all(journal.follow({ signal: AbortSignal.abort() }))).toEqual([])
    const busy = new AbortController()
    for await (const { seq } of journal.follow({ signal: busy.signal })) {
      expect(seq).toBe(1)
      busy.abort()
    }
  })
})

describe('readers', () => {
  test('of both kinds see rows without a gap while the journal is written, turned and compacted', async () => {
    const journal = await openJournal({ directory, segmentBytes: 2000, retainRecords: 100 })
    await appendEach(journal, 1)
    let writing = true
    const check = async (read: () => AsyncIterable<JournalRecord>) => {
      let rows = 0
      for (; writing; rows += 1) {
        const last = journal.lastSeq
        const row = seqs(
          await all(read()).catch((error) => {
            // A row that was begun may lose its end to compaction; it says so.
            expect(error).toMatchObject({ code: 'JOURNAL_COMPACTED' })
            return []
          }),
        )
        if (row.length === 0) continue
        expect(row).toEqual(range(row[0]!, row.at(-1)!))
        expect(row.at(-1)).toBeGreaterThanOrEqual(last)
      }
      return rows
    }
    const checks = [
      check(() => journal.read()),
      check(() => readJournal(directory)),
      check(() => readJournal(directory)),
    ]
    for (let round = 0; round < 30; round += 1) {
      await journal.append(range(1, 20).map((n) => ({ n })))
      if (round % 3 === 2) await journal.saveSnapshot(journal.lastSeq, {})
    }
    writing = false
    for (const rows of await Promise.all(checks)) expect(rows).toBeGreaterThan(0)
    await journal.close()
  })

  test('without the lock end with the last whole frame', async () => {
    const journal = await openJournal({ directory, roomBytes: 0 })
    await appendEach(journal, 3)
    const path = join(directory, '0000000000000001.segment')
    const bytes = await realDisk.read(path)
    await realDisk.write(path, bytes.subarray(0, -5))
    expect(seqs(await all(readJournal(directory)))).toEqual([1, 2])
    await expect(all(journal.read())).rejects.toMatchObject({ code: 'JOURNAL_DAMAGED' })
    await journal.close()
  })

  test('meet a gap between segments as damage', async () => {
    const journal = await openJournal({ directory, segmentBytes: 100 })
    await appendEach(journal, 9)
    await journal.close()
    const names = (await realDisk.list(directory)).filter((name) => name.endsWith('.segment')).sort()
    await realDisk.remove(join(directory, names[1]!))
    await expect(all(readJournal(directory))).rejects.toMatchObject({ code: 'JOURNAL_DAMAGED' })
  })

  test('of nothing read nothing', async () => {
    expect(await all(readJournal(directory))).toEqual([])
    await using journal = await openJournal({ directory })
    expect(await all(readJournal(directory))).toEqual([])
    expect(await all(journal.read())).toEqual([])
    expect(await all(journal.read({ from: 5, to: 9 }))).toEqual([])
  })
})
