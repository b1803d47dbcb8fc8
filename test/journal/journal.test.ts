import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Disk, realDisk } from '../../src/disk.ts'
import { openJournal, readJournal, verifyJournal } from '../../src/journal/index.ts'
import { SimulatedDisk } from '../../src/testing/disk.ts'
import { all, appendEach, codeOf, open, range, seqs } from './files.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'instar-journal-'))
})
afterEach(() => rm(home, { recursive: true, force: true }))

const real = (options = {}) => openJournal({ directory: join(home, 'journal'), ...options })

describe('a journal', () => {
  test('gives back what was appended, numbered from 1, also after it was opened again', async () => {
    const journal = await real()
    expect(journal.lastSeq).toBe(0)
    await journal.append([{ type: 'a', text: 'tab\t, line\n, ünï ☂' }])
    await journal.append([{ type: 'b' }, { type: 'c', nested: { list: [1, null, true] } }])
    expect(journal.lastSeq).toBe(3)
    const expected = [
      { seq: 1, type: 'a', text: 'tab\t, line\n, ünï ☂' },
      { seq: 2, type: 'b' },
      { seq: 3, type: 'c', nested: { list: [1, null, true] } },
    ]
    expect(await all(journal.read())).toEqual(expected)
    expect(await all(journal.read({ from: 2, to: 2 }))).toEqual(expected.slice(1, 2))
    await journal.close()

    await using again = await real()
    expect(again.lastSeq).toBe(3)
    expect(again.repaired).toBeNull()
    expect(await all(again.read())).toEqual(expected)
  })

  test('is closed to other users', async () => {
    await using journal = await real()
    await journal.append([{}])
    expect((await stat(join(home, 'journal'))).mode & 0o777).toBe(0o700)
    for (const name of await readdir(join(home, 'journal')))
      expect((await stat(join(home, 'journal', name))).mode & 0o777).toBe(0o600)
  })

  test('holds a frame that is longer than what is read at once', async () => {
    await using journal = await real()
    await journal.append([{ text: 'x'.repeat(700_000) }])
    await journal.append([{ n: 2 }])
    expect((await all(journal.read())).map(({ text }) => String(text).length)).toEqual([700_000, 9])
  })

  test('writes one frame for a batch and nothing for an empty one', async () => {
    const directory = join(home, 'journal')
    await using journal = await real()
    const path = join(directory, (await readdir(directory)).find((name) => name.endsWith('.segment'))!)
    const before = (await stat(path)).size
    await journal.append([])
    expect((await stat(path)).size).toBe(before)
    await journal.append([{ a: 1 }, { a: 2 }])
    expect((await realDisk.read(path)).toString().split('\n')).toHaveLength(3)
  })

  test('refuses what it could not give back, before anything is written', async () => {
    await using journal = await real()
    await expect(journal.append([{ seq: 7 }])).rejects.toThrow('the journal numbers the records')
    await expect(journal.append([[1]])).rejects.toThrow('a record is a plain object')
    await expect(journal.append([new Date()])).rejects.toThrow('a record is a plain object')
    await expect(journal.append([{ n: 1n }])).rejects.toThrow(TypeError)
    await journal.append([{ fine: true }])
    expect(journal.lastSeq).toBe(1)
  })

  test('refuses a second append while one is in flight', async () => {
    await using journal = await real()
    const first = journal.append([{ n: 1 }])
    await expect(journal.append([{ n: 2 }])).rejects.toThrow('append is called while an append is in flight')
    await first
    expect(journal.lastSeq).toBe(1)
  })

  test('lets go at close: calls are refused, a read in progress ends, and it can be opened again', async () => {
    const journal = await real()
    await appendEach(journal, 3)
    const appending = journal.append([{ n: 4 }])
    await Promise.all([journal.close(), journal.close()])
    await appending
    expect(await codeOf(journal.append([{}]))).toBe('JOURNAL_CLOSED')
    expect(await codeOf(journal.saveSnapshot(1, {}))).toBe('JOURNAL_CLOSED')
    expect(await codeOf(all(journal.read()))).toBe('JOURNAL_CLOSED')
    expect((await verifyJournal(join(home, 'journal'))).head).toEqual({ seq: 4, closed: true })
    await using again = await real()
    expect(again.lastSeq).toBe(4)
  })

  test('pads every line of a segment to whole sectors where asked, also one that was begun without', async () => {
    const plain = await real()
    await appendEach(plain, 2)
    await plain.close()
    const padded = await real({ padBytes: 512, roomBytes: 0 })
    await appendEach(padded, 2)
    await padded.append([{ text: 'x'.repeat(600) }])
    expect(seqs(await all(padded.read()))).toEqual(range(1, 5))
    await padded.close()
    const names = (await readdir(join(home, 'journal'))).filter((name) => name.endsWith('.segment'))
    expect(names).toEqual(['0000000000000001.segment', '0000000000000003.segment'])
    const bytes = await realDisk.read(join(home, 'journal', names[1]!))
    expect(bytes.length).toBe(512 * 5)
    for (const end of [512, 1024, 1536, 2560]) expect(bytes[end - 1]).toBe(10)
  })

  test('makes room behind a commit that finds none, and fills it with those that follow, also after it was opened again', async () => {
    const path = join(home, 'journal', '0000000000000001.segment')
    const sizes = new Set<number>()
    for (let life = 0; life < 2; life += 1) {
      await using journal = await real()
      expect(journal.repaired).toBeNull()
      for (let count = 0; count < 50; count += 1) {
        await appendEach(journal, 1)
        sizes.add((await stat(path)).size)
      }
      expect(seqs(await all(readJournal(join(home, 'journal'))))).toEqual(range(1, journal.lastSeq))
    }
    expect(sizes.size).toBe(1)
    await using journal = await real()
    await journal.append([{ text: 'x'.repeat(100_000) }]) // longer than what is left of the room
    await appendEach(journal, 3)
    expect(seqs(await all(journal.read()))).toEqual(range(1, 104))
    expect(await verifyJournal(join(home, 'journal'))).toMatchObject({ sound: true, torn: null, lastSeq: 104 })
  })
})

describe('scenario Journal 3: the disk fails or fills in mid-append', () => {
  test.each([
    ['EIO', 'JOURNAL_WRITE_FAILED'],
    ['ENOSPC', 'DISK_FULL'],
    ['EDQUOT', 'DISK_FULL'],
  ])(
    '%s: the journal is dead, nothing that was not durable is shown, and the next start is right',
    async (fault, code) => {
      const disk = new SimulatedDisk()
      const journal = await open(disk)
      await appendEach(journal, 2)
      const followed = all(journal.follow())
      disk.inject({ at: disk.operations + 2, code: fault }) // the flush behind the write
      const failure = await journal.append([{ n: 3 }]).catch((error) => error)
      expect(failure).toMatchObject({ code })
      expect(failure.hint).toMatch(/the next start decides from the files/)
      expect(journal.lastSeq).toBe(2)
      // Never tried again, and every later call hears the same.
      await expect(journal.append([{ n: 4 }])).rejects.toBe(failure)
      await expect(journal.saveSnapshot(2, {})).rejects.toBe(failure)
      await expect(all(journal.read())).rejects.toBe(failure)
      await expect(followed).rejects.toBe(failure)
      await expect(journal.snapshotBefore(1)).rejects.toBe(failure)
      await journal.close()

      const next = await open(disk.restart())
      expect([2, 3]).toContain(next.lastSeq)
      await appendEach(next, 1)
      expect((await all(next.read())).map(({ n }) => n)).toEqual(range(1, next.lastSeq))
    },
  )

  test('a head that cannot be written is the end too, although no append failed', async () => {
    const disk = new SimulatedDisk()
    const journal = await open(disk, { witnessEveryMs: 0 })
    disk.inject({ at: disk.operations + 3, code: 'EIO' })
    await journal.append([{ n: 1 }])
    await expect(journal.close()).rejects.toMatchObject({ code: 'JOURNAL_WRITE_FAILED' })
    const next = await open(disk.restart())
    expect(next.lastSeq).toBe(1)
  })

  test('an opening that fails names the disk and leaves the lock free', async () => {
    const disk = new SimulatedDisk()
    const journal = await open(disk)
    await appendEach(journal, 2)
    let refusals = 0
    let current = disk.restart()
    for (let at = 1; at <= 25; at += 1) {
      current.inject({ at: current.operations + at, code: 'EIO' })
      const code = await codeOf(open(current).then((opened) => opened.close()))
      if (code !== 'done' && code !== 'JOURNAL_WRITE_FAILED') expect(code).toBe('DISK_FAILED')
      if (code === 'DISK_FAILED') refusals += 1
      await (await open(current)).append([{ n: at }])
      current = current.restart()
    }
    expect(refusals).toBeGreaterThan(15)
  })
})

describe('snapshots', () => {
  test('and the records after them are the same as all records', async () => {
    const sum = (records: readonly { [field: string]: unknown }[], start = 0) =>
      records.reduce((total, { n }) => total + Number(n), start)
    const journal = await real({ segmentBytes: 500 })
    for (let round = 0; round < 5; round += 1) {
      await appendEach(journal, 10)
      await journal.saveSnapshot(journal.lastSeq, { sum: sum(await all(journal.read())) })
      await appendEach(journal, 3)
    }
    await journal.close()
    await using again = await real()
    const { seq, state } = again.snapshot!
    expect(seq).toBe(62)
    expect(sum(await all(again.read({ from: seq + 1 })), (state as { sum: number }).sum)).toBe(
      sum(range(1, 65).map((n) => ({ n }))),
    )
    for (const at of [0, 9, 10, 11, 40, 65]) {
      const before = await again.snapshotBefore(at)
      const base = (before?.state as { sum: number } | undefined)?.sum
      const rest = await all(again.read({ from: (before?.seq ?? 0) + 1, to: at }))
      expect(sum(rest, base)).toBe((at * (at + 1)) / 2)
    }
    expect(await again.snapshotBefore(9)).toBeNull()
  })

  test('of an earlier record can be saved while appends go on; what came after it stays', async () => {
    const journal = await real()
    await appendEach(journal, 5)
    const saving = journal.saveSnapshot(3, 'three')
    await appendEach(journal, 4)
    await saving
    await appendEach(journal, 1)
    await journal.close()
    await using again = await real()
    expect(again.snapshot).toEqual({ seq: 3, state: 'three' })
    expect(seqs(await all(again.read({ from: 4 })))).toEqual(range(4, 10))
  })

  test('are refused for records that are not there, and out of order', async () => {
    await using journal = await real()
    await appendEach(journal, 3)
    await expect(journal.saveSnapshot(4, {})).rejects.toThrow('snapshot of record 4, the last one is 3')
    await journal.saveSnapshot(2, {})
    await expect(journal.saveSnapshot(1, {})).rejects.toThrow('snapshot of record 1 after one of 2')
    await journal.saveSnapshot(2, 'again')
    expect(await journal.snapshotBefore(9)).toEqual({ seq: 2, state: 'again' })
  })

  test('let old segments go, and the state at every record that is kept can still be read', async () => {
    await using journal = await real({ retainRecords: 25 })
    for (let round = 1; round <= 10; round += 1) {
      await appendEach(journal, 10)
      await journal.saveSnapshot(journal.lastSeq, { upTo: journal.lastSeq })
    }
    expect(journal.firstSeq).toBe(71)
    expect(await journal.snapshotBefore(70)).toEqual({ seq: 70, state: { upTo: 70 } })
    expect(await journal.snapshotBefore(69)).toBeNull()
    expect(seqs(await all(journal.read()))).toEqual(range(71, 100))
    await expect(all(journal.read({ from: 70 }))).rejects.toMatchObject({
      code: 'JOURNAL_COMPACTED',
      details: { wanted: 70, first: 71 },
    })
    expect(seqs(await all(readJournal(join(home, 'journal'), { from: 99 })))).toEqual([99, 100])
    expect(await readdir(join(home, 'journal'))).toHaveLength(4 + 4 + 2) // snapshots, segments, head and lock
  })
})

test('scenario Journal 8: a journal of 1 000 000 records opens from its last snapshot, reading only what follows it', async () => {
  const journal = await real({ retainRecords: Number.POSITIVE_INFINITY })
  const batch = Array.from({ length: 10_000 }, (_, at) => ({ n: at, event: { type: 'tick' } }))
  for (let written = 0; written < 1_000_000; written += batch.length) {
    await journal.append(batch)
    if (written % 100_000 === 0) await journal.saveSnapshot(journal.lastSeq, { upTo: journal.lastSeq })
  }
  expect(journal.lastSeq).toBe(1_000_000)
  await journal.close()

  const opened: string[] = []
  const watching: Disk = Object.assign(Object.create(realDisk), {
    read: (path: string) => {
      opened.push(path)
      return realDisk.read(path)
    },
    openForReading: (path: string) => {
      opened.push(path)
      return realDisk.openForReading(path)
    },
  } satisfies Partial<Disk>)
  await using again = await real({ disk: watching })
  expect(again.lastSeq).toBe(1_000_000)
  expect(again.snapshot).toEqual({ seq: 910_000, state: { upTo: 910_000 } })
  expect(opened.map((path) => path.slice(home.length))).toEqual([
    '/journal/head',
    '/journal/0000000000910000.snapshot',
    '/journal/0000000000910001.segment',
  ])
  expect(await all(again.read({ from: 999_999 }))).toHaveLength(2)
})
