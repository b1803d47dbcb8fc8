import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { InstarError } from '../errors.ts'

/** Something that can be asked for under a path. */
export interface Route {
  /** Matches a whole path; what its groups match is handed on. */
  readonly path: RegExp
  readonly methods: readonly string[]
  handle(request: IncomingMessage, response: ServerResponse, groups: readonly string[]): Promise<void>
}

/** Something that becomes a WebSocket. */
export interface Upgrade {
  readonly path: RegExp
  /** Has the socket once it resolves; where it rejects, the socket gets the refusal. */
  take(request: IncomingMessage, socket: Duplex, head: Buffer, groups: readonly string[]): Promise<void>
}

/** Routes that belong together, and what they have open. */
export interface Area {
  readonly routes: readonly Route[]
  readonly upgrades?: readonly Upgrade[]
  close?(): Promise<void>
}

/** An error that has a status of its own. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    override readonly cause: InstarError,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(cause.message)
  }
}
