import { basename, dirname } from 'node:path'
import type { Disk, DiskFile, DiskLock, DiskReader } from '../disk.ts'

/** A number from 0 (included) to 1 (excluded); the same row for the same seed. Mulberry32, public domain. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface SimulatedDiskOptions {
  readonly seed?: number
  readonly sectorBytes?: number
  /**
   * True for a disk that, when power fails, may garble any sector it was writing, also the flushed bytes in it that
   * belong to an earlier write. Default false: the bytes beside a write are left alone.
   */
  readonly garblesSharedSectors?: boolean
  /** What a file shows after a flush of it has failed: the new bytes (ext4, XFS) or the flushed ones (Btrfs). */
  readonly afterFailedFlush?: 'visible' | 'reverted'
}

/** What happens at one operation; they are counted from 1, see `SimulatedDisk.operations`. */
export interface Fault {
  readonly at: number
  /** A system error's code, such as `EIO` or `ENOSPC`; `POWER`: the power goes in mid-operation, see `end`. */
  readonly code: string
}

type Change = { readonly kind: 'write'; readonly offset: number; readonly bytes: Buffer } | { readonly kind: 'empty' }

/** A file keeps what is flushed apart from what is visible, and knows every change between the two. */
class SimulatedFile {
  visible: Buffer = Buffer.alloc(0)
  flushed: Buffer = Buffer.alloc(0)
  pending: Change[] = []

  change(change: Change): void {
    this.visible = applied(this.visible, change)
    this.pending.push(change)
  }

  flush(): void {
    for (const change of this.pending) this.flushed = applied(this.flushed, change)
    this.pending = []
  }
}

type Entry = SimulatedFile | SimulatedDirectory

type NameChange =
  | { readonly kind: 'add'; readonly name: string; readonly entry: Entry }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string; readonly entry: Entry }
  | { readonly kind: 'remove'; readonly name: string }

class SimulatedDirectory {
  visible = new Map<string, Entry>()
  flushed = new Map<string, Entry>()
  pending: NameChange[] = []

  change(change: NameChange): void {
    applyName(this.visible, change)
    this.pending.push(change)
  }

  flush(): void {
    this.flushed = new Map(this.visible)
    this.pending = []
  }
}

function applied(content: Buffer, change: Change): Buffer {
  if (change.kind === 'empty') return Buffer.alloc(0)
  const { offset, bytes } = change
  const result = Buffer.alloc(Math.max(content.length, offset + bytes.length))
  content.copy(result)
  bytes.copy(result, offset)
  return result
}

function applyName(names: Map<string, Entry>, change: NameChange): void {
  if (change.kind === 'remove') names.delete(change.name)
  else if (change.kind === 'add') names.set(change.name, change.entry)
  else {
    if (names.get(change.from) === change.entry) names.delete(change.from)
    names.set(change.to, change.entry)
  }
}

/**
 * A disk in memory that behaves as badly as disks may. Whatever was not flushed can be kept, lost or torn when the power
 * goes; names that were created, renamed or removed in a directory that was not flushed can be there or not, each on its
 * own; operations fail on request, and after a failed flush the next one succeeds without having written anything, as
 * kernels do.
 *
 * What it does is decided by seeds alone, so a failing run can be repeated.
 *
 * `crash` and `restart` return the disk as the next process finds it. The old object is the process that ended: none of
 * its operations returns any more.
 */
export class SimulatedDisk implements Disk {
  #resolveEnd: () => void = () => {}
  /** How many operations were begun; a fault names one of them. */
  operations = 0
  /** Resolves with a `POWER` fault, `crash` or `restart`. Race with it: what waits for the disk then waits for ever. */
  readonly end = new Promise<void>((resolve) => {
    this.#resolveEnd = resolve
  })
  #root = new SimulatedDirectory()
  #random: () => number
  #faults = new Map<number, string>()
  #ended = false
  #locked = new Set<string>()
  readonly #options: Required<SimulatedDiskOptions>

  constructor(options: SimulatedDiskOptions = {}) {
    this.#options = { seed: 0, sectorBytes: 512, garblesSharedSectors: false, afterFailedFlush: 'visible', ...options }
    this.#random = seededRandom(this.#options.seed)
  }

  /** Makes an operation fail. `at` counts from the disk's beginning; see `operations`. */
  inject(fault: Fault): void {
    this.#faults.set(fault.at, fault.code)
  }

  /** The power goes: what was not flushed is kept, lost or torn, as the seed decides. */
  crash(seed: number): SimulatedDisk {
    this.#stop()
    const next = new SimulatedDisk({ ...this.#options, seed })
    next.#root = this.#survivors(this.#root, seededRandom(seed))
    return next
  }

  /** The process ends and the power stays: all that was written is visible, flushed or not. */
  restart(): SimulatedDisk {
    this.#stop()
    const next = new SimulatedDisk({ ...this.#options, seed: Math.floor(this.#random() * 2 ** 32) })
    next.#root = this.#root
    return next
  }

  open(path: string): Promise<DiskFile> {
    return this.#operation(() => {
      const { directory, name } = this.#parent(path)
      const file = this.#fileIn(directory, name) ?? create(directory, name)
      return {
        size: () => this.#operation(() => file.visible.length),
        write: async (bytes, position) => {
          await this.#write(file, position, bytes)
          await this.#flush(file)
        },
        flush: () => this.#flush(file),
        close: () => this.#operation(() => {}),
      }
    })
  }

  openForReading(path: string): Promise<DiskReader> {
    return this.#operation(() => {
      const file = this.#file(path)
      return {
        size: () => this.#operation(() => file.visible.length),
        read: (into, position) =>
          this.#operation(() => file.visible.copy(into, 0, Math.min(position, file.visible.length))),
        close: async () => {},
      }
    })
  }

  read(path: string): Promise<Buffer> {
    return this.#operation(() => Buffer.from(this.#file(path).visible))
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    const file = await this.#operation(() => {
      const { directory, name } = this.#parent(path)
      const found = this.#fileIn(directory, name) ?? create(directory, name)
      if (found.visible.length > 0) found.change({ kind: 'empty' })
      return found
    })
    await this.#write(file, 0, bytes)
  }

  async flush(path: string): Promise<void> {
    await this.#flush(this.#file(path))
  }

  flushDirectory(path: string): Promise<void> {
    return this.#operation(() => this.#directory(path).flush())
  }

  rename(from: string, to: string): Promise<void> {
    return this.#operation(() => {
      const { directory, name } = this.#parent(from)
      // Two directories would be two flushes, and nothing here renames across.
      if (dirname(from) !== dirname(to)) throw systemError('EXDEV', to)
      const entry = directory.visible.get(name)
      if (entry === undefined) throw systemError('ENOENT', from)
      directory.change({ kind: 'rename', from: name, to: basename(to), entry })
    })
  }

  remove(path: string): Promise<void> {
    return this.#operation(() => {
      const { directory, name } = this.#parent(path)
      if (directory.visible.has(name)) directory.change({ kind: 'remove', name })
    })
  }

  makeDirectory(path: string): Promise<void> {
    return this.#operation(() => {
      const { directory, name } = this.#parent(path)
      if (!directory.visible.has(name)) directory.change({ kind: 'add', name, entry: new SimulatedDirectory() })
    })
  }

  list(path: string): Promise<string[]> {
    return this.#operation(() => [...this.#directory(path).visible.keys()])
  }

  exists(path: string): Promise<boolean> {
    return this.#operation(() => {
      if (dirname(path) === path) return true
      try {
        const { directory, name } = this.#parent(path)
        return directory.visible.has(name)
      } catch {
        return false // something above it is missing
      }
    })
  }

  /** The text of the lock file is not kept: no promise depends on it. */
  tryLock(path: string): Promise<DiskLock | null> {
    return this.#operation(() => {
      if (this.#locked.has(path)) return null
      this.#locked.add(path)
      return { describe: () => {}, release: () => this.#locked.delete(path) }
    })
  }

  #stop(): void {
    this.#ended = true
    this.#resolveEnd()
  }

  /** Every operation takes a turn of the event queue, so that others come in between, and may fail. */
  async #operation<Result>(work: () => Result, failing: (code: string) => void = () => {}): Promise<Result> {
    this.operations += 1
    const code = this.#faults.get(this.operations)
    await null
    if (this.#ended) return new Promise(() => {})
    if (code === undefined) return work()
    failing(code)
    if (code !== 'POWER') throw systemError(code)
    this.#stop()
    return new Promise(() => {})
  }

  /** A write that fails, or that the power cut interrupts, leaves any part of its bytes behind. */
  async #write(file: SimulatedFile, offset: number, bytes: Uint8Array): Promise<void> {
    const all = Buffer.from(bytes)
    const write = (part: Buffer) => {
      if (part.length > 0) file.change({ kind: 'write', offset, bytes: part })
    }
    await this.#operation(
      () => write(all),
      () => write(all.subarray(0, Math.floor(this.#random() * (all.length + 1)))),
    )
  }

  async #flush(file: SimulatedFile): Promise<void> {
    await this.#operation(
      () => file.flush(),
      (code) => {
        if (code === 'POWER') return
        // The pages are marked clean: no later flush will write them.
        file.pending = []
        if (this.#options.afterFailedFlush === 'reverted') file.visible = file.flushed
      },
    )
  }

  #survivors(directory: SimulatedDirectory, random: () => number): SimulatedDirectory {
    const names = new Map(directory.flushed)
    for (const change of directory.pending) if (random() < 0.5) applyName(names, change)
    const survivor = new SimulatedDirectory()
    for (const [name, entry] of names) {
      survivor.visible.set(
        name,
        entry instanceof SimulatedDirectory ? this.#survivors(entry, random) : this.#survivor(entry, random),
      )
    }
    survivor.flush()
    return survivor
  }

  #survivor(file: SimulatedFile, random: () => number): SimulatedFile {
    let content = file.flushed
    for (const change of file.pending) {
      const fate = random()
      if (fate < 0.3) content = applied(content, change)
      else if (fate < 0.5 || change.kind === 'empty') continue
      else content = this.#torn(content, change.offset, change.bytes, random)
    }
    const survivor = new SimulatedFile()
    survivor.visible = content
    survivor.flushed = content
    return survivor
  }

  /** Each sector of the write is there, is not, is zero or is garbage; and the size may have grown without the content. */
  #torn(content: Buffer, offset: number, bytes: Buffer, random: () => number): Buffer {
    const { sectorBytes, garblesSharedSectors } = this.#options
    const reached = Math.floor(random() * (bytes.length + 1))
    const grown = random() < 0.5 ? bytes.length : reached
    const result = Buffer.alloc(Math.max(content.length, offset + grown))
    content.copy(result)
    const end = Math.min(result.length, offset + bytes.length)
    for (let sector = Math.floor(offset / sectorBytes) * sectorBytes; sector < end; sector += sectorBytes) {
      const from = Math.max(sector, offset)
      const to = Math.min(sector + sectorBytes, end)
      const fate = random()
      if (fate < 0.5) bytes.copy(result, from, from - offset, Math.max(from, Math.min(to, offset + reached)) - offset)
      else if (fate < 0.6) result.fill(0, from, to)
      else if (fate < 0.9) {
        const garbled = garblesSharedSectors ? sector : from
        for (let at = garbled; at < to; at += 1) result[at] = Math.floor(random() * 256)
      }
    }
    return result
  }

  #directory(path: string): SimulatedDirectory {
    if (dirname(path) === path) return this.#root
    const { directory, name } = this.#parent(path)
    const entry = directory.visible.get(name)
    if (entry === undefined) throw systemError('ENOENT', path)
    if (!(entry instanceof SimulatedDirectory)) throw systemError('ENOTDIR', path)
    return entry
  }

  #parent(path: string): { directory: SimulatedDirectory; name: string } {
    return { directory: this.#directory(dirname(path)), name: basename(path) }
  }

  #fileIn(directory: SimulatedDirectory, name: string): SimulatedFile | undefined {
    const entry = directory.visible.get(name)
    if (entry instanceof SimulatedDirectory) throw systemError('EISDIR', name)
    return entry
  }

  #file(path: string): SimulatedFile {
    const { directory, name } = this.#parent(path)
    const file = this.#fileIn(directory, name)
    if (file === undefined) throw systemError('ENOENT', path)
    return file
  }
}

function create(directory: SimulatedDirectory, name: string): SimulatedFile {
  const file = new SimulatedFile()
  directory.change({ kind: 'add', name, entry: file })
  return file
}

function systemError(code: string, path?: string): NodeJS.ErrnoException {
  return Object.assign(new Error(path === undefined ? code : `${code}: ${path}`), { code })
}
