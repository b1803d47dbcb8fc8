import { type FileHandle, open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import type { Entry, LocalFileHeader, ZipFile } from 'yauzl'
import { InstarError } from '../errors.ts'
import { throwIfAborted } from './aborted.ts'
import { safeNames, unsafe } from './archive.ts'
import { type TreeLimits, tarballLimits } from './limits.ts'

/** One file or folder of a zip archive. */
export interface ZipEntry {
  /** Relative and harmless, with `/` between names; a folder's ends with one. */
  readonly path: string
  readonly isFolder: boolean
  readonly executable: boolean
  /** Bytes of its content; `read` brings exactly as many, or fails. */
  readonly size: number
  /** @throws {InstarError} `BUNDLE_INVALID` */
  read(): AsyncIterable<Buffer>
}

/**
 * Reads a zip archive by its directory, in its order. Refuses one that can be understood in two ways, because whoever has
 * looked at it with another program has then looked at something else. A signature of `mcpb sign` behind it is passed over.
 *
 * @throws {InstarError} `BUNDLE_INVALID`, `TREE_UNSAFE`, `TREE_TOO_LARGE`, `TREE_TOO_MANY_FILES`, `TREE_BOMB`,
 *   `TARBALL_TOO_LARGE`; `ABORTED`.
 */
export async function* readZip(file: string, limits: TreeLimits, signal?: AbortSignal): AsyncGenerator<ZipEntry> {
  await using handle = await open(file, 'r')
  try {
    const { size } = await handle.stat()
    if (size > tarballLimits.bytes)
      throw new InstarError('TARBALL_TOO_LARGE', `the bundle has more than ${tarballLimits.bytes} bytes`)
    const end = await endOf(handle, size)
    const directory = await directoryOf(handle, end)
    if (directory.count > limits.entries)
      throw new InstarError('TREE_TOO_MANY_FILES', `the bundle has more than ${limits.entries} files and directories`)
    const zip = await opened(handle, end)
    const entries = await listed(zip, directory, signal)
    assertRoom(entries, end, limits)
    await assertApart(zip, entries, directory.start)
    for (const entry of entries) {
      throwIfAborted(signal)
      yield await admitted(zip, entry, limits)
    }
  } catch (error) {
    throw ofArchive(error)
  }
}

// ---- where things are

const endLength = 22
const endMark = 'PK\x05\x06'
const commentBytesMax = 0xffff

const signature = { head: 'MCPB_SIG_V1', foot: 'MCPB_SIG_END', bytesMax: 0xffff } as const

/** Where the archive ends: before a signature, unless that is said to be its comment. */
async function endOf(handle: FileHandle, size: number): Promise<number> {
  const at = Math.max(0, size - signature.bytesMax)
  const tail = await bytesOf(handle, at, size)
  if (!tail.toString('latin1').endsWith(signature.foot)) return size
  const start = tail.lastIndexOf(signature.head, undefined, 'latin1')
  const length = start < 0 ? -1 : tail.readUInt32LE(start + signature.head.length)
  if (start + signature.head.length + 4 + length + signature.foot.length !== tail.length)
    throw invalid('its signature is not whole')
  const [mark, comment] = [start - endLength, start - 2]
  const isComment =
    mark >= 0 &&
    tail.toString('latin1', mark, mark + 4) === endMark &&
    tail.readUInt16LE(comment) === tail.length - start
  return isComment ? size : at + start
}

interface Directory {
  readonly start: number
  readonly length: number
  readonly count: number
}

/** What the end of the archive says of its directory, which has to lie right before that. */
async function directoryOf(handle: FileHandle, end: number): Promise<Directory> {
  const tail = await bytesOf(handle, Math.max(0, end - endLength - commentBytesMax), end)
  const at = tail.length < endLength ? -1 : tail.lastIndexOf(endMark, tail.length - endLength, 'latin1')
  if (at < 0) throw invalid('it is no whole zip archive')
  const record = tail.subarray(at)
  const [count, length, start] = [record.readUInt16LE(10), record.readUInt32LE(12), record.readUInt32LE(16)]
  // So the wider form of the format is refused, too: what needs it is larger than any bundle.
  if (start + length !== end - record.length) throw invalid('its directory does not lie where it says')
  return { start, length, count }
}

async function opened(handle: FileHandle, end: number): Promise<ZipFile> {
  const { default: yauzl } = await import('yauzl')
  class Reader extends yauzl.RandomAccessReader {
    override _readStreamForRange(start: number, until: number): Readable {
      return Readable.from(portions(handle, start, until))
    }
    override read(buffer: Buffer, offset: number, length: number, position: number, done: Done): void {
      handle.read(buffer, offset, length, position).then(({ bytesRead }) => done(null, bytesRead), done)
    }
  }
  // Names are read below, where they are held to the rules of all archives.
  return yauzl.fromRandomAccessReaderPromise(new Reader(), end, { autoClose: false, decodeStrings: false })
}

type Done = (error: Error | null, bytesRead?: number) => void

const portionBytes = 64 * 1024

async function* portions(handle: FileHandle, start: number, end: number): AsyncGenerator<Buffer> {
  for (let at = start; at < end; at += portionBytes) yield await bytesOf(handle, at, Math.min(end, at + portionBytes))
}

async function bytesOf(handle: FileHandle, start: number, end: number): Promise<Buffer> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(end - start), 0, end - start, start)
  if (bytesRead < end - start) throw invalid('it ends too early')
  return buffer
}

async function listed(zip: ZipFile, directory: Directory, signal: AbortSignal | undefined): Promise<Entry[]> {
  // An end in the wider form, hidden within the directory, would lead to another one.
  const { readEntryCursor } = zip as unknown as { readonly readEntryCursor: number }
  if (readEntryCursor !== directory.start || zip.entryCount !== directory.count) throw invalid('it has two directories')
  const entries: Entry[] = []
  for await (const entry of zip.eachEntry()) {
    throwIfAborted(signal)
    entries.push(entry)
  }
  const length = entries.reduce((sum, entry) => sum + lengthInDirectory(entry), 0)
  if (length !== directory.length) throw invalid('its directory has another length than it says')
  return entries
}

const lengthInDirectory = ({ fileNameLength, extraFieldLength, fileCommentLength }: Entry) =>
  46 + fileNameLength + extraFieldLength + fileCommentLength

// ---- what is believed of entries

/** By what entries say of their sizes, since none may bring another one than it says. */
function assertRoom(entries: readonly Entry[], packed: number, { bytes, ratio, ratioFreeBytes }: TreeLimits): void {
  const total = entries.reduce((sum, { uncompressedSize }) => sum + uncompressedSize, 0)
  if (total > bytes)
    throw new InstarError('TREE_TOO_LARGE', `the bundle unpacks to more than ${bytes} bytes`, {
      details: { limit: bytes },
    })
  if (total > ratioFreeBytes && total > packed * ratio)
    throw new InstarError('TREE_BOMB', `${packed} bytes expand to more than ${ratio} times as many`)
}

/** What two entries had in common would be unpacked twice; what they had with the directory is none of their content. */
async function assertApart(zip: ZipFile, entries: readonly Entry[], directoryStart: number): Promise<void> {
  const taken: (readonly [start: number, end: number])[] = []
  for (const entry of entries) {
    const head = await zip.readLocalFileHeaderPromise(entry)
    assertAgree(entry, head)
    taken.push([entry.relativeOffsetOfLocalHeader, head.fileDataStart + entry.compressedSize])
  }
  let free = 0
  for (const [start, end] of taken.sort(([one], [other]) => one - other)) {
    if (start < free || end > directoryStart) throw invalid('its entries lie over each other')
    free = end
  }
}

const flags = { encrypted: 0x1, sizesFollow: 0x8, utf8: 0x800 } as const
/** Instead of a number that stands elsewhere, in more bytes. */
const wider = 0xffffffff

/** Each entry is described twice: in the directory, and before its content. */
function assertAgree(entry: Entry, head: LocalFileHeader): void {
  const isSame =
    head.fileName.equals(entry.fileNameRaw) &&
    head.compressionMethod === entry.compressionMethod &&
    ((head.generalPurposeBitFlag ^ entry.generalPurposeBitFlag) & (flags.encrypted | flags.utf8)) === 0 &&
    ((head.generalPurposeBitFlag & flags.sizesFollow) !== 0 ||
      (head.crc32 === entry.crc32 &&
        [entry.compressedSize, wider].includes(head.compressedSize) &&
        [entry.uncompressedSize, wider].includes(head.uncompressedSize)))
  if (!isSame) throw invalid(`${shown(entry)} is described in two ways`)
}

const types = { mask: 0o170000, file: 0o100000, folder: 0o040000 } as const

async function admitted(zip: ZipFile, entry: Entry, limits: TreeLimits): Promise<ZipEntry> {
  const { default: yauzl } = await import('yauzl')
  const { generalPurposeBitFlag, fileNameRaw, extraFields, uncompressedSize: size } = entry
  const path = yauzl.getFileNameLowLevel(generalPurposeBitFlag, fileNameRaw, extraFields, true)
  safeNames(path, limits)
  const isFolder = path.endsWith('/')
  // Zero where the system that packed it has no modes.
  const mode = entry.externalFileAttributes >>> 16
  const type = mode & types.mask
  if (type !== 0 && type !== (isFolder ? types.folder : types.file))
    throw unsafe(path, `is an entry of type ${type.toString(8)}`)
  if (!entry.canDecodeFileData()) throw invalid(`${shown(entry)} is encrypted, or packed in another way than deflate`)
  if (isFolder && size > 0) throw invalid(`the folder ${shown(entry)} has content`)
  return { path, isFolder, executable: (mode & 0o111) !== 0, size, read: () => contentOf(zip, entry) }
}

async function* contentOf(zip: ZipFile, entry: Entry): AsyncGenerator<Buffer> {
  try {
    let sum = 0
    for await (const chunk of (await zip.openReadStreamPromise(entry)) as AsyncIterable<Buffer>) {
      sum = crc32(chunk, sum)
      yield chunk
    }
    if (sum !== entry.crc32) throw invalid(`the content of ${shown(entry)} is not what was packed`)
  } catch (error) {
    throw ofArchive(error)
  }
}

// ---- how it is said

const invalid = (message: string, cause?: unknown) =>
  new InstarError('BUNDLE_INVALID', message, cause === undefined ? {} : { cause })

/** What the system or we refuse has a code; what has none is what the library thinks of the archive. */
function ofArchive(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  return code === undefined || code.startsWith('Z_') ? invalid('it is no whole zip archive', error) : error
}

const shown = ({ fileNameRaw }: Entry) => JSON.stringify(fileNameRaw.toString('latin1').slice(0, 200))
