import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Controller, ControllerOptions } from '../../../src/controller.ts'
import type { HttpLimits } from '../../../src/http/limits.ts'
import { HttpServer } from '../../../src/http/server.ts'
import { Host } from '../host.ts'
import { type Answer, request } from '../http.ts'
import { EventsRead } from './events-read.ts'

export interface Sent {
  readonly method?: string
  readonly cookie?: string
  readonly token?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON; a string as it is. */
  readonly body?: unknown
}

/** A controller with its console, and whoever visits it. */
export class ConsoleTrial implements AsyncDisposable {
  private readonly reads: EventsRead[] = []

  private constructor(
    readonly host: Host,
    private readonly port: number,
    private readonly options: Partial<ControllerOptions>,
    public controller: Controller,
    public http: HttpServer,
  ) {}

  static async make(limits: Partial<HttpLimits> = {}, options: Partial<ControllerOptions> = {}): Promise<ConsoleTrial> {
    const host = await Host.make({ bundled: null })
    const http = await HttpServer.listen({ port: 0, limits })
    const controller = await host.open(options)
    await http.serve(controller)
    return new ConsoleTrial(host, http.port, options, controller, http)
  }

  /** Closes the controller, and opens the home anew at the same address. */
  async restart(): Promise<void> {
    await this.controller.close()
    this.http = await HttpServer.listen({ port: this.port })
    this.controller = await this.host.open(this.options)
    await this.http.serve(this.controller)
  }

  async ownersToken(): Promise<string> {
    return (await readFile(join(this.host.home, 'console.token'), 'utf8')).trim()
  }

  send(path: string, { method = 'GET', cookie, token, headers = {}, body }: Sent = {}): Promise<Answer> {
    return request(
      new URL(this.http.url),
      {
        method,
        headers: {
          ...(body !== undefined && { 'Content-Type': 'application/json' }),
          ...(cookie !== undefined && { Cookie: cookie }),
          ...(token !== undefined && { Authorization: `Bearer ${token}` }),
          ...headers,
        },
        ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      },
      path,
    )
  }

  /** Signs a browser in, by default the owner's; resolves with its cookie. */
  async signIn(token?: string): Promise<string> {
    const body = { token: token ?? (await this.ownersToken()) }
    const { status, headers } = await this.send('/console/session', { method: 'POST', body })
    if (status !== 204) throw new Error(`signing in was answered by ${status}`)
    return cookieIn(headers)
  }

  async perform(cookie: string, verb: string, params: object = {}, id?: string): Promise<Answer> {
    const headers: Record<string, string> = id === undefined ? {} : { 'X-Request-Id': id }
    return this.send(`/console/verbs/${verb}`, { method: 'POST', cookie, headers, body: params })
  }

  async events(cookie: string, { from, lastId }: { from?: number; lastId?: number | null } = {}): Promise<EventsRead> {
    const url = new URL(`/console/events${from === undefined ? '' : `?from=${from}`}`, this.http.url)
    const resuming: Record<string, string> = typeof lastId === 'number' ? { 'Last-Event-ID': String(lastId) } : {}
    const read = await EventsRead.open(url, { Cookie: cookie, ...resuming })
    this.reads.push(read)
    return read
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const read of this.reads) read.close()
    await this.host[Symbol.asyncDispose]()
    await this.http.close()
  }
}

/** The cookie that an answer sets, as a browser sends it. */
export const cookieIn = (headers: Answer['headers']) => (headers['set-cookie'] as string[])[0]!.split(';')[0]!

export const codeOf = ({ text }: Answer) => JSON.parse(text).error.code as string
