import type { Readable, Writable } from 'node:stream'
import { ReadBuffer, serializeMessage } from '@modelcontextprotocol/sdk/shared/stdio.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'

/**
 * MCP over two streams, one JSON-RPC message a line.
 *
 * @see The specification of the stdio transport, whose client side the SDK offers only together with starting the process.
 */
export class PipeTransport implements Transport {
  onclose?: () => void
  onerror?: (error: Error) => void
  onmessage?: (message: JSONRPCMessage) => void
  private readonly incoming = new ReadBuffer()
  private isOver = false

  constructor(
    private readonly input: Readable,
    private readonly output: Writable,
  ) {}

  async start(): Promise<void> {
    this.input.on('data', (bytes: Buffer) => this.take(bytes))
    for (const stream of [this.input, this.output]) {
      stream.on('error', (error) => this.onerror?.(error))
      stream.on('close', () => this.end())
    }
    this.input.on('end', () => this.end())
  }

  /** Resolves when the other side has taken it, or is about to. */
  async send(message: JSONRPCMessage): Promise<void> {
    if (this.isOver) throw new Error('the connection is closed')
    if (this.output.write(serializeMessage(message))) return
    await new Promise<void>((resolve) => {
      this.output.once('drain', resolve)
      this.output.once('close', resolve)
    })
  }

  /** Says that nothing more comes, which asks a server to end. */
  async close(): Promise<void> {
    this.output.end()
    this.end()
  }

  private take(bytes: Buffer): void {
    if (this.isOver) return
    try {
      this.incoming.append(bytes)
      for (;;) {
        const message = this.next()
        if (message === null) return
        if (message !== undefined) this.onmessage?.(message)
      }
    } catch (error) {
      // More than a message may be: nothing that comes after it can be read.
      this.onerror?.(error as Error)
      this.input.destroy()
      this.end()
    }
  }

  /** Undefined for a line that is no message: some programs print a greeting before they know what they are. */
  private next(): JSONRPCMessage | null | undefined {
    const before = this.incoming
    try {
      return before.readMessage()
    } catch (error) {
      this.onerror?.(error as Error)
      return undefined
    }
  }

  private end(): void {
    if (this.isOver) return
    this.isOver = true
    this.onclose?.()
  }
}
