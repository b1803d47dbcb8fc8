import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { consoleAreas } from '../console/areas.ts'
import type { Shown } from '../console/shown.ts'
import type { Controller } from '../controller.ts'
import { type ErrorRecord, errorRecord, InstarError } from '../errors.ts'
import { type HttpLimits, httpLimits } from './limits.ts'
import { mcpArea } from './mcp.ts'
import { isFromOurselves } from './origin.ts'
import { type Area, Refused } from './route.ts'
import { statusOf } from './status-of.ts'
import { TokenGate } from './token-gate.ts'

interface HttpOptions {
  /** 0 for any that is free. */
  readonly port: number
  readonly log?: (message: string) => void
  readonly limits?: Partial<HttpLimits>
}

const host = '127.0.0.1'

/** Nothing but our own files, nothing inline, and in nobody's frame; for a page there is one, and for the rest it does no harm. */
const policy = [
  "default-src 'none'",
  ...['script', 'style', 'font', 'connect'].map((kind) => `${kind}-src 'self'`),
  "img-src 'self' data:",
  ...['base-uri', 'form-action', 'frame-ancestors'].map((kind) => `${kind} 'none'`),
].join('; ')

/**
 * A controller's HTTP server, on loopback only. It takes its port before there is a controller, so that where the port is
 * taken nothing has been begun; until `serve` every request is told to come later.
 *
 * What comes from another site than this server's own is refused before anything else is looked at.
 */
export class HttpServer implements AsyncDisposable {
  private areas: readonly Area[] | null = null
  private gate: TokenGate | null = null
  private closed: Promise<void> | null = null

  private constructor(
    private readonly server: Server,
    private readonly limits: HttpLimits,
    private readonly log: (message: string) => void,
  ) {
    server.on('request', (request, response) => void this.answer(request, response))
    server.on('upgrade', (request, socket, head) => void this.upgrade(request, socket, head))
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
  async serve(controller: Shown & Pick<Controller, 'beforeClose' | 'url' | 'consoleLink'>): Promise<void> {
    controller.beforeClose(() => {
      controller.url = controller.consoleLink = null
      return this.close()
    })
    const { limits, log } = this
    const gate = await TokenGate.open(controller, this.port, limits)
    this.gate = gate
    this.areas = [...consoleAreas(controller, gate, limits, log), mcpArea(controller, gate, limits)]
    controller.url = this.url
    // What stands behind the # is sent to nobody.
    controller.consoleLink = `${this.url}/#token=${gate.token}`
  }

  /** It does not keep the process alive by itself any more. */
  unref(): void {
    this.server.unref()
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
    await Promise.all((this.areas ?? []).map((area) => area.close?.()))
    this.server.closeAllConnections()
    await over
    await this.gate?.close()
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {}) // whoever asked has gone
    try {
      await this.handle(request, response)
    } catch (error) {
      this.refuse(response, error)
    }
  }

  /** Has the socket of a request that wants to be a WebSocket. */
  private async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const gone = () => socket.destroy()
    socket.on('error', gone)
    try {
      const [upgrade, groups] = find(
        this.areasFor(request).flatMap(({ upgrades = [] }) => upgrades),
        request,
      )
      await upgrade.take(request, socket, head, groups)
    } catch (error) {
      const response = new ServerResponse(request)
      response.assignSocket(socket as Socket)
      response.on('finish', () => (socket as Socket).destroySoon())
      setHeaders(response)
      this.refuse(response, error)
    } finally {
      socket.off('error', gone)
    }
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    setHeaders(response)
    const [route, groups] = find(
      this.areasFor(request).flatMap(({ routes }) => routes),
      request,
    )
    if (route.methods.includes(request.method ?? '')) return route.handle(request, response, groups)
    const allow = { Allow: route.methods.join(', ') }
    throw new Refused(405, new InstarError('HTTP_UNKNOWN', 'this cannot be done here'), allow)
  }

  private areasFor(request: IncomingMessage): readonly Area[] {
    if (!isFromOurselves(request, this.port))
      throw new Refused(403, new InstarError('HTTP_FOREIGN', 'this is not asked from here'))
    if (this.closed === null && this.areas !== null) return this.areas
    throw new Refused(503, new InstarError('CONTROLLER_BUSY', 'the controller is starting or stopping'))
  }

  private refuse(response: ServerResponse, error: unknown): void {
    refuse(response, error)
    if (!(error instanceof Refused || error instanceof InstarError)) this.log(`http: ${errorRecord(error).message}`)
  }
}

function setHeaders(response: ServerResponse): void {
  response.setHeader('X-Content-Type-Options', 'nosniff')
  response.setHeader('Cache-Control', 'no-store')
  response.setHeader('Content-Security-Policy', policy)
  response.setHeader('Cross-Origin-Resource-Policy', 'same-origin')
  response.setHeader('Referrer-Policy', 'no-referrer')
}

function find<Place extends { readonly path: RegExp }>(
  places: readonly Place[],
  { url = '' }: IncomingMessage,
): [Place, readonly string[]] {
  const [path = ''] = url.split('?')
  for (const place of places) {
    const match = place.path.exec(path)
    if (match !== null) return [place, match.slice(1)]
  }
  throw new Refused(404, new InstarError('HTTP_UNKNOWN', 'there is nothing here'))
}

/** Says what an error says; of one that is none of ours only that there was one. */
function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy()
  const known = error instanceof Refused ? error.cause : error
  const record: ErrorRecord =
    known instanceof InstarError ? errorRecord(known) : { name: 'Error', message: 'something went wrong' }
  const { code = 'INTERNAL', message, hint, details } = record
  response.writeHead(error instanceof Refused ? error.status : statusOf(record), {
    'Content-Type': 'application/json',
    // What is left of its body is nothing that we read.
    Connection: 'close',
    ...(error instanceof Refused && error.headers),
  })
  const told = { code, message, ...(hint !== undefined && { hint }), ...(details !== undefined && { details }) }
  response.end(JSON.stringify({ error: told }))
}
