import * as z from 'zod'
import { InstarError } from '../errors.ts'
import { hasFields, isInteger, manyOf } from './many-of.ts'
import { SessionExit, SessionId, Size } from './protocol.ts'

/**
 * What crosses from a daemon to its successor: first the *plan* and a *draft* of the delta, while the predecessor serves on;
 * then, in the freeze, the *delta*, or no more than the numbers by which it differs from the draft; after the commit the
 * *history*. Everything is validated before anything is adopted.
 *
 * A successor says which formats it reads; the predecessor writes the newest of them that it knows. A format is never
 * changed: what needs another one gets the next number, and the writer of the old one stays as long as it is in use.
 */
export const snapshotFormats = [1] as const

/** The newest format in common. */
export function commonFormat(theirs: readonly number[]): number {
  const common = snapshotFormats.filter((format) => theirs.includes(format))
  if (common.length === 0)
    throw new InstarError(
      'SNAPSHOT_UNSUPPORTED',
      `the successor reads the formats ${theirs.join(', ')}, this daemon writes ${snapshotFormats.join(', ')}`,
    )
  return Math.max(...common)
}

const handle = z.int().min(1).max(0xffff_ffff)
const pid = z
  .int()
  .min(1)
  .max(2 ** 31)
const offset = z.int().min(0)
const hash = z.strictObject({ from: offset, crc32: z.int().min(0).max(0xffff_ffff) })
const slice = z.strictObject({ at: z.int().min(0), length: z.int().min(0) })
const descriptor = z.int().min(8).max(1_000_000)
const status = z.strictObject({ code: z.int().nullable(), signal: z.string().max(16).nullable() })

/** What a session is, apart from its bytes. Crosses in the plan; the keeper holds it as its META. */
export const Identity = z.strictObject({
  id: SessionId,
  handle,
  pid,
  command: z.array(z.string().max(128 * 1024)).max(1024),
  cwd: z.string().max(4096),
  createdAt: z.int().min(0),
  ptsName: z.string().max(256),
  size: Size,
})
export type Identity = z.infer<typeof Identity>

export const Settings = z.strictObject({
  scrollbackBytes: z
    .int()
    .min(0)
    .max(1024 * 1024 * 1024),
  shell: z.string().max(4096),
})
export type Settings = z.infer<typeof Settings>

/** successor -> predecessor, first of all */
export const Booted = z.object({
  type: z.literal('booted'),
  formats: z.array(z.int()).max(64),
  version: z.string().max(256),
  node: z.string().max(64),
  pid,
})

/** predecessor -> successor, while it serves on */
export const Plan = z.strictObject({
  type: z.literal('plan'),
  format: z.literal(snapshotFormats),
  generation: z.int().min(1),
  settings: Settings,
  sessions: z.array(z.strictObject({ identity: Identity, descriptor })).max(100_000),
})
export type Plan = z.infer<typeof Plan>

/** successor -> predecessor, to each plan, to the draft, and to the delta */
export const Verdict = z.discriminatedUnion('type', [
  z.object({ type: z.literal('prepared') }),
  z.object({ type: z.literal('ack') }),
  z.object({
    type: z.literal('nak'),
    code: z.string().max(64),
    message: z.string().max(10_000),
    /** The sessions that the refusal is about: those that have ended meanwhile are left out of the next plan. */
    handles: z.array(handle).max(100_000),
  }),
])

export const AttachmentDelta = z.strictObject({ handle, cursor: offset })

const pending = z.strictObject({
  request: z.int().min(0).max(0xffff_ffff),
  method: z.string().max(64),
  params: z.unknown(),
})

export const SessionDelta = z.strictObject({
  handle,
  offset,
  hash,
  size: Size,
  /** The oldest byte of the history that follows. */
  historyStart: offset,
  /** What a crash before may have taken, so that gaps can be told as they are. */
  doubt: z.strictObject({ known: offset, to: offset }).nullable(),
  /** Input that the program has not taken. */
  input: slice,
  /** How its program ended, where that is known already. */
  status: status.nullable(),
})

// What goes through no schema in the freeze, written out: also the first time it has to be quick. The tests compare.
const isHandle = (value: unknown) => isInteger(value, 1, 0xffff_ffff)
const isOffset = (value: unknown) => isInteger(value, 0)
const isHash = (value: unknown) => hasFields(value, 2) && isOffset(value.from) && isInteger(value.crc32, 0, 0xffff_ffff)
const isSize = (value: unknown) =>
  hasFields(value, 2) && isInteger(value.columns, 1, 10_000) && isInteger(value.rows, 1, 10_000)
const isSlice = (value: unknown) => hasFields(value, 2) && isOffset(value.at) && isOffset(value.length)
export const isUsualAttachment = (value: unknown) =>
  hasFields(value, 2) && isHandle(value.handle) && isOffset(value.cursor)
export const isUsualSession = (value: unknown) =>
  hasFields(value, 8) &&
  isHandle(value.handle) &&
  isOffset(value.offset) &&
  isHash(value.hash) &&
  isSize(value.size) &&
  isOffset(value.historyStart) &&
  value.doubt === null &&
  isSlice(value.input) &&
  value.status === null

/** predecessor -> successor, in the freeze */
export const Delta = z.strictObject({
  type: z.literal('delta'),
  /** When no byte flowed any more, in milliseconds of the system's monotonic clock. */
  frozenAtMs: z.number(),
  nextHandle: handle,
  predecessor: pid,
  sessions: manyOf(SessionDelta, 100_000, isUsualSession),
  /** Of the plan's sessions, those that have ended and were reported. */
  gone: z.array(handle).max(100_000),
  /** Ended sessions whose output is kept a while, and may not have reached every client. */
  ended: z.array(z.strictObject({ identity: Identity, exit: SessionExit, historyStart: offset })).max(10_000),
  connections: z
    .array(
      z.strictObject({
        number: z.int().min(1),
        /** Null before `hello`. */
        client: z.string().max(256).nullable(),
        /** Received, and not a whole frame yet. */
        received: slice,
        /** Frames, or the end of one, that the kernel has not taken. */
        unsent: slice,
        attachments: manyOf(AttachmentDelta, 100_000, isUsualAttachment),
        pending: z.array(pending).max(100_000),
      }),
    )
    .max(100_000),
})
export type Delta = z.infer<typeof Delta>

/** predecessor -> successor, when the connections have crossed: the delta as it is then, to be followed by one of the two others */
export const Draft = Delta.extend({ type: z.literal('draft') })

/** predecessor -> successor, in the freeze instead of a delta: see `draft.ts` */
export const Numbers = z.strictObject({
  type: z.literal('numbers'),
  frozenAtMs: z.number(),
  numbers: z.custom<number[]>((value) => Array.isArray(value) && value.length <= 100_000_000 && value.every(isOffset)),
})
export type Numbers = z.infer<typeof Numbers>

/** predecessor -> successor, after the commit: pieces of history in ascending order, the bytes beside; then `end` */
export const History = z.discriminatedUnion('type', [
  /**
   * First of all: how much of each connection's `unsent` the kernel has taken from the predecessor after all. Until the
   * ack the connections are its own, so it may not close them; those are served when this is known.
   */
  z.strictObject({
    type: z.literal('released'),
    connections: z.array(z.strictObject({ number: z.int().min(1), sent: z.int().min(0) })).max(100_000),
  }),
  z.strictObject({ type: z.literal('history'), handle }),
  z.strictObject({ type: z.literal('end') }),
])

/** @throws {InstarError} `SNAPSHOT_INVALID` */
export function readState<Shape extends z.ZodType>(shape: Shape, json: unknown, what: string): z.output<Shape> {
  const read = shape.safeParse(json)
  if (read.success) return read.data
  throw new InstarError('SNAPSHOT_INVALID', `${what}: ${z.prettifyError(read.error)}`)
}
