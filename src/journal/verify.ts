import { join } from 'node:path'
import { type Disk, realDisk } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { listJournal, type Place, readHead, readSnapshot } from './directory.ts'
import { fileName, findFrame, type Head, headName } from './format.ts'
import { SegmentReader } from './segment.ts'

export interface JournalProblem {
  readonly file: string
  /** Counted from 1. */
  readonly line?: number
  /** Counted from 0. */
  readonly offset?: number
  readonly message: string
}

export interface JournalReport {
  readonly directory: string
  /** True where a controller would open this journal and lose nothing that was acknowledged. */
  readonly sound: boolean
  readonly segments: readonly { file: string; bytes: number; frames: number; records: number }[]
  readonly snapshots: readonly { file: string; seq: number; bytes: number }[]
  readonly head: Head | null
  /** First and last record of the unbroken part that the journal ends with; null where there is no record. */
  readonly firstSeq: number | null
  readonly lastSeq: number | null
  readonly frames: number
  readonly records: number
  readonly bytes: number
  /** A commit without its end: a controller is writing it, or a crash tore it and the next opening cuts it off. */
  readonly torn: {
    readonly file: string
    readonly line: number
    readonly offset: number
    readonly bytes: number
  } | null
  readonly problems: readonly JournalProblem[]
}

/**
 * Reads every byte of a journal and says all that is wrong with it. Takes no lock and changes nothing; beside a running
 * controller it may call the commit that is being written torn.
 *
 * @throws {InstarError} `JOURNAL_NEWER`. Damage is in the report, never thrown.
 */
export async function verifyJournal(directory: string, disk: Disk = realDisk): Promise<JournalReport> {
  const survey = await surveyJournal(directory, disk)
  const { segments, snapshots, head, torn, problems } = survey
  const runs = joinRuns(segments.flatMap((segment) => segment.runs))
  const last = runs.at(-1)
  const total = (part: (segment: SegmentSurvey) => number) => segments.reduce((sum, each) => sum + part(each), 0)
  return {
    directory,
    sound: problems.length === 0,
    segments: segments.map(({ path, bytes, frames, records }) => ({ file: path, bytes, frames, records })),
    snapshots: snapshots.map(({ path, seq, bytes }) => ({ file: path, seq, bytes })),
    head,
    firstSeq: last?.firstSeq ?? null,
    lastSeq: last?.lastSeq ?? null,
    frames: total((segment) => segment.frames),
    records: total((segment) => segment.records),
    bytes: total((segment) => segment.bytes) + snapshots.reduce((sum, { bytes }) => sum + bytes, 0),
    torn,
    problems,
  }
}

/** Frames that follow each other without damage between them, in one segment. */
export interface Run {
  readonly segment: number
  readonly firstSeq: number
  readonly lastSeq: number
  readonly start: number
  readonly end: number
}

export interface SegmentSurvey {
  readonly first: number
  readonly path: string
  readonly bytes: number
  readonly frames: number
  readonly records: number
  readonly runs: readonly Run[]
  /** Where the last run ends; what lies behind it, if anything, holds no frame. */
  readonly end: Place
  readonly problems: readonly JournalProblem[]
}

export interface JournalSurvey {
  readonly segments: readonly SegmentSurvey[]
  /** The good ones, oldest first. */
  readonly snapshots: readonly { path: string; seq: number; bytes: number }[]
  readonly head: Head | null
  readonly torn: JournalReport['torn']
  readonly problems: readonly JournalProblem[]
}

/** Everything that can be said about a journal's files: what `verify` reports and `repair` decides upon. */
export async function surveyJournal(directory: string, disk: Disk): Promise<JournalSurvey> {
  const listing = await listJournal(directory, disk)
  const problems: JournalProblem[] = []

  const head = listing.hasHead ? await noting(problems, join(directory, headName), readHead(directory, disk)) : null
  const snapshots: { path: string; seq: number; bytes: number }[] = []
  for (const seq of listing.snapshots) {
    const path = join(directory, fileName('snapshot', seq))
    if ((await noting(problems, path, readSnapshot(directory, seq, disk))) !== null)
      snapshots.push({ path, seq, bytes: (await disk.read(path)).length })
  }

  const segments: SegmentSurvey[] = []
  let torn: JournalReport['torn'] = null
  for (const [at, first] of listing.segments.entries()) {
    const survey = await surveySegment(directory, first, disk)
    segments.push(survey)
    problems.push(...survey.problems)
    const { path, bytes, end } = survey
    const rest = bytes - end.offset
    const nextFirst = listing.segments[at + 1]
    if (nextFirst === undefined) {
      if (rest > 0) torn = { file: path, ...end, bytes: rest }
    } else {
      const nextSeq = (survey.runs.at(-1)?.lastSeq ?? first - 1) + 1
      if (rest > 0) problems.push({ file: path, ...end, message: `${rest} bytes hold no frame` })
      if (nextSeq !== nextFirst)
        problems.push({
          file: path,
          message: `ends before record ${nextSeq}, the next segment begins with ${nextFirst}`,
        })
    }
  }

  // As at opening: the newest snapshot needs all that follows it, and without one the first record is needed.
  const newest = snapshots.at(-1)?.seq ?? 0
  const oldest = segments[0]
  if (oldest !== undefined && oldest.first > newest + 1)
    problems.push({
      file: oldest.path,
      message: `the records from ${newest + 1} to ${oldest.first - 1} are missing before it`,
    })
  const last = segments.at(-1)
  const lastSeq = last?.runs.at(-1)?.lastSeq ?? (last?.first ?? 1) - 1
  const witnessed = Math.max(head?.seq ?? 0, newest)
  if (lastSeq < witnessed)
    problems.push({
      file: last?.path ?? directory,
      message: `ends with record ${lastSeq}, but record ${witnessed} was durable once`,
    })
  return { segments, snapshots, head, torn, problems }
}

async function surveySegment(directory: string, first: number, disk: Disk): Promise<SegmentSurvey> {
  const reader = await SegmentReader.open(directory, first, disk)
  const { path } = reader
  const runs: Run[] = []
  const problems: JournalProblem[] = []
  let frames = 0
  let records = 0
  try {
    const bytes = await reader.size()
    for (;;) {
      let run: Run | undefined
      for (let some = await reader.frames(bytes); some.length > 0; some = await reader.frames(bytes)) {
        run ??= { segment: first, firstSeq: some[0]!.seq, lastSeq: 0, start: some[0]!.offset, end: 0 }
        frames += some.length
        records += some.reduce((sum, frame) => sum + frame.records.length, 0)
      }
      if (run !== undefined) runs.push({ ...run, lastSeq: reader.nextSeq - 1, end: reader.offset })
      const rest = await reader.rest(bytes)
      const next = findFrame(rest, reader.nextSeq)
      const bad = reader.place
      // A frame without its LF is no place to go on from.
      if (next === undefined || next.end === rest.length) {
        if (next !== undefined)
          problems.push({ file: path, ...bad, message: `record ${reader.nextSeq} cannot be read` })
        return { first, path, bytes, frames, records, runs, end: bad, problems }
      }
      const { seq } = next.frame
      problems.push({ file: path, ...bad, message: `${missingFrom(reader.nextSeq, seq - 1)} before record ${seq}` })
      const lines = rest.subarray(0, next.start).toString('latin1').split('\n').length - 1
      reader.resumeAt({ line: bad.line + lines, offset: bad.offset + next.start }, seq)
    }
  } finally {
    await reader.close()
  }
}

function missingFrom(from: number, to: number): string {
  if (from > to) return 'bytes that hold no frame'
  return from === to ? `record ${from} is missing` : `records ${from} to ${to} are missing`
}

export interface Row {
  readonly firstSeq: number
  lastSeq: number
  readonly parts: Run[]
}

/** Runs that continue each other across segments, as one. */
export function joinRuns(runs: readonly Run[]): Row[] {
  const joined: Row[] = []
  for (const run of runs) {
    const before = joined.at(-1)
    if (before?.lastSeq === run.firstSeq - 1) {
      before.lastSeq = run.lastSeq
      before.parts.push(run)
    } else joined.push({ firstSeq: run.firstSeq, lastSeq: run.lastSeq, parts: [run] })
  }
  return joined
}

async function noting<Found>(problems: JournalProblem[], file: string, reading: Promise<Found>): Promise<Found | null> {
  try {
    return await reading
  } catch (error) {
    if (!(error instanceof InstarError) || error.code !== 'JOURNAL_DAMAGED') throw error
    problems.push({ file, message: 'is not what was written' })
    return null
  }
}
