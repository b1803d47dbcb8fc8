import * as z from 'zod'
import { InstarError } from '../errors.ts'

/**
 * What a session daemon and its clients say to each other, version 1. `docs/session-protocol.md` tells it byte by byte.
 *
 * A frame: u32 length of what follows it, u8 type, payload. Numbers are big-endian. Bytes of a terminal are never
 * decoded; all else is JSON in UTF-8.
 */
export const protocolVersion = 1

export const frameTypes = {
  // client to daemon
  hello: 0x01,
  request: 0x02,
  input: 0x03,
  // daemon to client
  welcome: 0x81,
  result: 0x82,
  error: 0x83,
  output: 0x84,
  exit: 0x85,
  gap: 0x86,
  event: 0x87,
} as const

export type FrameType = (typeof frameTypes)[keyof typeof frameTypes]

/** What one side may ask of the other; beyond it the connection is closed with `PROTOCOL_INVALID`. */
export const limits = {
  /** Of a frame to the daemon, without its length. */
  frameBytesMax: 256 * 1024,
  /** Of a frame to a client: the list of all sessions has to fit. */
  answerBytesMax: 16 * 1024 * 1024,
  /** Of the bytes in one `input` or `output` frame. */
  dataBytesMax: 64 * 1024,
  /** Requests of one connection that are not answered yet; more than sessions, since each may be waited for. */
  requestsMax: 4096,
  connectionsMax: 1024,
  sessionsMax: 4000,
} as const

// ---- encoding

const lengthBytes = 4
const headBytes = lengthBytes + 1

function head(type: FrameType, fieldBytes: number, restBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(headBytes + fieldBytes)
  bytes.writeUInt32BE(1 + fieldBytes + restBytes, 0)
  bytes[lengthBytes] = type
  return bytes
}

export function jsonFrame(type: FrameType, value: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(value))
  return Buffer.concat([head(type, 0, body.length), body])
}

/**
 * `request`, `result` and `error` carry the number of the request they are about (0: the connection itself), `exit` the
 * handle of the session.
 */
export function numberedFrame(type: FrameType, number: number, value: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(value))
  const first = head(type, 4, body.length)
  first.writeUInt32BE(number, headBytes)
  return Buffer.concat([first, body])
}

/** The head of an `input` frame; `length` bytes of input follow. */
export function inputHead(handle: number, length: number): Buffer {
  const first = head(frameTypes.input, 4, length)
  first.writeUInt32BE(handle, headBytes)
  return first
}

/** The head of an `output` frame; the `length` bytes that the program printed from `offset` on follow. */
export function outputHead(handle: number, offset: number, length: number): Buffer {
  const first = head(frameTypes.output, 12, length)
  first.writeUInt32BE(handle, headBytes)
  first.writeBigUInt64BE(BigInt(offset), headBytes + 4)
  return first
}

/**
 * Bytes `from` to before `to` of a session cannot be had any more. Those before `known` were certainly printed; of the
 * rest a daemon that was killed may have read any part.
 */
export function gapFrame(handle: number, { from, known, to }: Gap): Buffer {
  const bytes = head(frameTypes.gap, 28, 0)
  bytes.writeUInt32BE(handle, headBytes)
  for (const [index, offset] of [from, known, to].entries())
    bytes.writeBigUInt64BE(BigInt(offset), headBytes + 4 + 8 * index)
  return bytes
}

export interface Gap {
  readonly from: number
  readonly known: number
  readonly to: number
}

// ---- decoding

export interface Frame {
  readonly type: number
  readonly payload: Buffer
}

const noBytes: Buffer = Buffer.alloc(0)

/**
 * Cuts a stream into frames. Holds at most one frame that is not whole yet, and grows only with what has really come, so
 * that a length alone costs nothing.
 */
export class FrameReader {
  /** Of a frame that is not whole; the first `heldBytes` of it have come. */
  private held = noBytes
  private heldBytes = 0
  /** What was pushed; before `at` it has been cut. */
  private input = noBytes
  private at = 0
  private failure: InstarError | null = null

  /** @param bytesMax Of a frame, without its length. */
  constructor(private readonly bytesMax: number = limits.frameBytesMax) {}

  /** What has been received and was not given out as a frame: pushed into another reader, that one goes on here. */
  get rest(): Buffer {
    return Buffer.concat([this.held.subarray(0, this.heldBytes), this.input.subarray(this.at)])
  }

  /**
   * The frames that `bytes` completes; a payload may be a view of it. Once all are taken nothing of `bytes` is kept, so
   * that it may be used again. Nothing is read before the first is asked for.
   *
   * @throws {InstarError} `PROTOCOL_INVALID` for a length that no frame has; nothing more can be read then.
   */
  *push(bytes: Buffer): Generator<Frame, void, void> {
    if (this.failure !== null) throw this.failure
    this.input = this.at < this.input.length ? Buffer.concat([this.input.subarray(this.at), bytes]) : bytes
    this.at = 0
    try {
      for (let frame = this.take(); frame !== null; frame = this.take())
        yield { type: frame[lengthBytes]!, payload: frame.subarray(headBytes) }
    } finally {
      // Something is left where the caller did not take all frames, or none could be read.
      this.input = this.failure === null ? Buffer.from(this.input.subarray(this.at)) : noBytes
      this.at = 0
    }
  }

  private take(): Buffer | null {
    const left = this.input.length - this.at
    if (this.heldBytes === 0 && left >= lengthBytes) {
      const total = this.totalAt(this.input, this.at)
      if (left >= total) {
        this.at += total
        return this.input.subarray(this.at - total, this.at)
      }
    }
    if (!this.hold(lengthBytes)) return null
    const total = this.totalAt(this.held, 0)
    if (!this.hold(total)) return null
    const frame = this.held.subarray(0, total)
    this.held = noBytes
    this.heldBytes = 0
    return frame
  }

  /** Of a frame, with its length. */
  private totalAt(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32BE(at)
    if (length >= 1 && length <= this.bytesMax) return lengthBytes + length
    this.held = noBytes
    this.heldBytes = 0
    this.failure = new InstarError(
      'PROTOCOL_INVALID',
      `a frame of ${length} bytes; at least 1 and at most ${this.bytesMax} are taken`,
    )
    throw this.failure
  }

  /** Takes input until `target` bytes are held; false where there is not so much. */
  private hold(target: number): boolean {
    if (this.heldBytes >= target) return true
    const taken = Math.min(target - this.heldBytes, this.input.length - this.at)
    const needed = this.heldBytes + taken
    if (this.held.length < needed) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(target, 2 * this.held.length)))
      this.held.copy(grown, 0, 0, this.heldBytes)
      this.held = grown
    }
    this.input.copy(this.held, this.heldBytes, this.at, this.at + taken)
    this.heldBytes += taken
    this.at += taken
    return this.heldBytes >= target
  }
}

/**
 * Reads the fields before the rest of a payload.
 *
 * @throws {InstarError} `PROTOCOL_INVALID` where they are cut short.
 */
export function splitNumbered(payload: Buffer): { number: number; body: Buffer } {
  if (payload.length < 4) throw new InstarError('PROTOCOL_INVALID', 'a frame that ends within its number')
  return { number: payload.readUInt32BE(0), body: payload.subarray(4) }
}

/** @throws {InstarError} `PROTOCOL_INVALID` where it is cut short or too long, or its end is no safe integer. */
export function splitOutput(payload: Buffer): { handle: number; offset: number; bytes: Buffer } {
  if (payload.length < 12) throw new InstarError('PROTOCOL_INVALID', 'an output frame that ends within its offset')
  const bytes = payload.subarray(12)
  if (bytes.length > limits.dataBytesMax) throw new InstarError('PROTOCOL_INVALID', 'too much output in one frame')
  const offset = offsetAt(payload, 4)
  if (offset + bytes.length > Number.MAX_SAFE_INTEGER) throw beyondSafe()
  return { handle: payload.readUInt32BE(0), offset, bytes }
}

/** @throws {InstarError} `PROTOCOL_INVALID` where its length is wrong or its offsets do not ascend. */
export function splitGap(payload: Buffer): { handle: number; gap: Gap } {
  if (payload.length !== 28) throw new InstarError('PROTOCOL_INVALID', 'a gap frame of the wrong length')
  const [from, known, to] = [4, 12, 20].map((at) => offsetAt(payload, at)) as [number, number, number]
  if (from > known || known > to) throw new InstarError('PROTOCOL_INVALID', `a gap from ${from} by ${known} to ${to}`)
  return { handle: payload.readUInt32BE(0), gap: { from, known, to } }
}

function offsetAt(payload: Buffer, at: number): number {
  const offset = payload.readBigUInt64BE(at)
  if (offset > BigInt(Number.MAX_SAFE_INTEGER)) throw beyondSafe()
  return Number(offset)
}

const beyondSafe = () => new InstarError('PROTOCOL_INVALID', 'an offset beyond 2^53')

/** @throws {InstarError} `PROTOCOL_INVALID` where the bytes are not JSON of this shape. */
export function readJson<Shape extends z.ZodType>(shape: Shape, bytes: Buffer, what: string): z.output<Shape> {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new InstarError('PROTOCOL_INVALID', `${what} is not JSON`, { cause })
  }
  const read = shape.safeParse(value)
  if (!read.success) throw new InstarError('PROTOCOL_INVALID', `${what}: ${z.prettifyError(read.error)}`)
  return read.data
}

// ---- what the JSON holds

const text = (max: number) => z.string().max(max)
const noNul = (value: string) => !value.includes('\0')

export const SessionId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be at most 64 letters, digits, ".", "_" and "-"')

/** A terminal's size in characters. */
export const Size = z.strictObject({ columns: z.int().min(1).max(10_000), rows: z.int().min(1).max(10_000) })
export type Size = z.infer<typeof Size>

const argument = text(128 * 1024).refine(noNul, 'must not hold a NUL')

export const Hello = z.object({
  /** The versions this client speaks. */
  protocols: z.array(z.int().min(1).max(65_535)).min(1).max(16),
  client: text(256),
  capabilities: z.array(text(64)).max(64),
})
export type Hello = z.infer<typeof Hello>

export const Welcome = z.object({
  protocol: z.int(),
  capabilities: z.array(text(64)).max(64),
  /** Of the daemon's own code. */
  version: text(256),
  pid: z.int(),
})
export type Welcome = z.infer<typeof Welcome>

export const SessionExit = z.object({
  code: z.int().nullable(),
  /** Such as `SIGKILL`, where one ended the program. */
  signal: text(16).nullable(),
  /** Nobody could know how it ended; never told as code 0. */
  lost: z.boolean(),
  /** How many bytes it printed in all. */
  offset: z.int().min(0),
  /** CRC-32 of its output from byte `from` to the end. */
  hash: z.object({ from: z.int().min(0), crc32: z.int().min(0).max(0xffff_ffff) }),
  at: z.int(),
})
export type SessionExit = z.infer<typeof SessionExit>

export const SessionInfo = z.object({
  id: SessionId,
  /** What `input`, `output`, `gap` and `exit` frames name it by; the same in every daemon it passes through. */
  handle: z.int().min(1).max(0xffff_ffff),
  pid: z.int().min(1),
  command: z.array(z.string()),
  cwd: z.string(),
  size: Size,
  createdAt: z.int(),
  /** The oldest byte that can still be had. */
  start: z.int().min(0),
  /** How many bytes it has printed. */
  offset: z.int().min(0),
  exit: SessionExit.nullable(),
})
export type SessionInfo = z.infer<typeof SessionInfo>

export const DaemonInfo = z.object({
  name: text(64),
  version: text(256),
  node: text(64),
  pid: z.int(),
  /** 1 for the first daemon; one more after each handoff or crash. */
  generation: z.int().min(1),
  startedAt: z.int(),
  /** Null where sessions end with this process. */
  keeper: z.object({ pid: z.int(), protocol: z.int() }).nullable(),
  sessions: z.int().min(0),
  connections: z.int().min(0),
})
export type DaemonInfo = z.infer<typeof DaemonInfo>

/** What became of a request to hand over. `kept`: the daemon that was asked serves on. */
export const HandoffResult = z.object({
  outcome: z.enum(['handed-over', 'kept']),
  predecessor: z.int(),
  successor: z.int().nullable(),
  sessions: z.int().min(0),
  /** How long no byte flowed. */
  freezeMs: z.number().nullable(),
  /** Why it was kept. */
  reason: z.object({ code: text(64), message: z.string(), hint: z.string().optional() }).nullable(),
})
export type HandoffResult = z.infer<typeof HandoffResult>

/** The program that a successor is: an executable and what it is given before the daemon's own arguments. */
export const DaemonCommand = z.array(argument.min(1)).min(1).max(64)
export type DaemonCommand = z.infer<typeof DaemonCommand>

const session = SessionId
const nothing = z.strictObject({})
const aboutSession = z.strictObject({ session })

const signalName = z.enum([
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGKILL',
  'SIGUSR1',
  'SIGUSR2',
  'SIGTERM',
  'SIGCONT',
  'SIGSTOP',
  'SIGTSTP',
  'SIGWINCH',
])

/** Every method: what it takes and what it answers. */
export const methods = {
  /** Begins a session. Errors: `SESSION_EXISTS`, `SESSION_CWD_INVALID`, `SESSION_COMMAND_INVALID`, `SESSION_LIMIT`. */
  open: {
    params: z.strictObject({
      /** Default: one that is not in use. */
      id: SessionId.optional(),
      /** Default: the daemon's shell. */
      command: z.array(argument).min(1).max(1024).optional(),
      cwd: text(4096).refine(noNul).optional(),
      /** Added to the daemon's own environment. */
      env: z.record(text(256).regex(/^[^=\0]+$/), argument).optional(),
      size: Size.optional(),
    }),
    result: SessionInfo,
  },
  /**
   * From now on the session's output comes to this connection, from byte `from` on; where that is gone, a `gap` comes
   * first. Ends with `detach`, with the session's `exit`, or with the connection.
   */
  attach: {
    params: z.strictObject({ session, from: z.union([z.int().min(0), z.literal('start'), z.literal('end')]) }),
    result: z.object({ session: SessionInfo, from: z.int().min(0) }),
  },
  detach: { params: aboutSession, result: nothing },
  resize: { params: z.strictObject({ session, size: Size }), result: nothing },
  /** To the process group in the foreground of the terminal. */
  signal: { params: z.strictObject({ session, signal: signalName }), result: nothing },
  /** Hangs up, and kills what does not mind that. Answered when the session has ended. */
  close: { params: aboutSession, result: SessionExit },
  /** Answered when the session has ended; also for one that ended a while ago. */
  wait: { params: aboutSession, result: SessionExit },
  list: { params: nothing, result: z.object({ sessions: z.array(SessionInfo) }) },
  info: { params: nothing, result: DaemonInfo },
  /** Hands everything over to a daemon started as `command`; default: as this one was. */
  upgrade: { params: z.strictObject({ command: DaemonCommand.optional() }), result: HandoffResult },
  /** Ends every session and the daemon. */
  stop: { params: nothing, result: z.object({ sessions: z.int().min(0) }) },
} as const satisfies Record<string, { params: z.ZodType; result: z.ZodType }>

export type Method = keyof typeof methods
export type ParamsOf<M extends Method> = z.input<(typeof methods)[M]['params']>
export type ResultOf<M extends Method> = z.output<(typeof methods)[M]['result']>

export const Request = z.strictObject({ method: z.string().max(64), params: z.unknown().default({}) })

export const ErrorBody = z.object({
  code: text(64),
  message: z.string(),
  hint: z.string().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
})
export type ErrorBody = z.infer<typeof ErrorBody>

export const DaemonEvent = z.discriminatedUnion('type', [
  /** Another process serves this connection now. */
  z.object({ type: z.literal('handed-over'), version: text(256), pid: z.int() }),
  z.object({ type: z.literal('resized'), session, size: Size }),
])
export type DaemonEvent = z.infer<typeof DaemonEvent>

const AnyEvent = z.object({ type: text(64) })
const eventTypes = new Set<string>(DaemonEvent.options.map(({ shape }) => shape.type.value))

/**
 * Null for an event of a type that this version does not know: a daemon may tell more than its clients understand.
 *
 * @throws {InstarError} `PROTOCOL_INVALID` where it is no event.
 */
export function readEvent(payload: Buffer): DaemonEvent | null {
  const { type } = readJson(AnyEvent, payload, 'an event')
  return eventTypes.has(type) ? readJson(DaemonEvent, payload, 'an event') : null
}
