import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Served } from '../control/verbs.ts'
import { type ErrorRecord, errorRecord, InstarError } from '../errors.ts'
import { type HttpLimits, httpLimits } from './limits.ts'
import { mcpArea } from './mcp.ts'
import { isFromOurselves } from './origin.ts'
import { type Area, Refused } from './route.ts'
import { TokenGate } from './token-gate.ts'

interface HttpOptions {
  /** 0 for any that is free. */
  readonly port: number
  readonly log?: (message: string) => void
  readonly limits?: Partial<HttpLimits>
}

const host = '127.0.0.1'

/**
 * A controller's HTTP server, on loopback only. It takes its port before there is a controller, so that where the port is
 * taken nothing has been begun; until `serve` every request is told to come later.
 *
 * What comes from another site than this server's own is refused before anything else is looked at.
 */
export class HttpServer implements AsyncDisposable {
  private area: Area | null = null
  private gate: TokenGate | null = null
  private closed: Promise<void> | null = null

  private constructor(
    private readonly server: Server,
    private readonly limits: HttpLimits,
    private readonly log: (message: string) => void,
  ) {
    server.on('request', (request, response) => void this.answer(request, response))
    server.on('error', (error) => log(`http: ${error.message}`)) // out of descriptors, say; it goes on accepting
  }

  /** @throws {InstarError} `HTTP_PORT_TAKEN`, `HTTP_UNUSABLE`. */
  static async listen({ port, log = () => {}, limits: given = {} }: HttpOptions): Promise<HttpServer> {
    const limits = { ...httpLimits, ...given }
    const server = createServer({
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      connectionsCheckingInterval: Math.min(limits.headersMs, 5000),
    })
    server.maxConnections = limits.connections
    server.timeout = limits.silenceMs
    try {
      await once(server.listen({ port, host, exclusive: true }), 'listening')
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EADDRINUSE')
        throw new InstarError('HTTP_PORT_TAKEN', `port ${port} of ${host} is taken`, { cause })
      throw new InstarError('HTTP_UNUSABLE', `cannot listen on port ${port} of ${host}`, { cause })
    }
    return new HttpServer(server, limits, log)
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://${host}:${this.port}`
  }

  /** Begins to answer for a controller, until that is closed. Writes the token of the home's owner. */
  async serve(
    controller: Served & { beforeClose(work: () => Promise<void>): void; url: string | null },
  ): Promise<void> {
    controller.beforeClose(() => this.close())
    this.gate = await TokenGate.open(controller, this.limits)
    this.area = mcpArea(controller, this.gate, this.limits)
    controller.url = this.url
  }

  /** Ends every conversation. Safe to call twice. */
  close(): Promise<void> {
    this.closed ??= this.shut()
    return this.closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  private async shut(): Promise<void> {
    const over = once(this.server, 'close')
    this.server.close()
    await this.area?.close()
    this.server.closeAllConnections()
    await over
    await this.gate?.close()
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {}) // whoever asked has gone
    try {
      await this.handle(request, response)
    } catch (error) {
      refuse(response, error)
      if (!(error instanceof Refused || error instanceof InstarError)) this.log(`http: ${errorRecord(error).message}`)
    }
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('X-Content-Type-Options', 'nosniff')
    response.setHeader('Cache-Control', 'no-store')
    if (!isFromOurselves(request, this.port))
      throw new Refused(403, new InstarError('HTTP_FOREIGN', 'this is not asked from here'))
    if (this.closed !== null || this.area === null)
      throw new Refused(503, new InstarError('CONTROLLER_BUSY', 'the controller is starting or stopping'))
    const [path = ''] = (request.url ?? '').split('?')
    for (const route of this.area.routes) {
      const match = route.path.exec(path)
      if (match === null) continue
      if (route.methods.includes(request.method ?? '')) return route.handle(request, response, match.slice(1))
      const allow = { Allow: route.methods.join(', ') }
      throw new Refused(405, new InstarError('HTTP_UNKNOWN', 'this cannot be done here'), allow)
    }
    throw new Refused(404, new InstarError('HTTP_UNKNOWN', 'there is nothing here'))
  }
}

const statuses: Partial<Record<string, number>> = {
  WORKSPACE_UNKNOWN: 404,
  MCP_SESSION_UNKNOWN: 404,
  CONTROLLER_BUSY: 503,
  CONTROLLER_CLOSED: 503,
}

/** Says what an error says; of one that is none of ours only that there was one. */
function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy()
  const known = error instanceof Refused ? error.cause : error
  const record: ErrorRecord =
    known instanceof InstarError ? errorRecord(known) : { name: 'Error', message: 'something went wrong' }
  const { code = 'INTERNAL', message, hint } = record
  const status = error instanceof Refused ? error.status : (statuses[code] ?? 500)
  response.writeHead(status, {
    'Content-Type': 'application/json',
    // What is left of its body is nothing that we read.
    Connection: 'close',
    ...(error instanceof Refused && error.headers),
  })
  response.end(JSON.stringify({ error: { code, message, ...(hint !== undefined && { hint }) } }))
}
