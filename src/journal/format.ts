import { crc32 } from 'node:zlib'
import * as z from 'zod'
import { InstarError } from '../errors.ts'

/**
 * The journal on disk, format 1: one directory, mode 0700, of files with mode 0600.
 *
 *   0000000000000001.segment     records, in order; named by the seq of its first one. The highest is the active one.
 *   0000000000000900.snapshot    the state after record 900
 *   head                         the witness: so many records were durable once
 *   lock                         held while a controller runs; its text names the holder and is no part of the format
 *   .torn-*                      a torn end that was cut off when the journal was opened; for people, never read again
 *   .draft-*                     left by a crash in mid-replacement; removed when the journal is opened
 *
 * Segments, snapshots and the head are UTF-8 text whose lines end in LF:
 *
 *   kind SP format SP seq [spaces] LF     first line. kind: `instar-segment`, `instar-snapshot`, `instar-head`
 *   crc32 TAB json [spaces] LF            every other line
 *   [TABs]                                room behind the last line of a segment, for the frames to come
 *
 *   seq     as in the file's name, without leading zeros; in the head as in its json
 *   crc32   8 lower-case hex digits over the bytes between TAB and LF (zlib polynomial)
 *   json    JSON.stringify output, so it holds no raw LF or TAB
 *   spaces  where padding is on: every line of a segment is then a multiple of the pad in length, so that no two
 *           commits share a sector
 *   TABs    no frame ends in one, so where the room begins is always plain; it may be of any length
 *
 *   in a segment      one line, a frame, for each commit: {"seq":first,"records":[{...},...]}, any number of them
 *   in a snapshot     one line: {"seq":900,"state":...}
 *   in the head       one line: {"seq":1234,"closed":false}; closed: nothing was appended after it was written
 *
 * A frame is written by one write and acknowledged when that write is durable; no second one is begun before. So a crash
 * can tear the last frame of the active segment and nothing else, and what it tears was never acknowledged. From there:
 *
 *   torn      the end of the active segment, where no valid frame with the expected or a higher seq begins after the
 *             first bad byte. It is cut off. (A lower seq is a block of a removed file that the file system exposed.)
 *   damaged   every other bad byte: in an older segment, before a valid frame, a gap in seq, in a snapshot or the head,
 *             all of which appear whole or not at all.
 *   lost      the last seq found is lower than the head or a snapshot says.
 *   newer     the number after the kind is higher than 1. The kind and the number keep their place in every format.
 */
export const journalFormat = 1

export type FileKind = 'segment' | 'snapshot' | 'head'

export const headName = 'head'
export const lockName = 'lock'
export const tornPrefix = '.torn-'
export const draftPrefix = '.draft-'

const seqDigits = 16 // Number.MAX_SAFE_INTEGER has as many

export function fileName(kind: 'segment' | 'snapshot', seq: number): string {
  return `${String(seq).padStart(seqDigits, '0')}.${kind}`
}

/** The seq in a segment's or snapshot's name; undefined for any other name. */
export function seqOfName(kind: 'segment' | 'snapshot', name: string): number | undefined {
  const match = /^(\d{16})\.(segment|snapshot)$/.exec(name)
  return match?.[2] === kind ? Number(match[1]) : undefined
}

const LF = 10
const TAB = 9
const SPACE = 32
const checksumLength = 8

export function encodeHeader(kind: FileKind, seq: number, padBytes = 0): Buffer {
  const text = `instar-${kind} ${journalFormat} ${seq}`
  return Buffer.from(`${text.padEnd(padded(text.length + 1, padBytes) - 1)}\n`)
}

/**
 * True where `line`, without its LF, is the first line that this file must have.
 *
 * @throws {InstarError} `JOURNAL_NEWER`, whatever else the line says.
 */
export function isHeader(line: Buffer, kind: FileKind, seq: number, path: string): boolean {
  const text = line.toString('utf8')
  const format = Number(/^instar-[a-z]+ (\d{1,9})(?: |$)/.exec(text)?.[1])
  if (format > journalFormat)
    throw new InstarError('JOURNAL_NEWER', `${path} has format ${format}; this version knows format ${journalFormat}`, {
      details: { path, format, known: journalFormat },
    })
  return text === `instar-${kind} ${journalFormat} ${seq}`.padEnd(text.length)
}

/** One line with its checksum: the only copy made of the text is the one that is written to the disk. */
export function encodeLine(json: string, padBytes = 0): Buffer {
  const jsonStart = checksumLength + 1
  const jsonEnd = jsonStart + Buffer.byteLength(json)
  const line = Buffer.allocUnsafe(padded(jsonEnd + 1, padBytes))
  const lineEnd = line.length - 1
  line.write(json, jsonStart)
  line.fill(SPACE, jsonEnd, lineEnd)
  line[lineEnd] = LF
  line[checksumLength] = TAB
  line.write(checksum(line.subarray(jsonStart, lineEnd)), 0, 'latin1')
  return line
}

/** What the line from `start` to before its LF at `end` holds; undefined where its checksum is wrong. */
function decodeLine(bytes: Buffer, start: number, end: number): unknown {
  const jsonStart = start + checksumLength + 1
  if (end <= jsonStart || bytes[jsonStart - 1] !== TAB) return undefined
  const json = bytes.subarray(jsonStart, end)
  if (bytes.toString('latin1', start, start + checksumLength) !== checksum(json)) return undefined
  try {
    return JSON.parse(json.toString('utf8'))
  } catch {
    return undefined // a right checksum over what we cannot have written
  }
}

function checksum(bytes: Buffer): string {
  return crc32(bytes).toString(16).padStart(checksumLength, '0')
}

function padded(length: number, padBytes: number): number {
  return padBytes === 0 ? length : Math.ceil(length / padBytes) * padBytes
}

/** A frame with so much room behind it. */
export function withRoom(frame: Buffer, bytes: number): Buffer {
  return Buffer.concat([frame, Buffer.alloc(bytes, TAB)])
}

/** How many of these bytes stand before the room that they end with. */
export function lengthBeforeRoom(bytes: Buffer): number {
  let length = bytes.length
  while (length > 0 && bytes[length - 1] === TAB) length -= 1
  return length
}

export type RecordFields = Readonly<Record<string, unknown>>

export interface Frame {
  /** The seq of the first record; the others follow without a gap. */
  readonly seq: number
  readonly records: readonly RecordFields[]
}

// Records are opaque here, so only their outer shape is checked. A validating `z.record` would copy every one of them.
const recordFields = z.custom<RecordFields>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
)
const frame = z.strictObject({ seq: z.int().min(1), records: z.array(recordFields).min(1) })

export function encodeFrame(seq: number, records: readonly object[], padBytes: number): Buffer {
  return encodeLine(`{"seq":${seq},"records":${JSON.stringify(records)}}`, padBytes)
}

export function decodeFrame(bytes: Buffer, start: number, end: number): Frame | undefined {
  return frame.safeParse(decodeLine(bytes, start, end)).data
}

// A raw TAB cannot be inside json, so this is found only where a frame begins.
const frameMark = Buffer.from('\t{"seq":')

/**
 * The first frame in `bytes` whose seq is at least `seq`, wherever it begins: damage may have eaten the LF before it.
 * One at the very start counts only with its own LF, for without it that is the torn frame itself.
 */
export function findFrame(bytes: Buffer, seq: number): { frame: Frame; start: number; end: number } | undefined {
  for (let mark = bytes.indexOf(frameMark); mark >= 0; mark = bytes.indexOf(frameMark, mark + 1)) {
    const start = mark - checksumLength
    if (start < 0) continue
    const lineFeed = bytes.indexOf(LF, mark)
    if (lineFeed < 0 && start === 0) continue
    const end = lineFeed < 0 ? bytes.length : lineFeed
    const found = decodeFrame(bytes, start, end)
    if (found !== undefined && found.seq >= seq) return { frame: found, start, end }
  }
  return undefined
}

export interface Snapshot {
  /** The state is the one after this record. */
  readonly seq: number
  readonly state: unknown
}

const snapshot = z.strictObject({ seq: z.int().min(1), state: z.unknown() })

export function encodeSnapshot({ seq, state }: Snapshot): Buffer {
  return Buffer.concat([encodeHeader('snapshot', seq), encodeLine(JSON.stringify({ seq, state }))])
}

/** Undefined where the file is not, byte for byte, what was written. */
export function decodeSnapshot(bytes: Buffer, seq: number, path: string): Snapshot | undefined {
  const found = snapshot.safeParse(onlyLine(bytes, 'snapshot', seq, path)).data
  return found?.seq === seq ? { seq, state: found.state } : undefined
}

export interface Head {
  /** The last record that was durable when this was written. */
  readonly seq: number
  /** True where the journal was closed in order: every byte below it has been flushed, none followed. */
  readonly closed: boolean
}

const head = z.strictObject({ seq: z.int().min(0), closed: z.boolean() })

export function encodeHead({ seq, closed }: Head): Buffer {
  return Buffer.concat([encodeHeader('head', seq), encodeLine(JSON.stringify({ seq, closed }))])
}

export function decodeHead(bytes: Buffer, path: string): Head | undefined {
  const seq = Number(/^instar-head \d+ (\d{1,16})\n/.exec(bytes.toString('latin1', 0, 64))?.[1])
  const found = head.safeParse(onlyLine(bytes, 'head', seq, path)).data
  return found?.seq === seq ? found : undefined
}

function onlyLine(bytes: Buffer, kind: FileKind, seq: number, path: string): unknown {
  const headerEnd = bytes.indexOf(LF)
  if (!isHeader(headerEnd < 0 ? bytes : bytes.subarray(0, headerEnd), kind, seq, path)) return undefined
  const lineEnd = bytes.length - 1
  if (headerEnd < 0 || bytes.indexOf(LF, headerEnd + 1) !== lineEnd) return undefined
  return decodeLine(bytes, headerEnd + 1, lineEnd)
}
