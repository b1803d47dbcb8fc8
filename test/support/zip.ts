import { crc32, deflateRawSync } from 'node:zlib'

/** One entry of a zip archive. Written as given: this is for archives that no sane tool makes. */
export interface ZipEntry {
  readonly path: string
  readonly content?: string | Uint8Array
  /** Bits as in `st_mode`; 0 as of a system without them. Default a plain file. */
  readonly mode?: number
  /** 8: deflate (default), 0: stored, anything else: a lie. */
  readonly method?: number
  readonly flags?: number
  /** Fields that say something else than is true, in the directory, before the content, or in both. */
  readonly lies?: Partial<ZipFields>
  readonly inDirectory?: Partial<ZipFields>
  readonly beforeContent?: Partial<ZipFields>
  /** In the directory only: what it leads to is in the content of another one. */
  readonly isOnlyListed?: true
  /** In the directory. */
  readonly comment?: Uint8Array
}

export interface ZipFields {
  readonly path: string
  readonly size: number
  readonly packedSize: number
  readonly crc: number
  readonly start: number
}

export interface ZipEnd {
  readonly count?: number
  readonly directoryStart?: number
  readonly directoryLength?: number
  readonly comment?: Uint8Array
  /** Put right before the end. */
  readonly beforeEnd?: Uint8Array
  /** Put behind the end. */
  readonly after?: Uint8Array
}

/** A zip archive of exactly these entries, in this order. */
export function zip(entries: readonly ZipEntry[], end: ZipEnd = {}): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  for (const entry of entries) {
    const content = Buffer.from(entry.content ?? '')
    const { method = 8, flags = 0x800, mode = 0o100644 } = entry
    const packed = method === 8 ? deflateRawSync(content) : content
    const fields = { path: entry.path, size: content.length, packedSize: packed.length, crc: crc32(content), start: at }
    const before = { ...fields, ...entry.lies, ...entry.beforeContent }
    const listed = { ...fields, ...entry.lies, ...entry.inDirectory }
    const head = Buffer.alloc(30)
    head.writeUInt32LE(0x04034b50, 0)
    writeCommon(head, 4, { method, flags, ...before })
    const local = Buffer.concat([head, Buffer.from(before.path), packed])
    if (!entry.isOnlyListed) {
      parts.push(local)
      at += local.length
    }
    const record = Buffer.alloc(46)
    record.writeUInt32LE(0x02014b50, 0)
    record.writeUInt16LE((3 << 8) | 20, 4)
    writeCommon(record, 6, { method, flags, ...listed })
    record.writeUInt32LE((mode << 16) >>> 0, 38)
    record.writeUInt32LE(listed.start, 42)
    const comment = Buffer.from(entry.comment ?? '')
    record.writeUInt16LE(comment.length, 32)
    directory.push(record, Buffer.from(listed.path), comment)
  }
  const list = Buffer.concat(directory)
  const comment = Buffer.from(end.comment ?? '')
  const last = Buffer.alloc(22)
  last.writeUInt32LE(0x06054b50, 0)
  last.writeUInt16LE(end.count ?? entries.length, 8)
  last.writeUInt16LE(end.count ?? entries.length, 10)
  last.writeUInt32LE(end.directoryLength ?? list.length, 12)
  last.writeUInt32LE(end.directoryStart ?? at, 16)
  last.writeUInt16LE(comment.length, 20)
  return Buffer.concat([...parts, list, end.beforeEnd ?? Buffer.alloc(0), last, comment, end.after ?? Buffer.alloc(0)])
}

function writeCommon(to: Buffer, at: number, fields: ZipFields & { readonly method: number; readonly flags: number }) {
  to.writeUInt16LE(20, at)
  to.writeUInt16LE(fields.flags, at + 2)
  to.writeUInt16LE(fields.method, at + 4)
  to.writeUInt32LE(fields.crc >>> 0, at + 10)
  to.writeUInt32LE(fields.packedSize, at + 14)
  to.writeUInt32LE(fields.size, at + 18)
  to.writeUInt16LE(Buffer.byteLength(fields.path), at + 22)
}
