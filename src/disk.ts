import { closeSync, constants, type Dirent, ftruncateSync, openSync, writeSync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { loadFileLocks } from './file-locks.ts'

/**
 * The few things the journal and the stores ask of a file system. `realDisk` is the only implementation that ships to
 * users' files; `instar/testing` has one that loses, tears and fails, so that the same code can be driven through every
 * crash.
 *
 * Nothing here is durable until it is flushed, with two exceptions that say so: `DiskFile.write` and `replaceFile`.
 */
export interface Disk {
  /** Opens for writing; creates the file with mode 0600 where it is missing. */
  open(path: string): Promise<DiskFile>
  /** Opens for reading. The content stays readable until `close`, even where the name is removed meanwhile. */
  openForReading(path: string): Promise<DiskReader>
  read(path: string): Promise<Buffer>
  /** Creates or empties the file and writes it whole; not flushed. */
  write(path: string, bytes: Uint8Array): Promise<void>
  /** Flushes a file's content. */
  flush(path: string): Promise<void>
  /** Flushes a directory, so that names created, renamed or removed in it survive. */
  flushDirectory(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  /** Creates one directory with mode 0700; an existing one is left as it is. */
  makeDirectory(path: string): Promise<void>
  list(path: string): Promise<string[]>
  exists(path: string): Promise<boolean>
  /**
   * Takes a lock that ends with the process, however it ends; null where another process, or this one, holds it. The
   * file is created where it is missing, stays when the lock is released, and can be read by everybody meanwhile.
   */
  tryLock(path: string): Promise<DiskLock | null>
}

export interface DiskFile {
  size(): Promise<number>
  /** Puts bytes at `position`. Resolves when they would survive a power cut; a failure leaves unknown what is there. */
  write(bytes: Uint8Array, position: number): Promise<void>
  flush(): Promise<void>
  close(): Promise<void>
}

export interface DiskReader {
  size(): Promise<number>
  /** Fills `into` from `position` on; returns how many bytes there were, fewer than asked only at the end. */
  read(into: Uint8Array, position: number): Promise<number>
  close(): Promise<void>
}

export interface DiskLock {
  /** Replaces what the lock file says, for people and for whoever is refused. */
  describe(text: string): void
  /** Safe to call twice. */
  release(): void
}

// One system call that writes and flushes. macOS accepts O_DSYNC without reaching the platter; there, and on Windows
// (which lacks it), a separate fdatasync is used: Node's asks macOS for F_FULLFSYNC.
const writesThrough = process.platform === 'linux'

// A short write to a quick disk is over sooner than the thread pool's answer arrives; a long or slow one would hold up
// all else in this process, and beside a flush of something larger each is slow.
const onTheSpotBytesMax = 4096
const quickMs = 1
let flushesNow = 0

class RealFile implements DiskFile {
  #lastMs = Number.POSITIVE_INFINITY

  constructor(private readonly handle: FileHandle) {}

  async size(): Promise<number> {
    return (await this.handle.stat()).size
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    const beganAt = performance.now()
    const isQuick = this.#lastMs < quickMs && flushesNow === 0
    const onTheSpot = writesThrough && bytes.length <= onTheSpotBytesMax && isQuick
    const { length } = bytes
    const written = onTheSpot
      ? writeSync(this.handle.fd, bytes, 0, length, position)
      : (await this.handle.write(bytes, 0, length, position)).bytesWritten
    if (onTheSpot) await setImmediate() // or a row of writes would let nothing else have its turn
    if (written !== length) throw new Error(`short write: ${written} of ${length} bytes`)
    if (!writesThrough) await this.handle.datasync()
    this.#lastMs = performance.now() - beganAt
  }

  async flush(): Promise<void> {
    await this.handle.sync()
  }

  async close(): Promise<void> {
    await this.handle.close()
  }
}

class RealReader implements DiskReader {
  constructor(private readonly handle: FileHandle) {}

  async size(): Promise<number> {
    return (await this.handle.stat()).size
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let filled = 0
    while (filled < into.length) {
      const { bytesRead } = await this.handle.read(into, filled, into.length - filled, position + filled)
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return filled
  }

  async close(): Promise<void> {
    await this.handle.close()
  }
}

// Windows refuses to read a locked range, so the lock lies far behind the text. macOS locks the whole file and does not
// mind readers.
export const lockOffset = 2 ** 30

class RealLock implements DiskLock {
  // A plain descriptor: a FileHandle that nobody holds any more is closed by the garbage collector, and the lock with it.
  #descriptor: number | undefined

  constructor(descriptor: number) {
    this.#descriptor = descriptor
  }

  describe(text: string): void {
    if (this.#descriptor === undefined) throw new Error('the lock has been released')
    ftruncateSync(this.#descriptor, 0)
    writeSync(this.#descriptor, text, 0)
  }

  release(): void {
    // By the second call the number may be another file's.
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
  }
}

export const realDisk: Disk = {
  async open(path) {
    const { O_CREAT, O_DSYNC, O_RDWR } = constants
    return new RealFile(await open(path, O_RDWR | O_CREAT | (writesThrough ? O_DSYNC : 0), 0o600))
  },
  async openForReading(path) {
    return new RealReader(await open(path, 'r'))
  },
  read: (path) => readFile(path),
  async write(path, bytes) {
    const handle = await open(path, 'w', 0o600)
    try {
      await handle.writeFile(bytes)
    } finally {
      await handle.close()
    }
  },
  flush: flush,
  flushDirectory: flushDirectory,
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { force: true }),
  async makeDirectory(path) {
    await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  },
  list: (path) => readdir(path),
  exists: (path) => exists(path),
  async tryLock(path) {
    const native = loadFileLocks()
    const { O_CREAT, O_RDWR } = constants
    const descriptor = openSync(path, O_RDWR | O_CREAT, 0o600)
    try {
      if (native.tryLock(descriptor, lockOffset, 1)) return new RealLock(descriptor)
    } catch (error) {
      // How Windows says that somebody else holds it.
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY') {
        closeSync(descriptor)
        throw error
      }
    }
    closeSync(descriptor)
    return null
  },
}

/** Flushes one file's content and size. */
export async function flush(path: string): Promise<void> {
  const handle = await open(path, 'r')
  flushesNow += 1
  try {
    await handle.sync()
  } finally {
    flushesNow -= 1
    await handle.close()
  }
}

/** Flushes one directory. Windows keeps names without being asked and cannot open directories. */
export async function flushDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return
  await flush(path)
}

/** Flushes every file and directory under `root`, leaves first, and `root` itself. Symlinks are not followed. */
export async function flushTree(root: string): Promise<void> {
  const entries = await readdir(root, { withFileTypes: true })
  const flushEntry = async (entry: Dirent) => {
    const path = join(root, entry.name)
    if (entry.isDirectory()) await flushTree(path)
    else if (entry.isFile()) await flush(path)
  }
  // A few at a time: the kernel merges neighbouring flushes, and the thread pool stays usable.
  for (let at = 0; at < entries.length; at += 8) await Promise.all(entries.slice(at, at + 8).map(flushEntry))
  await flushDirectory(root)
}

/**
 * Puts `bytes` at `path` so that a reader, and a power cut, find the old content or the new, never a mixture. Resolves
 * when the new content would survive. A crash can leave a `.draft-*` file beside it.
 */
export async function replaceFile(path: string, bytes: Uint8Array, disk: Disk = realDisk): Promise<void> {
  // The pid tells a sweep whether the writer lives; it alone names no writer where containers share a directory.
  const draft = join(dirname(path), `.draft-${process.pid}-${Math.random().toString(36).slice(2)}`)
  try {
    await disk.write(draft, bytes)
    await disk.flush(draft)
    await disk.rename(draft, path)
  } catch (error) {
    await disk.remove(draft).catch(() => {}) // the first error is the one to report
    throw error
  }
  await disk.flushDirectory(dirname(path))
}

/** Removes what `replaceFile` has left in a directory by writers that are gone, and answers with the paths. */
export async function sweepDrafts(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  const left = names.filter((name) => {
    const writer = /^\.draft-(\d+)-/.exec(name)
    return writer !== null && !isAlive(Number(writer[1]))
  })
  const paths = left.map((name) => join(directory, name))
  for (const path of paths) await rm(path, { force: true })
  return paths
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' // alive, and another user's
  }
}

/** Creates `path` and what is missing above it with mode 0700. Resolves when every name on the way would survive. */
export async function makeDirectories(path: string, disk: Disk = realDisk): Promise<void> {
  const parent = dirname(path)
  if (!(await disk.exists(path))) {
    await makeDirectories(parent, disk)
    await disk.makeDirectory(path)
  }
  // Also where it was there already: whoever created it may have been killed before this line. The names above it were
  // flushed before it was created.
  await disk.flushDirectory(parent).catch((error: NodeJS.ErrnoException) => {
    // A parent that we may not even read is not one in which we have created anything.
    if (error.code !== 'EACCES' && error.code !== 'EPERM') throw error
  })
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false
      throw error
    },
  )
}
