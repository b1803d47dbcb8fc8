import { basename, join } from 'node:path'
import { type Disk, makeDirectories, realDisk, replaceFile } from '../disk.ts'
import { listJournal } from './directory.ts'
import { encodeHead, encodeHeader, fileName, headName, lockName } from './format.ts'
import { acquireLock } from './lock.ts'
import { type JournalProblem, type JournalSurvey, joinRuns, type Row, type Run, surveyJournal } from './verify.ts'

export interface RepairReport {
  readonly directory: string
  /** False where there was nothing to repair; then nothing was touched. */
  readonly changed: boolean
  /** The journal as it was, every file of it. */
  readonly copy: string | null
  /** What was wrong. */
  readonly problems: readonly JournalProblem[]
  /** What the journal now begins and ends with; null where no record is left. */
  readonly firstSeq: number | null
  readonly lastSeq: number | null
  /** The newest state that is kept. */
  readonly snapshotSeq: number | null
  /** Records behind the new end that were there or were witnessed: their effects on the world are forgotten. */
  readonly lost: SeqRange | null
  /** Records before the new beginning. The state does not need them; the history has a beginning later than it had. */
  readonly lostHistory: SeqRange | null
}

export interface SeqRange {
  readonly from: number
  readonly to: number
}

/**
 * Makes a damaged journal one that opens again, with as much of its end as can be trusted: the longest unbroken row of
 * records that starts at record 1 or at a good snapshot. Everything behind the first damage after that point goes.
 *
 * First copies the whole journal beside itself; the name of the copy says when. May be interrupted at any point and run
 * again.
 *
 * @throws {InstarError} `HOME_LOCKED` while a controller runs, `JOURNAL_NEWER`.
 */
export async function repairJournal(directory: string, disk: Disk = realDisk): Promise<RepairReport> {
  using _lock = await acquireLock(directory, { purpose: 'repair' }, disk)
  const survey = await surveyJournal(directory, disk)
  const keep = choose(survey)
  const changed = survey.problems.length > 0 || survey.torn !== null
  const copy = changed ? await copyJournal(directory, disk) : null
  if (changed) await apply(directory, survey, keep, disk)
  return { directory, changed, copy, problems: survey.problems, ...outcome(survey, keep) }
}

/** What of a journal is to stay. */
interface Keep {
  readonly lastSeq: number
  /** The row of records; empty where only a snapshot is left, or nothing. */
  readonly parts: readonly Run[]
  readonly snapshots: readonly number[]
}

function choose({ segments, snapshots }: JournalSurvey): Keep {
  const rows = joinRuns(segments.flatMap((segment) => segment.runs))
  // Record 0 stands for the state before the first record, which needs no snapshot.
  const bases = [0, ...snapshots.map(({ seq }) => seq)]
  let best: Keep = { lastSeq: 0, parts: [], snapshots: [] }
  for (const base of bases) {
    // More than one where an interrupted repair has written a segment anew and not yet removed the old one.
    const row = rows
      .filter(({ firstSeq, lastSeq }) => firstSeq <= base + 1 && base <= lastSeq)
      .reduce<Row | undefined>(
        (best, row) => (best === undefined || row.lastSeq > best.lastSeq ? row : best),
        undefined,
      )
    const lastSeq = row?.lastSeq ?? base
    const first = row?.firstSeq ?? base + 1
    const usable = bases.filter((seq) => seq > 0 && seq >= first - 1 && seq <= lastSeq)
    if (lastSeq > best.lastSeq) best = { lastSeq, parts: row?.parts ?? [], snapshots: usable }
  }
  return best
}

async function apply(directory: string, survey: JournalSurvey, keep: Keep, disk: Disk): Promise<void> {
  const segments = new Map(survey.segments.map((segment) => [segment.first, segment]))
  const kept = new Set<string>(keep.snapshots.map((seq) => fileName('snapshot', seq)))

  for (const part of keep.parts) {
    const name = fileName('segment', part.firstSeq)
    kept.add(name)
    const segment = segments.get(part.segment)!
    const whole = part.firstSeq === segment.first && part.end === segment.bytes && segment.runs.length === 1
    if (whole && segment.problems.length === 0) continue
    const bytes = (await disk.read(segment.path)).subarray(part.start, part.end)
    await replaceFile(join(directory, name), Buffer.concat([encodeHeader('segment', part.firstSeq), bytes]), disk)
  }
  if (keep.parts.length === 0) {
    const name = fileName('segment', keep.lastSeq + 1)
    kept.add(name)
    await replaceFile(join(directory, name), encodeHeader('segment', keep.lastSeq + 1), disk)
  }

  const { segments: firsts, snapshots } = await listJournal(directory, disk)
  const names = [
    ...firsts.map((first) => fileName('segment', first)),
    ...snapshots.map((seq) => fileName('snapshot', seq)),
  ]
  for (const name of names) if (!kept.has(name)) await disk.remove(join(directory, name))
  await disk.flushDirectory(directory)
  await replaceFile(join(directory, headName), encodeHead({ seq: keep.lastSeq, closed: false }), disk)
}

async function copyJournal(directory: string, disk: Disk): Promise<string> {
  const when = new Date().toISOString().replaceAll(':', '-')
  const copy = join(directory, '..', `${basename(directory)}.before-repair-${when}`)
  await makeDirectories(copy, disk)
  for (const name of await disk.list(directory)) {
    if (name === lockName) continue
    await disk.write(join(copy, name), await disk.read(join(directory, name)))
    await disk.flush(join(copy, name))
  }
  await disk.flushDirectory(copy)
  return copy
}

function outcome(
  { segments, snapshots, head }: JournalSurvey,
  { lastSeq, parts, snapshots: kept }: Keep,
): Pick<RepairReport, 'firstSeq' | 'lastSeq' | 'snapshotSeq' | 'lost' | 'lostHistory'> {
  const seen = segments.flatMap((segment) => segment.runs.map((run) => run.lastSeq))
  const last = Math.max(lastSeq, head?.seq ?? 0, ...seen, ...snapshots.map(({ seq }) => seq))
  const began = Math.min(...segments.map(({ first }) => first))
  const begins = parts[0]?.firstSeq ?? lastSeq + 1
  return {
    firstSeq: parts[0]?.firstSeq ?? null,
    lastSeq: parts.length === 0 ? null : lastSeq,
    snapshotSeq: kept.at(-1) ?? null,
    lost: last > lastSeq ? { from: lastSeq + 1, to: last } : null,
    lostHistory: began < begins ? { from: began, to: begins - 1 } : null,
  }
}
