import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readdir, readlink, realpath } from 'node:fs/promises'
import { isAbsolute, join, sep } from 'node:path'
import { InstarError } from '../errors.ts'
import { inParallel } from '../in-parallel.ts'

/**
 * The listing of a tree, format 1. UTF-8 text; its SHA-256 in hex is the digest of the tree.
 *
 *   instar-tree 1 LF               first line: name and format number
 *   type SP hash SP path LF        every other line, ordered by path (UTF-16 code units)
 *
 *   type   - file, x file that its owner may execute, d folder, l symlink
 *   hash   SHA-256 in hex of the file's bytes, or of the symlink's target as UTF-8; `-` for a folder
 *   path   below the root, with / between names, as a JSON string
 *
 * Times, owners and the other permission bits are left out, so a tree has one digest on every machine. The root itself
 * has no line. Only files, folders and relative symlinks that stay inside may be listed: what a symlink outside points
 * at could change without the digest changing.
 */
export interface Tree {
  readonly digest: string
  readonly listing: string
  readonly files: number
  readonly bytes: number
}

const head = 'instar-tree 1'

/**
 * Reads and hashes everything below `root`, but what lies right in it under one of the names in `except`.
 *
 * @throws {InstarError} `RELEASE_UNSAFE` for a device, socket, pipe or symlink that is absolute, dangling or leads outside.
 */
export async function readTree(root: string, signal?: AbortSignal, except: readonly string[] = []): Promise<Tree> {
  const all = await walk(await realpath(root), '')
  const entries = all.filter(({ path }) => !except.includes(path))
  const read = await inParallel(filesAtOnce, entries, async (entry) => {
    signal?.throwIfAborted()
    return { ...(await readEntry(entry)), path: entry.path }
  })
  const listing = encodeListing(read)
  const files = entries.filter(({ type }) => type === 'file').length
  const bytes = read.reduce((sum, { size }) => sum + size, 0)
  return { digest: digestOf(listing), listing, files, bytes }
}

/** One line of a listing. */
export interface ListedEntry {
  readonly mark: '-' | 'x' | 'd' | 'l'
  readonly hash: string
  readonly path: string
}

export function encodeListing(entries: readonly ListedEntry[]): string {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : 1))
  const lines = sorted.map(({ mark, hash, path }) => `${mark} ${hash} ${JSON.stringify(path)}`)
  return `${[head, ...lines].join('\n')}\n`
}

export const decodeListing = (listing: string): ListedEntry[] =>
  listing
    .split('\n')
    .slice(1, -1)
    .map((line) => {
      const path = pathIn(line)
      const [mark, hash] = line.slice(0, -path.length).split(' ')
      return { mark: mark as ListedEntry['mark'], hash: hash!, path: JSON.parse(path) }
    })

/** More than the four threads of Node's pool keep it busy; beyond this nothing gets faster (measured). */
export const filesAtOnce = 8

export const digestOf = (listing: string) => createHash('sha256').update(listing).digest('hex')

/** What differs between a sealed listing and the one found now, one sentence per path, at most `limit` of them. */
export function differences(sealed: string, found: string, limit = 10): string[] {
  const before = linesByPath(sealed)
  const after = linesByPath(found)
  const sentences = [
    ...[...before].filter(([path]) => !after.has(path)).map(([path]) => `${path} is missing`),
    ...[...before]
      .filter(([path, line]) => after.has(path) && after.get(path) !== line)
      .map(([path]) => `${path} was altered`),
    ...[...after].filter(([path]) => !before.has(path)).map(([path]) => `${path} was added`),
  ]
  const more = sentences.length - limit
  return more > 0 ? [...sentences.slice(0, limit), `and ${more} more`] : sentences
}

const linesByPath = (listing: string) =>
  new Map(
    listing
      .split('\n')
      .slice(1, -1)
      .map((line) => [pathIn(line), line] as const),
  )

const pathIn = (line: string) => line.slice(line.indexOf('"'))

interface Entry {
  readonly root: string
  readonly path: string
  readonly type: 'file' | 'folder' | 'symlink'
}

async function walk(root: string, folder: string): Promise<Entry[]> {
  const found: Entry[] = []
  for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    // Node writes U+FFFD for bytes that are not UTF-8; the file could not be found again by that name.
    if (path.includes('\uFFFD')) throw new InstarError('RELEASE_UNSAFE', `${path} is not named in UTF-8`)
    if (entry.isFile()) found.push({ root, path, type: 'file' })
    else if (entry.isSymbolicLink()) found.push({ root, path, type: 'symlink' })
    else if (entry.isDirectory()) found.push({ root, path, type: 'folder' }, ...(await walk(root, path)))
    else throw new InstarError('RELEASE_UNSAFE', `${path} is neither a file nor a folder`)
  }
  return found
}

type EntryRead = Omit<ListedEntry, 'path'> & { readonly size: number }

async function readEntry({ root, path, type }: Entry): Promise<EntryRead> {
  if (type === 'folder') return { mark: 'd', hash: '-', size: 0 }
  if (type === 'file') return readFileEntry(join(root, path))
  const target = await readlink(join(root, path))
  const leadsTo = await realpath(join(root, path)).catch(() => null)
  if (isAbsolute(target) || leadsTo === null || !`${leadsTo}${sep}`.startsWith(`${root}${sep}`))
    throw new InstarError('RELEASE_UNSAFE', `${path} is a symlink that leads outside or nowhere`, {
      details: { target },
    })
  return { mark: 'l', hash: digestOf(target), size: 0 }
}

const chunkBytes = 256 * 1024

async function readFileEntry(path: string): Promise<EntryRead> {
  // Never through a symlink that took the file's place after the walk.
  const handle = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0))
  try {
    const { size, mode } = await handle.stat()
    const hash = createHash('sha256')
    const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, size))
    let total = 0
    while (total < size) {
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, null)
      if (bytesRead === 0) break
      hash.update(chunk.subarray(0, bytesRead))
      total += bytesRead
    }
    return { mark: mode & 0o100 ? 'x' : '-', hash: hash.digest('hex'), size: total }
  } finally {
    await handle.close()
  }
}
