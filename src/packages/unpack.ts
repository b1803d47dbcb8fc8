import { type FileHandle, mkdir, open, readdir, rm, statfs, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { diskError, InstarError } from '../errors.ts'
import { type ArchiveItem, type ArchiveSize, type ArchiveVisitor, readArchive } from './archive.ts'
import { Inflated } from './inflated.ts'
import { type TreeLimits, treeLimits } from './limits.ts'

export interface UnpackOptions {
  readonly limits?: Partial<TreeLimits>
  readonly signal?: AbortSignal
}

/**
 * Unpacks a package's tarball into `directory`, which must be empty or not there yet.
 *
 * The archive is inspected to its last byte before the first file is created, so a hostile one costs no disk. Files get
 * 0644, or 0755 where the archive calls them executable, and directories 0755, less the umask; times and owners in the
 * archive are not used. Not flushed. On any failure the directory is as it was before.
 *
 * @throws {InstarError} the `TREE_*` codes, `TARBALL_INVALID`, `UNPACK_TARGET_NOT_EMPTY`, `DISK_FULL`, `DISK_FAILED`,
 *   `ABORTED`.
 */
export async function unpack(file: string, directory: string, options: UnpackOptions = {}): Promise<ArchiveSize> {
  const limits = { ...treeLimits, ...options.limits }
  const archive = new Inflated(file)
  const { bytes } = await readArchive(archive, limits, options.signal)
  try {
    const made = await mkdir(directory, { recursive: true, mode: 0o755 })
    if ((await readdir(directory)).length > 0)
      throw new InstarError('UNPACK_TARGET_NOT_EMPTY', `${directory} is not empty`)
    const writer = new TreeWriter(directory)
    try {
      await checkSpace(directory, bytes)
      return await readArchive(archive, limits, options.signal, writer)
    } catch (error) {
      await writer.close()
      await empty(directory, made).catch(() => {}) // the first error is the one to report
      throw error
    }
  } catch (error) {
    throw diskError(error, `unpacking into ${directory}`)
  }
}

async function checkSpace(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory)
  if (bytes > bavail * bsize)
    throw new InstarError('DISK_FULL', `${bytes} bytes are needed and ${bavail * bsize} are free`, {
      details: { needed: bytes, free: bavail * bsize },
    })
}

async function empty(directory: string, made: string | undefined): Promise<void> {
  if (made !== undefined) return rm(made, { recursive: true, force: true })
  for (const name of await readdir(directory)) await rm(join(directory, name), { recursive: true, force: true })
}

/** Files in one portion are small enough to be written whole and side by side; a larger one stays open between portions. */
const filesAtOnce = 32

interface Draft {
  readonly path: string
  readonly mode: number
  parts: Buffer[]
  whole: boolean
  handle: FileHandle | null
}

class TreeWriter implements ArchiveVisitor {
  readonly #root: string
  readonly #directories = new Set<string>()
  #wanted: string[] = []
  #drafts: Draft[] = []

  constructor(root: string) {
    this.#root = root
  }

  item(item: ArchiveItem): void {
    const path = join(this.#root, item.path)
    this.#wanted.push(item.type === 'directory' ? path : dirname(path))
    if (item.type === 'file')
      this.#drafts.push({ path, mode: item.executable ? 0o755 : 0o644, parts: [], whole: false, handle: null })
  }

  content(bytes: Buffer): void {
    this.#drafts.at(-1)!.parts.push(bytes)
  }

  whole(): void {
    this.#drafts.at(-1)!.whole = true
  }

  async settle(): Promise<void> {
    for (const directory of this.#wanted) {
      if (this.#directories.has(directory)) continue
      await mkdir(directory, { recursive: true, mode: 0o755 })
      this.#directories.add(directory)
    }
    this.#wanted = []
    for (let at = 0; at < this.#drafts.length; at += filesAtOnce)
      await allSettled(this.#drafts.slice(at, at + filesAtOnce).map((draft) => this.#write(draft)))
    this.#drafts = this.#drafts.filter((draft) => !draft.whole)
  }

  async #write(draft: Draft): Promise<void> {
    const { path, mode, parts } = draft
    draft.parts = []
    // Exclusive: nothing is there in a directory that was empty, so what is there was put there by someone else.
    if (draft.whole && draft.handle === null) return writeFile(path, parts, { flag: 'wx', mode })
    draft.handle ??= await open(path, 'wx', mode)
    for (const part of parts) await draft.handle.writeFile(part)
    if (draft.whole) await draft.handle.close()
  }

  async close(): Promise<void> {
    for (const { handle } of this.#drafts) await handle?.close().catch(() => {}) // closed already
    this.#drafts = []
  }
}

/** Like `Promise.all`, but when it throws nothing is still running that could write behind the back of a clean-up. */
async function allSettled(promises: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(promises)) if (result.status === 'rejected') throw result.reason
}
