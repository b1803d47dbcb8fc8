import { describe, expect, test } from 'vitest'
import { InstarError } from '../../src/errors.ts'
import { fileName, findFrame } from '../../src/journal/format.ts'
import { verifyJournal } from '../../src/journal/index.ts'
import {
  all,
  altered,
  appendEach,
  codeOf,
  directory,
  diskWith,
  type Files,
  filesOf,
  open,
  range,
  seqs,
  written,
} from './files.ts'

// Seen caught, each by breaking one line: bytes behind a break that are not looked through for a frame (`segment.ts`), a
// frame that need not be the next one (`segment.ts`), an end below the witness that is accepted (`recover.ts`).

const segment = (first: number) => fileName('segment', first)

/** What opening these files and reading all of them comes to: the last seq read, or why not. */
async function outcomeOf(files: Files): Promise<{ last: number } | { refused: string }> {
  const disk = await diskWith(files)
  let opened = false
  try {
    const journal = await open(disk)
    opened = true
    const records = await all(journal.read())
    const first = journal.firstSeq
    expect(seqs(records)).toEqual(range(first, journal.lastSeq))
    expect(records.map(({ n }) => n)).toEqual(range(first, journal.lastSeq))
    await journal.close()
    return { last: journal.lastSeq }
  } catch (error) {
    if (!(error instanceof InstarError)) throw error
    if (!opened) expect(await filesOf(disk)).toEqual(files)
    return { refused: error.code }
  }
}

/** Offsets behind each line of a file. */
const lineEnds = (bytes: Buffer) => [...bytes.entries()].filter(([, byte]) => byte === 10).map(([at]) => at + 1)

const someRecords = async (journal: Parameters<typeof appendEach>[0]) => {
  await appendEach(journal, 3)
  await journal.append([{ n: 4 }, { n: 5 }, { n: 6 }])
  await appendEach(journal, 2)
}

describe('scenario Journal 1', () => {
  test('a journal that is cut at any byte is the records of the whole lines before the cut', async () => {
    const files = altered(await written(someRecords), 'head', undefined)
    const bytes = files.get(segment(1))!
    const ends = lineEnds(bytes)
    const lastAfter = [0, 1, 2, 3, 6, 7, 8] // by lines, the header being the first
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const whole = ends.filter((end) => end <= cut).length
      expect(await outcomeOf(altered(files, segment(1), bytes.subarray(0, cut)))).toEqual({
        last: lastAfter[Math.max(0, whole - 1)],
      })
    }
  })

  test('what a crash left in the room behind the last frame is a torn end, and room alone is none', async () => {
    const files = await written(someRecords, { roomBytes: 40 })
    const bytes = files.get(segment(1))!
    const end = lineEnds(bytes).at(-1)!
    expect(bytes.subarray(end).every((byte) => byte === 9)).toBe(true)
    for (let cut = end; cut <= bytes.length; cut += 1) {
      const disk = await diskWith(altered(files, segment(1), bytes.subarray(0, cut)))
      await using journal = await open(disk)
      expect(journal).toMatchObject({ lastSeq: 8, repaired: null })
    }
    for (let at = end; at < bytes.length; at += 1) {
      const half = Buffer.from(bytes)
      half[at] = 0x7b
      const disk = await diskWith(altered(files, segment(1), half))
      expect((await verifyJournal(directory, disk)).torn).toMatchObject({ offset: end, bytes: at + 1 - end })
      await using journal = await open(disk)
      expect(journal).toMatchObject({ lastSeq: 8, repaired: { offset: end, bytes: at + 1 - end } })
      await appendEach(journal, 2)
      expect(seqs(await all(journal.read()))).toEqual(range(1, 10))
    }
  })

  test('a cut below the witness is refused, at any byte', async () => {
    const files = await written(someRecords)
    const bytes = files.get(segment(1))!
    for (let cut = 0; cut < bytes.length; cut += 1) {
      expect(await outcomeOf(altered(files, segment(1), bytes.subarray(0, cut)))).toEqual({
        refused: 'JOURNAL_LOST_RECORDS',
      })
    }
  })

  test('a flipped bit is refused, or leaves a correct prefix when it hit the last frame', async () => {
    const files = altered(await written(someRecords), 'head', undefined)
    const bytes = files.get(segment(1))!
    const lastFrame = lineEnds(bytes).at(-2)!
    for (let at = 0; at < bytes.length; at += 1) {
      for (const mask of [1 << (at % 8), 0xff]) {
        const flipped = Buffer.from(bytes)
        flipped[at] = flipped[at]! ^ mask
        const outcome = await outcomeOf(altered(files, segment(1), flipped))
        if (at < lastFrame) expect(outcome).toEqual({ refused: expect.stringMatching(/^JOURNAL_(DAMAGED|NEWER)$/) })
        else expect(outcome).toEqual({ last: 7 })
      }
    }
  })

  test('with a witness every flipped byte of every file is refused, and verify finds each', async () => {
    const files = await written(
      async (journal) => {
        await appendEach(journal, 4)
        await journal.saveSnapshot(3, { n: 3 })
        await appendEach(journal, 3)
      },
      { padBytes: 0 },
    )
    expect([...files.keys()]).toEqual([fileName('segment', 1), fileName('snapshot', 3), fileName('segment', 5), 'head'])
    for (const [name, bytes] of files) {
      for (let at = 0; at < bytes.length; at += 1) {
        const flipped = Buffer.from(bytes)
        flipped[at] = flipped[at]! ^ (1 << (at % 8))
        const damaged = altered(files, name, flipped)
        expect(await outcomeOf(damaged)).toHaveProperty('refused')
        const report = await verifyJournal(directory, await diskWith(damaged)).catch(({ code }) => ({ sound: code }))
        expect(report.sound).toEqual(expect.toBeOneOf([false, 'JOURNAL_NEWER']))
      }
    }
  })
})

describe('scenario Journal 2: damage before valid data', () => {
  const refused = async (files: Files): Promise<InstarError> => {
    const disk = await diskWith(files)
    const error = await open(disk).then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(error).toBeInstanceOf(InstarError)
    expect(await filesOf(disk)).toEqual(files)
    return error as InstarError
  }

  test('is named by file, line and byte, with what to do, and nothing is overwritten', async () => {
    const files = await written(someRecords)
    const bytes = Buffer.from(files.get(segment(1))!)
    const third = lineEnds(bytes)[1]!
    bytes[third + 12] = 0
    const error = await refused(altered(files, segment(1), bytes))
    expect(error.code).toBe('JOURNAL_DAMAGED')
    expect(error.message).toBe(
      `${directory}/${segment(1)}, line 3, byte ${third}: record 2 cannot be read, and record 3 follows it`,
    )
    expect(error.details).toMatchObject({ file: `${directory}/${segment(1)}`, line: 3, offset: third })
    expect(error.hint).toContain('instar journal verify')
    expect(error.hint).toContain('instar journal repair')
  })

  test('is seen when it ate the end of the line before the last frame', async () => {
    const files = altered(await written(someRecords), 'head', undefined)
    const bytes = Buffer.from(files.get(segment(1))!)
    bytes[lineEnds(bytes).at(-2)! - 1] = 0x20
    expect((await refused(altered(files, segment(1), bytes))).code).toBe('JOURNAL_DAMAGED')
  })

  test('a frame that was taken out is a gap', async () => {
    const files = await written(someRecords)
    const bytes = files.get(segment(1))!
    const ends = lineEnds(bytes)
    const without = Buffer.concat([bytes.subarray(0, ends[1]), bytes.subarray(ends[2])])
    const error = await refused(altered(files, segment(1), without))
    expect(error.message).toContain('record 2 must follow, and record 3 does')
  })

  test('a torn end of a segment that is not the last one is damage', async () => {
    const files = await written(someRecords, { segmentBytes: 150 })
    const [first, second] = [...files.keys()].filter((name) => name.endsWith('.segment'))
    expect(second).toBeDefined()
    const cut = files.get(first!)!.subarray(0, -1)
    expect((await refused(altered(files, first!, cut))).code).toBe('JOURNAL_DAMAGED')
    const whole = files.get(first!)!
    const shorter = whole.subarray(0, lineEnds(whole).at(-2))
    const filled = Buffer.concat([whole, Buffer.from('\t\t\t{')])
    expect((await refused(altered(files, first!, filled))).code).toBe('JOURNAL_DAMAGED')
    expect((await refused(altered(files, first!, shorter))).message).toContain('the next segment begins with')
  })

  test('a missing first segment is damage', async () => {
    const files = await written(someRecords, { segmentBytes: 150 })
    expect((await refused(altered(files, segment(1), undefined))).message).toContain('are missing before it')
  })

  test('a bad snapshot is never passed over for an older one', async () => {
    const files = await written(async (journal) => {
      await appendEach(journal, 2)
      await journal.saveSnapshot(2, 'old')
      await appendEach(journal, 2)
      await journal.saveSnapshot(4, 'new')
    })
    const name = fileName('snapshot', 4)
    const error = await refused(altered(files, name, files.get(name)!.subarray(0, -1)))
    expect(error).toMatchObject({ code: 'JOURNAL_DAMAGED', details: { file: `${directory}/${name}` } })
  })

  test('segments that are gone while the head or a snapshot is there are lost records', async () => {
    const files = await written(someRecords)
    expect((await refused(altered(files, segment(1), undefined))).code).toBe('JOURNAL_LOST_RECORDS')
    const onlySnapshot = new Map(
      [
        ...(await written(async (journal) => {
          await appendEach(journal, 2)
          await journal.saveSnapshot(2, {})
        })),
      ].filter(([name]) => name.endsWith('.snapshot')),
    )
    expect((await refused(onlySnapshot)).details).toMatchObject({ lastSeq: 0, witnessedSeq: 2 })
  })
})

describe('a torn end', () => {
  const endings: Record<string, Buffer> = {
    'half a frame': Buffer.from('0badc0de\t{"seq":9,"rec'),
    zeros: Buffer.alloc(4096),
    'garbage with line feeds': Buffer.from(Array.from({ length: 3000 }, (_, at) => (at * 73) % 256)),
  }
  test.each(Object.entries(endings))('of %s is cut off, kept aside and reported', async (_, ending) => {
    const files = altered(await written(someRecords), 'head', undefined)
    const bytes = files.get(segment(1))!
    const disk = await diskWith(altered(files, segment(1), Buffer.concat([bytes, ending])))
    const journal = await open(disk)
    expect(journal.lastSeq).toBe(8)
    expect(journal.repaired).toMatchObject({
      file: `${directory}/${segment(1)}`,
      offset: bytes.length,
      bytes: ending.length,
    })
    expect(await disk.read(journal.repaired!.keptAs)).toEqual(ending)
    await appendEach(journal, 1)
    await journal.close()

    const again = await open(disk)
    expect(again.repaired).toBeNull()
    expect(seqs(await all(again.read()))).toEqual(range(1, 9))
  })

  test('that shows an old block of a removed file is torn, not damaged', async () => {
    const files = altered(await written(someRecords), 'head', undefined)
    const bytes = files.get(segment(1))!
    const old = findFrame(bytes, 2)!
    const stale = bytes.subarray(old.start, old.end + 1)
    const disk = await diskWith(altered(files, segment(1), Buffer.concat([bytes, stale])))
    const journal = await open(disk)
    expect(journal.lastSeq).toBe(8)
    expect(journal.repaired?.bytes).toBe(stale.length)
  })
})

describe('scenario Journal 4: a newer format', () => {
  test.each(['segment', 'snapshot', 'head'])('of a %s is named as such, refused, and left untouched', async (kind) => {
    const files = await written(async (journal) => {
      await appendEach(journal, 2)
      await journal.saveSnapshot(2, {})
      await appendEach(journal, 1)
    })
    const name = [...files.keys()].findLast((name) => name.endsWith(kind))!
    const newer = Buffer.from(
      files.get(name)!.toString().replace(`instar-${kind} 1 `, `instar-${kind} 12 other things `),
    )
    const disk = await diskWith(altered(files, name, newer))
    const before = await filesOf(disk)
    await expect(open(disk)).rejects.toMatchObject({
      code: 'JOURNAL_NEWER',
      message: `${directory}/${name} has format 12; this version knows format 1`,
    })
    expect(await codeOf(verifyJournal(directory, disk))).toBe('JOURNAL_NEWER')
    expect(await filesOf(disk)).toEqual(before)
  })
})

test('what was copied here without a flush is durable once the journal is open', async () => {
  const files = await written(async (journal) => {
    await appendEach(journal, 3)
    await journal.saveSnapshot(2, {})
    await appendEach(journal, 2)
  })
  for (let seed = 0; seed < 100; seed += 1) {
    const disk = await diskWith(new Map())
    for (const [name, bytes] of files) await disk.write(`${directory}/${name}`, bytes)
    expect((await open(disk)).lastSeq).toBe(5)
    const journal = await open(disk.crash(seed))
    expect(seqs(await all(journal.read()))).toEqual(range(1, 5))
    expect(journal.snapshot?.seq).toBe(2)
  }
})
