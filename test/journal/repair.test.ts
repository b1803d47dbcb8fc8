import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fileName } from '../../src/journal/format.ts'
import { exportJournal, type Journal, repairJournal, verifyJournal } from '../../src/journal/index.ts'
import { SimulatedDisk } from '../../src/testing/disk.ts'
import {
  all,
  altered,
  appendEach,
  directory,
  diskWith,
  type Files,
  filesOf,
  open,
  range,
  seqs,
  written,
} from './files.ts'

const segment = (first: number) => fileName('segment', first)

/** Records 1 to 18 in segments that begin with 1, 7 and 13, snapshots of 6 and 12. */
const threeSegments = (journal: Journal) =>
  (async () => {
    for (const upTo of [6, 12]) {
      await appendEach(journal, 6)
      await journal.saveSnapshot(upTo, { upTo })
    }
    await appendEach(journal, 6)
  })()

const flipped = (files: Files, name: string, at: number): Files => {
  const bytes = Buffer.from(files.get(name)!)
  bytes[at] = bytes[at]! ^ 0x10
  return altered(files, name, bytes)
}

describe('verify', () => {
  test('counts what there is', async () => {
    const files = await written(threeSegments)
    const report = await verifyJournal(directory, await diskWith(files))
    expect(report).toMatchObject({
      sound: true,
      firstSeq: 1,
      lastSeq: 18,
      frames: 18,
      records: 18,
      head: { seq: 18, closed: true },
      torn: null,
      problems: [],
    })
    expect(report.segments.map(({ file, records }) => [file, records])).toEqual([
      [`${directory}/${segment(1)}`, 6],
      [`${directory}/${segment(7)}`, 6],
      [`${directory}/${segment(13)}`, 6],
    ])
    expect(report.snapshots.map(({ seq }) => seq)).toEqual([6, 12])
    expect(report.bytes).toBe(
      [...files].filter(([name]) => name !== 'head').reduce((sum, [, bytes]) => sum + bytes.length, 0),
    )
  })

  test('names every damage, not only the first, by file, line and byte', async () => {
    let files = await written(threeSegments)
    files = flipped(files, segment(1), 60)
    files = flipped(files, segment(7), 60)
    files = flipped(files, fileName('snapshot', 6), 40)
    const { sound, problems, records } = await verifyJournal(directory, await diskWith(files))
    expect(sound).toBe(false)
    expect(records).toBe(16)
    expect(problems.map(({ file, ...rest }) => ({ file: file.slice(directory.length + 1), ...rest }))).toEqual([
      { file: fileName('snapshot', 6), message: 'is not what was written' },
      { file: segment(1), line: 3, offset: 58, message: 'record 2 is missing before record 3' },
      { file: segment(7), line: 3, offset: 58, message: 'record 8 is missing before record 9' },
    ])
  })

  test('tells a torn end from damage', async () => {
    const files = altered(await written(threeSegments), 'head', undefined)
    const bytes = files.get(segment(13))!
    const report = await verifyJournal(directory, await diskWith(altered(files, segment(13), bytes.subarray(0, -3))))
    expect(report).toMatchObject({ sound: true, lastSeq: 17, torn: { file: `${directory}/${segment(13)}`, line: 7 } })
  })

  test('says when records that were durable are gone', async () => {
    const files = await written(threeSegments)
    const report = await verifyJournal(directory, await diskWith(altered(files, segment(13), undefined)))
    expect(report.problems).toEqual([
      { file: `${directory}/${segment(7)}`, message: 'ends with record 12, but record 18 was durable once' },
    ])
  })
})

describe('repair', () => {
  const repaired = async (files: Files) => {
    const disk = await diskWith(files)
    const report = await repairJournal(directory, disk)
    if (report.copy !== null) {
      for (const [name, bytes] of files) expect(await disk.read(join(report.copy, name))).toEqual(bytes)
    }
    expect((await verifyJournal(directory, disk)).problems).toEqual([])
    const journal = await open(disk)
    const records = await all(journal.read())
    expect(records.map(({ n }) => n)).toEqual(seqs(records))
    await appendEach(journal, 1)
    await journal.close()
    return { report, records: seqs(records), snapshot: journal.snapshot }
  }

  test('leaves a sound journal as it is', async () => {
    const files = await written(threeSegments)
    const disk = await diskWith(files)
    expect(await repairJournal(directory, disk)).toMatchObject({ changed: false, copy: null, lastSeq: 18, lost: null })
    expect(await filesOf(disk)).toEqual(files)
    expect(await disk.list('/home')).toEqual(['journal'])
  })

  test('keeps a copy that says when, cuts at the damage, and says what was lost', async () => {
    const files = flipped(await written(threeSegments), segment(13), 100)
    const { report, records, snapshot } = await repaired(files)
    expect(report.copy).toMatch(/^\/home\/journal\.before-repair-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z$/)
    expect(report).toMatchObject({
      changed: true,
      firstSeq: 1,
      lastSeq: 13,
      lost: { from: 14, to: 18 },
      lostHistory: null,
    })
    expect(records).toEqual(range(1, 13))
    expect(snapshot).toEqual({ seq: 12, state: { upTo: 12 } })
  })

  test('gives up history before it gives up state', async () => {
    const files = flipped(await written(threeSegments), segment(7), 100)
    const { report, records, snapshot } = await repaired(files)
    expect(report).toMatchObject({ lastSeq: 18, lost: null, lostHistory: { from: 1, to: 9 }, snapshotSeq: 12 })
    expect(records).toEqual(range(10, 18))
    expect(snapshot).toEqual({ seq: 12, state: { upTo: 12 } })
  })

  test('goes on from a snapshot alone where no record after it is left', async () => {
    const files = altered(altered(await written(threeSegments), segment(13), undefined), segment(7), Buffer.from('x'))
    const { report, records, snapshot } = await repaired(files)
    expect(report).toMatchObject({ firstSeq: null, lastSeq: null, snapshotSeq: 12, lost: { from: 13, to: 18 } })
    expect(records).toEqual([])
    expect(snapshot?.seq).toBe(12)
  })

  test('accepts a loss that the witness reports', async () => {
    const files = altered(await written(threeSegments), segment(13), undefined)
    const { report, records } = await repaired(files)
    expect(report.lost).toEqual({ from: 13, to: 18 })
    expect(records).toEqual(range(1, 12))
  })

  test('makes any damaged journal one that opens, also when it is interrupted on the way', async () => {
    const sound = await written(threeSegments)
    const names = [...sound.keys()]
    const damage = fc.record({
      name: fc.constantFrom(...names),
      at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      kind: fc.constantFrom('flip', 'cut', 'gone', 'zeros'),
    })
    const apply = (
      files: Files,
      { name, at, kind }: typeof damage extends fc.Arbitrary<infer T> ? T : never,
    ): Files => {
      const bytes = files.get(name)
      if (bytes === undefined || bytes.length === 0) return files
      const place = Math.floor(at * bytes.length)
      if (kind === 'flip') return flipped(files, name, place)
      if (kind === 'cut') return altered(files, name, bytes.subarray(0, place))
      if (kind === 'gone') return altered(files, name, undefined)
      return altered(files, name, Buffer.from(bytes).fill(0, place, Math.min(place + 40, bytes.length)))
    }
    await fc.assert(
      fc.asyncProperty(
        fc.array(damage, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 80 }),
        fc.nat(),
        async (damages, interruptedAt, seed) => {
          const files = damages.reduce(apply, sound)
          // A flipped format number says that a newer version wrote this, and that is believed.
          fc.pre([...files.values()].every((bytes) => !/^instar-\w+ (?!1 )\d+/.test(bytes.toString('latin1'))))
          const disk = await diskWith(files)
          const whole = await repairJournal(directory, disk)
          expect((await verifyJournal(directory, disk)).problems).toEqual([])

          const other = await diskWith(files)
          other.inject({ at: other.operations + interruptedAt, code: 'POWER' })
          await Promise.race([repairJournal(directory, other), other.end])
          const after = other.crash(seed)
          const again = await repairJournal(directory, after)
          const journal = await open(after)
          expect(journal.lastSeq).toBe(Math.max(whole.lastSeq ?? 0, whole.snapshotSeq ?? 0))
          expect(again.lastSeq).toBe(whole.lastSeq)
          await journal.close()
        },
      ),
      { numRuns: 200 },
    )
  })
})

test('export gives one line of JSON for each record', async () => {
  const disk = await diskWith(await written((journal) => journal.append([{ a: 1 }, { b: [2] }])))
  expect(await all(exportJournal(directory, {}, disk))).toEqual(['{"seq":1,"a":1}\n', '{"seq":2,"b":[2]}\n'])
  expect(await all(exportJournal(directory, { from: 2 }, disk))).toHaveLength(1)
  await expect(all(exportJournal(directory, {}, new SimulatedDisk()))).rejects.toMatchObject({ code: 'ENOENT' })
})
