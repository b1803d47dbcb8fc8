import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { Endpoint } from '../apps/endpoints.ts'
import type { Served } from '../control/verbs.ts'
import { InstarError } from '../errors.ts'
import type { HttpLimits } from './limits.ts'
import { type Area, Refused } from './route.ts'
import type { TokenGate, Visitor } from './token-gate.ts'

/** MCP over streamable HTTP: the apps of each workspace as one server, and one to manage the organisation's apps by. */
export function mcpArea({ access, apps }: Served, gate: TokenGate, limits: HttpLimits): Area {
  const sessions = new McpSessions((workspace) => apps.endpoint(workspace), limits)
  const unfollow = access.onRemove((token) => sessions.endThoseOf(token))
  const methods = ['GET', 'POST', 'DELETE']
  return {
    routes: [
      {
        path: /^\/mcp\/workspaces\/([a-z0-9][a-z0-9._-]{0,62})$/,
        methods,
        async handle(request, response, [workspace]) {
          const visitor = await gate.admit(request, { action: 'connect', workspace })
          await sessions.handle(request, response, { visitor, workspace })
        },
      },
      {
        path: /^\/mcp\/organisation$/,
        methods,
        async handle(request, response) {
          const visitor = await gate.admit(request, { action: 'manage apps' })
          await sessions.handle(request, response, { visitor, workspace: undefined })
        },
      },
    ],
    async close() {
      unfollow()
      await sessions.close()
    },
  }
}

interface Place {
  readonly visitor: Visitor
  /** Absent for the organisation. */
  readonly workspace: string | undefined
}

interface Session extends Place {
  readonly endpoint: Endpoint
  readonly transport: StreamableHTTPServerTransport
  /** Requests under way. */
  requests: number
  idle: NodeJS.Timeout | undefined
}

/** Conversations with MCP clients. Each has a server of its own, and belongs to the token that began it. */
class McpSessions {
  private readonly sessions = new Set<Session>()
  /** Whose are being made. */
  private readonly opening: Visitor[] = []
  private isClosed = false

  constructor(
    private readonly endpointFor: (workspace: string | undefined) => Promise<Endpoint>,
    private readonly limits: HttpLimits,
  ) {}

  async handle(request: IncomingMessage, response: ServerResponse, place: Place): Promise<void> {
    const id = request.headers['mcp-session-id']
    if (id === undefined && request.method !== 'POST')
      throw new Refused(400, new InstarError('MCP_SESSION_UNKNOWN', 'a conversation begins with a POST'))
    const session = id === undefined ? await this.begin(place) : this.find(id, place)
    try {
      await this.pass(session, request, response)
    } finally {
      // What it began with was no request to begin.
      if (session.transport.sessionId === undefined) await session.endpoint.close()
    }
  }

  async endThoseOf(visitor: Visitor): Promise<void> {
    const theirs = [...this.sessions].filter((session) => session.visitor === visitor)
    await Promise.all(theirs.map(({ endpoint }) => endpoint.close()))
  }

  async close(): Promise<void> {
    this.isClosed = true
    await Promise.all([...this.sessions].map(({ endpoint }) => endpoint.close()))
  }

  /** Somebody else's is not told apart from none. */
  private find(id: string | string[], { visitor, workspace }: Place): Session {
    for (const session of this.sessions)
      if (session.transport.sessionId === id && session.visitor === visitor && session.workspace === workspace)
        return session
    throw new InstarError('MCP_SESSION_UNKNOWN', 'there is no such conversation')
  }

  private async begin(place: Place): Promise<Session> {
    this.assertRoomFor(place.visitor)
    this.opening.push(place.visitor)
    try {
      // Imported when there is a client: the protocol's implementation is large.
      const { StreamableHTTPServerTransport } = await import('@modelcontextprotocol/sdk/server/streamableHttp.js')
      const endpoint = await this.endpointFor(place.workspace)
      const transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        maxRequestBodySize: this.limits.bodyBytes,
      })
      if (this.isClosed) throw new InstarError('CONTROLLER_BUSY', 'the controller is stopping')
      const session: Session = { ...place, endpoint, transport, requests: 0, idle: undefined }
      this.sessions.add(session)
      // The SDK's own types miss `exactOptionalPropertyTypes`.
      void endpoint.connect(transport as Transport).finally(() => this.forget(session))
      return session
    } finally {
      this.opening.splice(this.opening.indexOf(place.visitor), 1)
    }
  }

  /** One token does not take all there is; the owner of the home may. */
  private assertRoomFor(visitor: Visitor): void {
    const { sessions, sessionsOfToken } = this.limits
    const visitors = [...[...this.sessions].map((session) => session.visitor), ...this.opening]
    if (visitors.length >= sessions)
      throw new InstarError('CONTROLLER_BUSY', `there are ${sessions} conversations already`)
    if (visitor !== null && visitors.filter((other) => other === visitor).length >= sessionsOfToken)
      throw new InstarError('CONTROLLER_BUSY', `this token has ${sessionsOfToken} conversations already`)
  }

  private forget(session: Session): void {
    clearTimeout(session.idle)
    this.sessions.delete(session)
  }

  /** A client that waits for an answer, or for news, is not idle. */
  private async pass(session: Session, request: IncomingMessage, response: ServerResponse): Promise<void> {
    clearTimeout(session.idle)
    session.requests += 1
    response.once('close', () => {
      session.requests -= 1
      if (session.requests > 0 || !this.sessions.has(session)) return
      session.idle = setTimeout(() => void session.endpoint.close(), this.limits.sessionIdleMs)
      session.idle.unref()
    })
    await session.transport.handleRequest(request, response)
  }
}
