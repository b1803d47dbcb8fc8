import { stat } from 'node:fs/promises'
import type { ReadEntry } from 'tar'
import { InstarError } from '../errors.ts'
import { throwIfAborted } from './aborted.ts'
import type { Inflated } from './inflated.ts'
import type { TreeLimits } from './limits.ts'

/** One thing to create. `path` is relative, with `/` between names, and safe to join to any directory. */
export type ArchiveItem =
  | { readonly type: 'directory'; readonly path: string }
  | { readonly type: 'file'; readonly path: string; readonly executable: boolean }

/** Told about an archive in its order. Content follows its file in parts; `whole` ends it. */
export interface ArchiveVisitor {
  item(item: ArchiveItem): void
  content(bytes: Buffer): void
  whole(): void
  /** Called between portions of the archive, so that nothing piles up. */
  settle(): Promise<void>
}

export interface ArchiveSize {
  readonly files: number
  readonly bytes: number
}

/** The seal that an installed plugin has in its own tree: no package may bring one. Compared without case. */
const reserved = '.complete'

/**
 * Reads a package's tarball from the first byte to the last and refuses whatever no package needs. Writes nothing: what
 * to do with the content is the visitor's matter, and without one this only inspects.
 *
 * The first name of each path (`package/` from npm, something else from other packers) is left out; like npm, what
 * lies beside that folder is passed over.
 *
 * @throws {InstarError} `TARBALL_INVALID`, `TREE_UNSAFE`, `TREE_TOO_LARGE`, `TREE_TOO_MANY_FILES`, `TREE_BOMB`, `ABORTED`.
 */
export async function readArchive(
  archive: Inflated,
  limits: TreeLimits,
  signal: AbortSignal | undefined,
  visitor?: ArchiveVisitor,
): Promise<ArchiveSize> {
  throwIfAborted(signal)
  const { Parser } = await import('tar')
  const { size: compressedBytes } = await stat(archive.file)
  const tree = new TreeRules(limits)

  // Strict: what the parser would only warn about (a bad checksum, a cut entry) is an error.
  const parser = new Parser({ strict: true, zstd: false, brotli: false })
  let problem: Error | undefined
  parser.on('error', (error: Error) => {
    problem ??= new InstarError('TARBALL_INVALID', 'the package is not a whole tar archive', { cause: error })
  })
  const judged = <T>(judge: () => T): T | null => {
    if (problem) return null
    try {
      return judge()
    } catch (error) {
      problem = error as Error
      return null
    }
  }
  parser.on('ignoredEntry', (entry: ReadEntry) => judged(() => tree.refuse(entry)))
  parser.on('entry', (entry: ReadEntry) => {
    const item = judged(() => tree.admit(entry))
    if (item && visitor) {
      visitor.item(item)
      if (item.type === 'file') {
        entry.on('end', () => visitor.whole())
        entry.on('data', (bytes) => visitor.content(bytes as Buffer))
      }
    }
    entry.resume() // an entry nobody reads would hold up those behind it
  })

  let bytes = 0
  try {
    for await (const portion of archive) {
      throwIfAborted(signal)
      bytes += portion.length
      if (bytes > limits.ratioFreeBytes && bytes > compressedBytes * limits.ratio)
        throw new InstarError('TREE_BOMB', `${compressedBytes} bytes expand to more than ${limits.ratio} times as many`)
      // What entries say of their size needs no limit: content that is not in the archive makes it a cut one.
      if (bytes > limits.bytes)
        throw new InstarError('TREE_TOO_LARGE', `the package unpacks to more than ${limits.bytes} bytes`, {
          details: { limit: limits.bytes },
        })
      parser.write(portion)
      if (problem) throw problem
      await visitor?.settle()
    }
  } catch (error) {
    if (!String((error as NodeJS.ErrnoException).code).startsWith('Z_')) throw error
    throw new InstarError('TARBALL_INVALID', 'the package is not a whole gzip file', { cause: error })
  }
  parser.end()
  if (problem) throw problem
  await visitor?.settle()
  return { files: tree.files, bytes: tree.bytes }
}

const kinds = new Map<string, ArchiveItem['type']>([
  ['File', 'file'],
  ['OldFile', 'file'],
  ['ContiguousFile', 'file'],
  ['Directory', 'directory'],
])

/** Judges entry after entry against the limits and against what the same archive already held. */
class TreeRules {
  files = 0
  bytes = 0
  readonly #limits: TreeLimits
  #entries = 0
  /** By the name as the least discerning file system compares it: where it was first seen, and as what. */
  readonly #seen = new Map<string, { readonly path: string; readonly type: ArchiveItem['type'] }>()

  /** Those on the way to something, exactly as spelled: asked for each entry, so not by the slower comparison above. */
  readonly #folders = new Set<string>()

  constructor(limits: TreeLimits) {
    this.#limits = limits
  }

  admit(entry: ReadEntry): ArchiveItem | null {
    this.#count()
    const type = kinds.get(entry.type)
    if (type === undefined) return this.refuse(entry)
    const names = this.#names(entry.path)
    if (names.length === 0) return null
    this.#claimFolders(names.slice(0, -1))
    const path = names.join('/')
    this.#claim(path, type)
    if (type === 'directory') return { type, path }
    this.files += 1
    this.bytes += entry.size
    return { type, path, executable: ((entry.mode ?? 0) & 0o111) !== 0 }
  }

  /** For what the parser itself passes over: types it does not know, metadata out of all proportion. */
  refuse(entry: ReadEntry): never {
    throw unsafe(entry.path, `is an entry of type ${entry.type}`)
  }

  #count(): void {
    this.#entries += 1
    const { entries } = this.#limits
    if (this.#entries > entries)
      throw new InstarError('TREE_TOO_MANY_FILES', `the package has more than ${entries} files and directories`, {
        details: { limit: entries },
      })
  }

  /** The names below the package's own folder, each of them harmless. */
  #names(path: string): string[] {
    const names = safeNames(path, this.#limits)
    const { depth } = this.#limits
    if (names.length > depth + 2) throw unsafe(path, `lies more than ${depth} directories deep`)
    if (names[1] !== undefined && folded(names[1]) === reserved)
      throw unsafe(path, 'takes the name of the seal that only an installer may give')
    return names.slice(1)
  }

  #claimFolders(names: readonly string[]): void {
    const path = names.join('/')
    if (names.length === 0 || this.#folders.has(path)) return
    this.#claimFolders(names.slice(0, -1))
    // A folder that is only implied costs as much to create as one that is listed.
    if (this.#claim(path, 'directory')) this.#count()
    this.#folders.add(path)
  }

  /** Takes a name for one thing; true where it was free. Only a directory may be named again. */
  #claim(path: string, type: ArchiveItem['type']): boolean {
    const key = folded(path)
    const earlier = this.#seen.get(key)
    if (earlier === undefined) {
      this.#seen.set(key, { path, type })
      return true
    }
    if (earlier.path !== path)
      throw unsafe(path, `is the same name as ${JSON.stringify(earlier.path)} on some file systems`)
    if (type !== 'directory' || earlier.type !== 'directory') throw unsafe(path, 'is in the archive twice')
    return false
  }
}

/**
 * The names of a relative path with `/` between them, each of them harmless.
 *
 * @throws {InstarError} `TREE_UNSAFE`
 */
export function safeNames(path: string, { pathBytes }: Pick<TreeLimits, 'pathBytes'>): string[] {
  if (Buffer.byteLength(path) > pathBytes) throw unsafe(path, `has a path of more than ${pathBytes} bytes`)
  if (path.startsWith('/')) throw unsafe(path, 'has an absolute path')
  if (/^[a-z]:/i.test(path)) throw unsafe(path, 'has a drive letter')
  if (path.includes('\\')) throw unsafe(path, 'has a backslash in its path')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f-\u009f\ufffd]/.test(path))
    throw unsafe(path, 'has a control or broken character in its path')
  const names = path.replace(/\/$/, '').split('/')
  for (const name of names) {
    if (name === '' || name === '.' || name === '..') throw unsafe(path, `has ${JSON.stringify(name)} in its path`)
    if (Buffer.byteLength(name) > 255) throw unsafe(path, 'has a name of more than 255 bytes')
  }
  return names
}

/** One spelling for all that a case-insensitive or normalising file system takes for the same name. */
function folded(path: string): string {
  return path.normalize('NFKD').toLowerCase().toUpperCase().toLowerCase()
}

export function unsafe(path: string, why: string): InstarError {
  const shown = path.slice(0, 200)
  return new InstarError('TREE_UNSAFE', `${JSON.stringify(shown)} ${why}`, { details: { path: shown, why } })
}
