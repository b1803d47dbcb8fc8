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
  /** Of these, by one token. */
  readonly sessionsOfToken: number
  /** A conversation without any request under way is ended after this long. */
  readonly sessionIdleMs: number
  /** What is refused beyond this many within a minute is not journaled. */
  readonly refusalsPerMinute: number
  /** That are signed in to the console; where another one comes, the first of them is signed out. */
  readonly browsers: number
  readonly browserMs: number
  /** Pages that listen to what happens. */
  readonly streams: number
  /** A page that takes nothing of what it is sent for this long is cut. */
  readonly takeMs: number
  readonly terminals: number
  /** What pages have asked for and is under way. */
  readonly verbs: number
}

export const httpLimits: HttpLimits = {
  connections: 256,
  headerBytes: 16_384,
  bodyBytes: 4_194_304,
  headersMs: 10_000,
  requestMs: 60_000,
  silenceMs: 120_000,
  sessions: 64,
  sessionsOfToken: 16,
  sessionIdleMs: 1_800_000,
  refusalsPerMinute: 120,
  browsers: 64,
  browserMs: 2_592_000_000,
  streams: 64,
  takeMs: 15_000,
  terminals: 64,
  verbs: 64,
}
