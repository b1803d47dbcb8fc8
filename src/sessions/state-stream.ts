import type { Socket } from 'node:net'
import { InstarError } from '../errors.ts'

/**
 * What a predecessor and its successor say to each other over descriptor 5, whatever their versions of Node are:
 *
 *   u32 length of the JSON, u32 length of the bytes, JSON in UTF-8, bytes
 *
 * Numbers are big-endian. The JSON points into the bytes by {@link Slice}.
 */
export interface StateMessage {
  readonly json: unknown
  readonly bytes: Buffer
}

/** Where in a message's bytes something lies. */
export interface Slice {
  readonly at: number
  readonly length: number
}

const headBytes = 8
const nothing = Buffer.alloc(0)
const jsonBytesMax = 64 * 1024 * 1024
const bytesMax = 512 * 1024 * 1024

/** Gathers the bytes of one message while its JSON is built. */
export class Slices {
  private readonly parts: Buffer[] = []
  private length = 0

  add(bytes: Buffer): Slice {
    const slice = { at: this.length, length: bytes.length }
    if (bytes.length > 0) this.parts.push(bytes)
    this.length += bytes.length
    return slice
  }

  get bytes(): Buffer {
    return Buffer.concat(this.parts, this.length)
  }
}

/** @throws {InstarError} `SNAPSHOT_INVALID` where the slice lies outside. */
export function cut(bytes: Buffer, { at, length }: Slice): Buffer {
  if (at + length > bytes.length) throw new InstarError('SNAPSHOT_INVALID', 'a slice lies outside of its message')
  return length === 0 ? nothing : bytes.subarray(at, at + length)
}

export function encodeState(json: unknown, bytes: Buffer = nothing): Buffer {
  const text = Buffer.from(JSON.stringify(json))
  const head = Buffer.allocUnsafe(headBytes)
  head.writeUInt32BE(text.length, 0)
  head.writeUInt32BE(bytes.length, 4)
  return Buffer.concat([head, text, bytes])
}

/** Both ends' side of the stream: whole messages in, whole messages out. */
export class StateStream {
  private parts: Buffer[] = []
  private held = 0
  private readonly inbox: StateMessage[] = []
  private waiting: { resolve(message: StateMessage): void; reject(error: Error): void } | null = null
  private ended = false

  constructor(private readonly socket: Socket) {
    socket.on('data', (bytes) => this.take(bytes))
    socket.on('error', () => this.end()) // the other side is gone, and 'close' follows
    socket.on('close', () => this.end())
    socket.on('end', () => this.end())
  }

  get isOpen(): boolean {
    return !this.ended
  }

  /** What the other side says next, in order; one caller at a time. Rejects with `HANDOFF_FAILED` when it has gone. */
  next(signal?: AbortSignal): Promise<StateMessage> {
    const message = this.inbox.shift()
    if (message !== undefined) return Promise.resolve(message)
    if (this.ended) return Promise.reject(gone())
    return new Promise((resolve, reject) => {
      const settle = () => {
        signal?.removeEventListener('abort', abort)
        this.waiting = null
      }
      const abort = () => {
        settle()
        reject(signal!.reason)
      }
      this.waiting = {
        resolve: (message) => {
          settle()
          resolve(message)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      }
      if (signal?.aborted) abort()
      else signal?.addEventListener('abort', abort)
    })
  }

  /** Resolves when the bytes are with the kernel. */
  send(json: unknown, bytes?: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(gone())
      this.socket.write(encodeState(json, bytes), (error) => (error ? reject(gone(error)) : resolve()))
    })
  }

  close(): void {
    this.end()
    this.socket.destroy()
  }

  private take(bytes: Buffer): void {
    this.parts.push(bytes)
    this.held += bytes.length
    while (this.held >= headBytes) {
      // Put together once it is whole: joined piece by piece, a large message would be copied over and over.
      if (this.parts[0]!.length < headBytes) this.parts = [Buffer.concat(this.parts)]
      const jsonLength = this.parts[0]!.readUInt32BE(0)
      const bytesLength = this.parts[0]!.readUInt32BE(4)
      if (jsonLength > jsonBytesMax || bytesLength > bytesMax) {
        this.close()
        return
      }
      const whole = headBytes + jsonLength + bytesLength
      if (this.held < whole) return
      const all = this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts)
      const rest = all.subarray(whole)
      this.parts = rest.length > 0 ? [rest] : []
      this.held = rest.length
      const text = all.subarray(headBytes, headBytes + jsonLength)
      if (!this.deliver(text, all.subarray(headBytes + jsonLength, whole))) this.close()
    }
  }

  private deliver(text: Buffer, bytes: Buffer): boolean {
    let json: unknown
    try {
      json = JSON.parse(text.toString('utf8'))
    } catch {
      return false // not one of ours, and what follows cannot be either
    }
    if (this.waiting === null) this.inbox.push({ json, bytes })
    else this.waiting.resolve({ json, bytes })
    return true
  }

  private end(): void {
    if (this.ended) return
    this.ended = true
    this.waiting?.reject(gone())
  }
}

const gone = (cause?: Error) =>
  new InstarError('HANDOFF_FAILED', 'the other daemon is gone', cause === undefined ? {} : { cause })
