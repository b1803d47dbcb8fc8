import { join } from 'node:path'
import type { Disk } from '../disk.ts'
import { InstarError } from '../errors.ts'
import {
  decodeHead,
  decodeSnapshot,
  draftPrefix,
  fileName,
  type Head,
  headName,
  type Snapshot,
  seqOfName,
} from './format.ts'

/** What the names in a journal's directory say. */
export interface Listing {
  /** First seq of each segment, ascending. */
  readonly segments: number[]
  /** Seq of each snapshot, ascending. */
  readonly snapshots: number[]
  readonly hasHead: boolean
  readonly drafts: string[]
}

export async function listJournal(directory: string, disk: Disk): Promise<Listing> {
  const names = await disk.list(directory)
  const seqs = (kind: 'segment' | 'snapshot') =>
    names
      .map((name) => seqOfName(kind, name))
      .filter((seq) => seq !== undefined)
      .sort((a, b) => a - b)
  return {
    segments: seqs('segment'),
    snapshots: seqs('snapshot'),
    hasHead: names.includes(headName),
    drafts: names.filter((name) => name.startsWith(draftPrefix)),
  }
}

/** @throws {InstarError} `JOURNAL_DAMAGED`: a snapshot appears whole or not at all, so a bad one is never passed over. */
export async function readSnapshot(directory: string, seq: number, disk: Disk): Promise<Snapshot> {
  const path = join(directory, fileName('snapshot', seq))
  const found = decodeSnapshot(await disk.read(path), seq, path)
  if (found === undefined) throw damaged(path, 'the snapshot is not what was written')
  return found
}

/** @throws {InstarError} `JOURNAL_DAMAGED` */
export async function readHead(directory: string, disk: Disk): Promise<Head> {
  const path = join(directory, headName)
  const found = decodeHead(await disk.read(path), path)
  if (found === undefined) throw damaged(path, 'the head is not what was written')
  return found
}

/** Where in a file the damage is; lines count from 1, bytes from 0. */
export interface Place {
  readonly line: number
  readonly offset: number
}

export function damaged(path: string, what: string, place?: Place, details?: Record<string, unknown>): InstarError {
  const where = place === undefined ? path : `${path}, line ${place.line}, byte ${place.offset}`
  return new InstarError('JOURNAL_DAMAGED', `${where}: ${what}`, { details: { file: path, ...place, ...details } })
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
}
