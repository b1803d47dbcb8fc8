import type { Socket } from 'node:net'
import {
  AbstractMessageReader,
  AbstractMessageWriter,
  type DataCallback,
  type Disposable,
  type Message,
  type MessageReader,
  type MessageWriter,
  ProgressType,
} from 'vscode-jsonrpc/node'
import * as z from 'zod'
import { InstarError } from '../errors.ts'

/**
 * The control protocol, number 1: JSON-RPC 2.0, one message per line, UTF-8, over a stream socket.
 *
 *   client  hello  { protocol, version }            must be the first request
 *   server         { protocol, version, pid, home }
 *   client  <verb> { params, progress }             `progress` is the token of what follows
 *   server  $/progress { token, value }             any number of times
 *   server         the verb's answer, or an error whose `data` is an error record
 *   client  <verb> { params }                       without an id, of a verb that is told: there is no answer
 *   client  $/cancelRequest { id }                  the verb then ends with ABORTED, or with what it had already done
 *
 * A line instead of the usual Content-Length header, because the length of a line can be limited while it arrives.
 */
export const controlProtocol = 1

/** What a client may send in one line; what it asks is small. */
export const requestBytesMax = 1_048_576
/** What a controller may answer in one line. */
export const answerBytesMax = 67_108_864
/** Bytes that wait for a client which does not read; progress beyond it is dropped, for it is only shown. */
export const unreadBytesMax = 4_194_304

export const progressType = new ProgressType<unknown>()

export const helloRequest = z.object({ protocol: z.int().min(0), version: z.string().max(64) })
export const helloAnswer = z.object({
  protocol: z.int().min(0),
  version: z.string().max(64),
  pid: z.int().min(1),
  home: z.string(),
})
export type Hello = z.output<typeof helloAnswer>

export const verbRequest = z.object({ params: z.unknown(), progress: z.union([z.string(), z.number()]) })
export const verbTold = z.object({ params: z.unknown() })

const id = z.union([z.string().max(64), z.number()])
const message = z.union([
  z.looseObject({ jsonrpc: z.literal('2.0'), method: z.literal('$/cancelRequest'), params: z.looseObject({ id }) }),
  z.looseObject({
    jsonrpc: z.literal('2.0'),
    method: z.string().max(64),
    id: id.optional(),
    params: z.record(z.string(), z.unknown()).optional(),
  }),
  z.looseObject({ jsonrpc: z.literal('2.0'), id, result: z.unknown() }),
  z.looseObject({ jsonrpc: z.literal('2.0'), id, error: z.looseObject({ code: z.int(), message: z.string() }) }),
])

const lineFeed = 10

/** Reads messages off a socket. What is no message, or too long for one, ends the connection: nothing after it can be trusted. */
export class LineReader extends AbstractMessageReader implements MessageReader {
  private parts: Buffer[] = []
  private size = 0

  constructor(
    private readonly socket: Socket,
    private readonly bytesMax: number,
  ) {
    super()
  }

  listen(callback: DataCallback): Disposable {
    const onData = (chunk: Buffer) => this.take(chunk, callback)
    this.socket.on('data', onData)
    this.socket.on('error', (error) => this.fireError(error))
    this.socket.on('close', () => this.fireClose())
    return { dispose: () => this.socket.off('data', onData) }
  }

  private take(chunk: Buffer, callback: DataCallback): void {
    let start = 0
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, start)) {
      this.parts.push(chunk.subarray(start, end))
      start = end + 1
      const line = Buffer.concat(this.parts)
      this.parts = []
      this.size = 0
      if (!this.deliver(line, callback)) return
    }
    this.parts.push(chunk.subarray(start))
    this.size += chunk.length - start
    if (this.size > this.bytesMax) this.refuse('CONTROL_TOO_LARGE', `a message has more than ${this.bytesMax} bytes`)
  }

  private deliver(line: Buffer, callback: DataCallback): boolean {
    try {
      callback(message.parse(JSON.parse(line.toString())) as Message)
      return true
    } catch (cause) {
      return this.refuse('CONTROL_INVALID', 'a line is no message', cause)
    }
  }

  private refuse(code: 'CONTROL_INVALID' | 'CONTROL_TOO_LARGE', text: string, cause?: unknown): false {
    this.parts = []
    this.fireError(new InstarError(code, text, { cause }))
    this.socket.removeAllListeners('data')
    this.socket.destroy()
    return false
  }
}

/** Writes messages to a socket. `write` resolves when the system has taken the line, so that awaiting it is backpressure. */
export class LineWriter extends AbstractMessageWriter implements MessageWriter {
  constructor(
    private readonly socket: Socket,
    private readonly bytesMax: number,
  ) {
    super()
  }

  async write(message: Message): Promise<void> {
    const line = `${JSON.stringify(message)}\n`
    if (Buffer.byteLength(line) > this.bytesMax)
      throw new InstarError('CONTROL_TOO_LARGE', `the answer has more than ${this.bytesMax} bytes`)
    if (this.socket.destroyed) throw new InstarError('CONTROLLER_GONE', 'the connection is closed')
    await new Promise<void>((resolve, reject) => {
      this.socket.write(line, (error) => (error ? reject(error) : resolve()))
    })
  }

  end(): void {
    this.socket.end()
  }
}
