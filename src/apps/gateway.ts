import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import type { RequestHandlerExtra, RequestOptions } from '@modelcontextprotocol/sdk/shared/protocol.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  ErrorCode,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListToolsRequestSchema,
  McpError,
  type Notification,
  ReadResourceRequestSchema,
  type Request,
  type Result,
  ResultSchema,
  type ServerNotification,
  type ServerRequest,
  SetLevelRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { packageVersion } from '../package-info.ts'
import { type Kind, kinds, type Listed, shownNames } from './catalog.ts'
import { judgesNothing } from './judges-nothing.ts'
import type { Slot } from './slot.ts'

/** The apps of a workspace as the gateway sees them. */
export interface Served {
  /** Name and slot of each app, in the order of the names. */
  slots(): readonly (readonly [app: string, slot: Slot])[]
  /** Tells whenever apps have come or gone. Returns what ends it. */
  onChange(listener: () => void): () => void
}

type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>

/** Who waits for an answer decides how long. */
const noTimeoutMs = 2 ** 31 - 1

/**
 * An MCP server that shows all apps of a workspace as one, for one client. It stays connected while apps are replaced
 * behind it: calls go to whichever process serves, and the client is told when a list may be another.
 *
 * A name is shown as it is; where two apps have the same, each is shown behind the name of its app.
 */
export class Gateway {
  private readonly server = new Server(
    { name: 'instar', version: packageVersion },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        prompts: { listChanged: true },
        completions: {},
        logging: {},
      },
      jsonSchemaValidator: judgesNothing,
    },
  )
  private readonly following = new Map<Slot, () => void>()
  private readonly unfollow: () => void

  constructor(private readonly served: Served) {
    this.answerLists()
    this.answerCalls()
    this.unfollow = served.onChange(() => {
      this.follow()
      for (const kind of kinds) this.changed(kind)
    })
    this.follow()
  }

  /** Resolves when the client has gone. */
  async connect(transport: Transport): Promise<void> {
    const over = new Promise<void>((resolve) => {
      this.server.onclose = resolve
    })
    try {
      await this.server.connect(transport)
      await over
    } finally {
      this.unfollow()
      for (const stop of this.following.values()) stop()
    }
  }

  close(): Promise<void> {
    return this.server.close()
  }

  private answerLists(): void {
    const { server } = this
    server.setRequestHandler(ListToolsRequestSchema, async (_, { signal }) => ({
      tools: await this.shown('tools', signal),
    }))
    server.setRequestHandler(ListPromptsRequestSchema, async (_, { signal }) => ({
      prompts: await this.shown('prompts', signal),
    }))
    server.setRequestHandler(ListResourcesRequestSchema, async (_, { signal }) => ({
      resources: await this.shown('resources', signal),
    }))
    server.setRequestHandler(ListResourceTemplatesRequestSchema, async (_, { signal }) => ({
      resourceTemplates: await this.shown('resourceTemplates', signal),
    }))
  }

  private answerCalls(): void {
    const { server } = this
    server.setRequestHandler(CallToolRequestSchema, async (request, extra) => {
      const { slot, name } = await this.owner('tools', request.params.name, extra.signal)
      return this.forward(slot, { ...request, params: { ...request.params, name } }, extra)
    })
    server.setRequestHandler(GetPromptRequestSchema, async (request, extra) => {
      const { slot, name } = await this.owner('prompts', request.params.name, extra.signal)
      return this.forward(slot, { ...request, params: { ...request.params, name } }, extra)
    })
    for (const schema of [ReadResourceRequestSchema, SubscribeRequestSchema, UnsubscribeRequestSchema] as const)
      server.setRequestHandler(schema, async (request, extra) =>
        this.forward(await this.resourceOwner(request.params.uri, extra.signal), request, extra),
      )
    server.setRequestHandler(CompleteRequestSchema, async (request, extra) => {
      const { ref } = request.params
      if (ref.type === 'ref/resource')
        return this.forward(await this.resourceOwner(ref.uri, extra.signal), request, extra)
      const { slot, name } = await this.owner('prompts', ref.name, extra.signal)
      return this.forward(slot, { ...request, params: { ...request.params, ref: { ...ref, name } } }, extra)
    })
    server.setRequestHandler(SetLevelRequestSchema, async (request, extra) => {
      const asked = this.served.slots().map(([, slot]) => this.forward(slot, request, extra).catch(() => {}))
      await Promise.all(asked) // not every app has a log
      return {}
    })
  }

  /** Sends a request on as it is; its progress and its cancellation go along. */
  private forward(slot: Slot, { method, params }: Request, extra: Extra): Promise<Result> {
    const token = extra._meta?.progressToken
    const options: RequestOptions = {
      signal: extra.signal,
      timeout: noTimeoutMs,
      ...(token !== undefined && {
        onprogress: (progress) =>
          void extra
            .sendNotification({
              method: 'notifications/progress',
              params: { ...progress, progressToken: token },
            } as ServerNotification)
            .catch(() => {}), // whoever asked is not connected any more
      }),
    }
    const request = { method, ...(params !== undefined && { params }) }
    return slot.use(({ client }) => client.request(request as never, ResultSchema, options), extra.signal)
  }

  private async listed(kind: Kind, signal: AbortSignal): Promise<Listed[]> {
    const lists = this.served.slots().map(async ([app, slot]) => {
      const items = await slot
        .use(({ catalog }) => catalog.list(kind), signal)
        .catch(() => {
          signal.throwIfAborted()
          return [] // one that does not serve must not hide the others
        })
      return items.map((item) => ({ app, slot, item }))
    })
    return (await Promise.all(lists)).flat()
  }

  private async shown(kind: Kind, signal: AbortSignal): Promise<any[]> {
    const listed = await this.listed(kind, signal)
    if (kind === 'resources' || kind === 'resourceTemplates') return listed.map(({ item }) => item)
    return [...shownNames(listed)].map(([name, { item }]) => ({ ...item, name }))
  }

  /** Whose it is, and what it is called there. */
  private async owner(kind: 'tools' | 'prompts', name: string, signal: AbortSignal) {
    const found = shownNames(await this.listed(kind, signal)).get(name)
    if (found === undefined) throw new McpError(ErrorCode.InvalidParams, `there is no "${name}" here`)
    return { slot: found.slot, name: found.item.name as string }
  }

  private async resourceOwner(uri: string, signal: AbortSignal): Promise<Slot> {
    const [resources, templates] = await Promise.all([
      this.listed('resources', signal),
      this.listed('resourceTemplates', signal),
    ])
    const owner =
      resources.find(({ item }) => item.uri === uri) ??
      templates.find(({ item }) => fits(item.uriTemplate as string, uri))
    if (owner === undefined) throw new McpError(ErrorCode.InvalidParams, `there is no resource ${uri} here`)
    return owner.slot
  }

  private follow(): void {
    const slots = new Set(this.served.slots().map(([, slot]) => slot))
    for (const [slot, stop] of this.following)
      if (!slots.has(slot)) {
        stop()
        this.following.delete(slot)
      }
    for (const slot of slots) {
      if (this.following.has(slot)) continue
      this.following.set(
        slot,
        slot.follow((event) => this.hear(event)),
      )
    }
  }

  /** Another process may have other things to offer; what an app says is passed on. */
  private hear(event: Notification | 'serving'): void {
    if (event === 'serving') for (const kind of kinds) this.changed(kind)
    else void this.server.notification(event as ServerNotification).catch(() => {}) // nobody is connected any more
  }

  private changed(kind: Kind): void {
    const told = {
      tools: () => this.server.sendToolListChanged(),
      prompts: () => this.server.sendPromptListChanged(),
      resources: () => this.server.sendResourceListChanged(),
      resourceTemplates: async () => {},
    }
    void told[kind]().catch(() => {}) // nobody is connected yet, or any more
  }
}

/** Whether a URI may come from a template: each expression stands for any text. */
function fits(template: string, uri: string): boolean {
  const literal = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  const parts = template.split(/\{[^}]*\}/).map(literal)
  return new RegExp(`^${parts.join('.*')}$`, 's').test(uri)
}
