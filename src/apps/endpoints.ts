import { randomUUID } from 'node:crypto'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import { InstarError } from '../errors.ts'

/** An MCP server that is made for one client. */
export interface Endpoint {
  /** Resolves when the client has gone. */
  connect(transport: Transport): Promise<void>
  close(): Promise<void>
}

/** Conversations with MCP clients whose messages come and go one by one, over the control socket. */
export class Endpoints {
  private readonly transports = new Map<string, MessageTransport>()

  /** Serves one client until `signal` aborts. The first thing that is delivered names the conversation. */
  async open(endpoint: Endpoint, deliver: (part: unknown) => Promise<void>, signal: AbortSignal): Promise<void> {
    const session = randomUUID()
    const transport = new MessageTransport(deliver)
    this.transports.set(session, transport)
    const close = () => void endpoint.close()
    signal.addEventListener('abort', close, { once: true })
    try {
      await deliver({ session })
      if (!signal.aborted) await endpoint.connect(transport)
    } finally {
      signal.removeEventListener('abort', close)
      this.transports.delete(session)
    }
  }

  /** What a client says. @throws {InstarError} `MCP_SESSION_UNKNOWN` */
  receive(session: string, message: unknown): void {
    const transport = this.transports.get(session)
    if (transport === undefined) throw new InstarError('MCP_SESSION_UNKNOWN', 'there is no such conversation')
    transport.onmessage?.(message as JSONRPCMessage)
  }
}

class MessageTransport implements Transport {
  onclose?: () => void
  onerror?: (error: Error) => void
  onmessage?: (message: JSONRPCMessage) => void

  constructor(private readonly deliver: (part: unknown) => Promise<void>) {}

  async start(): Promise<void> {}

  send(message: JSONRPCMessage): Promise<void> {
    return this.deliver(message)
  }

  async close(): Promise<void> {
    this.onclose?.()
  }
}
