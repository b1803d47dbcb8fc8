import { join } from 'node:path'
import type { Disk } from '../../src/disk.ts'
import { type Journal, type JournalOptions, type JournalRecord, openJournal } from '../../src/journal/index.ts'
import { SimulatedDisk } from '../../src/testing/disk.ts'

/** Where the tests keep a journal on a simulated disk. */
export const directory = '/home/journal'

export type Files = ReadonlyMap<string, Buffer>

/** What a journal's directory holds, by name. */
export async function filesOf(disk: Disk): Promise<Files> {
  const files = new Map<string, Buffer>()
  for (const name of (await disk.list(directory)).sort()) files.set(name, await disk.read(join(directory, name)))
  return files
}

/** A disk with just these files in the journal's directory. */
export async function diskWith(files: Files): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk()
  await disk.makeDirectory('/home')
  await disk.makeDirectory(directory)
  for (const [name, bytes] of files) {
    await disk.write(join(directory, name), bytes)
    await disk.flush(join(directory, name))
  }
  for (const path of [directory, '/home', '/']) await disk.flushDirectory(path)
  return disk
}

export const altered = (files: Files, name: string, bytes: Buffer | undefined): Files => {
  const others = new Map(files)
  if (bytes === undefined) others.delete(name)
  else others.set(name, bytes)
  return others
}

/** Without room behind the frames, where a test does not ask for it: then a file is just what was committed. */
export const open = (disk: Disk, options: Partial<JournalOptions> = {}): Promise<Journal> =>
  openJournal({ directory, disk, roomBytes: 0, ...options })

/** Appends `count` records, one commit each, numbered by `n` from where the journal is. */
export async function appendEach(journal: Journal, count: number): Promise<void> {
  for (let left = count; left > 0; left -= 1) await journal.append([{ n: journal.lastSeq + 1 }])
}

/** The files of a journal that was written and closed in order. */
export async function written(
  write: (journal: Journal) => Promise<void>,
  options: Partial<JournalOptions> = {},
): Promise<Files> {
  const disk = new SimulatedDisk()
  const journal = await open(disk, options)
  await write(journal)
  await journal.close()
  return filesOf(disk)
}

export async function all<Item>(source: AsyncIterable<Item>): Promise<Item[]> {
  const items: Item[] = []
  for await (const item of source) items.push(item)
  return items
}

export const seqs = (records: readonly JournalRecord[]): number[] => records.map(({ seq }) => seq)

export const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, at) => from + at)

/** The code that `doing` is refused with. */
export async function codeOf(doing: Promise<unknown>): Promise<string> {
  return doing.then(
    () => 'done',
    (error: NodeJS.ErrnoException) => error.code ?? error.message,
  )
}
