import { join } from 'node:path'
import type { Disk } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { damaged, type Listing, readHead, readSnapshot } from './directory.ts'
import { fileName, headName, type Snapshot } from './format.ts'
import { SegmentReader, tornEnd } from './segment.ts'

/** What there is to go on with. */
export interface Recovered {
  readonly lastSeq: number
  readonly snapshot: Snapshot | null
  /** Absent in a journal that has no segment yet. */
  readonly active?: ActiveSegment
  /** True where the last holder closed the journal and nothing was written since. */
  readonly closed: boolean
  /** What all this was read from. */
  readonly files: readonly string[]
}

export interface ActiveSegment {
  readonly first: number
  /** How much of it may be believed: a good header and whole frames, or nothing. */
  readonly goodBytes: number
  /** What lies behind that, torn by a crash. */
  readonly tornBytes: number
}

/**
 * Reads what a start needs and changes nothing: the head, the newest snapshot, and the segments that hold records
 * after it. Older ones are known by name alone; `verifyJournal` reads them.
 *
 * @throws {InstarError} `JOURNAL_NEWER`, `JOURNAL_DAMAGED`, `JOURNAL_LOST_RECORDS`
 */
export async function recover(directory: string, listing: Listing, disk: Disk): Promise<Recovered> {
  const head = listing.hasHead ? await readHead(directory, disk) : undefined
  const newest = listing.snapshots.at(-1)
  const snapshot = newest === undefined ? null : await readSnapshot(directory, newest, disk)
  const { lastSeq, active, segments } = await readTail(directory, listing.segments, snapshot?.seq ?? 0, disk)

  const witnessed = Math.max(head?.seq ?? 0, snapshot?.seq ?? 0)
  if (lastSeq < witnessed)
    throw new InstarError(
      'JOURNAL_LOST_RECORDS',
      `${directory} ends with record ${lastSeq}, but record ${witnessed} was durable once`,
      { details: { directory, lastSeq, witnessedSeq: witnessed } },
    )
  const closed = head?.closed === true && head.seq === lastSeq && active?.tornBytes === 0
  const names = segments.map((first) => fileName('segment', first))
  if (newest !== undefined) names.push(fileName('snapshot', newest))
  if (head !== undefined) names.push(headName)
  return { lastSeq, snapshot, ...(active && { active }), closed, files: names.map((name) => join(directory, name)) }
}

interface Tail {
  readonly lastSeq: number
  readonly active?: ActiveSegment
  /** First seqs of those that were read. */
  readonly segments: readonly number[]
}

async function readTail(directory: string, segments: readonly number[], after: number, disk: Disk): Promise<Tail> {
  if (segments.length === 0) return { lastSeq: 0, segments }
  const start = segments.findLastIndex((first) => first <= after + 1)
  if (start < 0) {
    const path = join(directory, fileName('segment', segments[0]!))
    throw damaged(path, `the records from ${after + 1} to ${segments[0]! - 1} are missing before it`)
  }
  for (let at = start; at < segments.length - 1; at += 1) {
    await readWhole(directory, segments[at]!, segments[at + 1]!, disk)
  }
  const active = await readActive(directory, segments.at(-1)!, disk)
  return { ...active, segments: segments.slice(start) }
}

/** An older segment was finished before the next one was begun, so nothing in it can be torn. */
async function readWhole(directory: string, first: number, nextFirst: number, disk: Disk): Promise<void> {
  const reader = await SegmentReader.open(directory, first, disk)
  try {
    const end = await reader.size()
    while ((await reader.frames(end)).length > 0);
    if (reader.offset < end) {
      await tornEnd(reader, end)
      throw damaged(reader.path, `record ${reader.nextSeq} cannot be read`, reader.place)
    }
    if (reader.nextSeq !== nextFirst)
      throw damaged(reader.path, `ends before record ${reader.nextSeq}, the next segment begins with ${nextFirst}`)
  } finally {
    await reader.close()
  }
}

async function readActive(directory: string, first: number, disk: Disk): Promise<Omit<Tail, 'segments'>> {
  const reader = await SegmentReader.open(directory, first, disk)
  try {
    const end = await reader.size()
    while ((await reader.frames(end)).length > 0);
    const tornBytes = (await tornEnd(reader, end)).length
    return { lastSeq: reader.nextSeq - 1, active: { first, goodBytes: reader.offset, tornBytes } }
  } finally {
    await reader.close()
  }
}
