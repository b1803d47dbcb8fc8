export interface HttpLimits {
  readonly connections: number
  readonly headerBytes: number
  readonly bodyBytes: number
  /** For all headers of a request to come. */
  readonly headersMs: number
  /** For all of a request to come. */
  readonly requestMs: number
  /** After this long without a byte either way a connection is cut; one that is waited on is kept alive more often. */
  readonly silenceMs: number
  /** Conversations with MCP clients. */
  readonly sessions: number
  /** A conversation without any request under way is ended after this long. */
  readonly sessionIdleMs: number
  /** What is refused beyond this many within a minute is not journaled. */
  readonly refusalsPerMinute: number
}

export const httpLimits: HttpLimits = {
  connections: 256,
  headerBytes: 16_384,
  bodyBytes: 4_194_304,
  headersMs: 10_000,
  requestMs: 60_000,
  silenceMs: 120_000,
  sessions: 64,
  sessionIdleMs: 1_800_000,
  refusalsPerMinute: 120,
}
