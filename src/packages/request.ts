import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import https from 'node:https'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { InstarError } from '../errors.ts'
import { abortedError, throwIfAborted } from './aborted.ts'
import type { TransferLimits } from './limits.ts'
import type { RegistryAccess } from './registry-access.ts'

export interface Wanted {
  readonly access: RegistryAccess
  readonly url: URL
  readonly headers?: Readonly<Record<string, string>>
  /** Ask for a compressed answer and decompress it. Not for tarballs: their digest is over the bytes as published. */
  readonly compressed: boolean
  readonly limits: TransferLimits
  readonly signal: AbortSignal | undefined
  /** The code of an answer that is larger than `limits.bytes`. */
  readonly tooLarge: 'REGISTRY_ANSWER_TOO_LARGE' | 'TARBALL_TOO_LARGE'
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Bytes announced, or null. A claim: only what arrives is counted against the limit. */
  readonly announcedBytes: number | null
  /** Capped, timed, and whole or in error. */
  readonly body: AsyncIterable<Buffer>
}

/**
 * Asks one URL once and hands the answer to `read`; when that is done the connection is gone, whether it read all or
 * not. npm's own client is not used for this: it follows a redirect before anyone can refuse it, buffers the body of an
 * error without a bound, and has a timeout for silence but none for slowness.
 *
 * Keeps no process alive by itself: a check that nobody waits for must not. Whoever waits holds it (`src/held.ts`).
 *
 * Answers other than 200, 304 and 404 are errors; so is a redirect to an origin that is not trusted. Nothing is retried.
 *
 * @throws {InstarError} `REGISTRY_UNREACHABLE`, `REGISTRY_TIMEOUT`, `REGISTRY_TOO_SLOW`, `REGISTRY_STATUS`,
 *   `REGISTRY_REDIRECTED`, `REGISTRY_ANSWER_INVALID`, the code in `tooLarge`, `ABORTED`; and whatever `read` throws.
 */
export async function request<T>(wanted: Wanted, read: (answer: Answer) => Promise<T>): Promise<T> {
  throwIfAborted(wanted.signal)
  const watch = new Watch(wanted.limits, wanted.signal)
  try {
    const message = await follow(wanted, watch)
    try {
      return await read(answerOf(message, wanted, watch))
    } finally {
      message.destroy()
    }
  } finally {
    watch.stop()
  }
}

/** Everything that may end a transfer from outside, as one signal whose reason is the error to report. */
class Watch {
  readonly #ending = new AbortController()
  readonly #limits: TransferLimits
  readonly #caller: AbortSignal | undefined
  readonly #deadline: NodeJS.Timeout
  #waiting: NodeJS.Timeout | undefined
  #pace: NodeJS.Timeout | undefined
  #bytesInWindow = 0

  constructor(limits: TransferLimits, caller: AbortSignal | undefined) {
    this.#limits = limits
    this.#caller = caller
    caller?.addEventListener('abort', this.#onAbort)
    this.#deadline = setTimeout(
      () => this.#end('REGISTRY_TIMEOUT', `the transfer was not complete after ${limits.deadlineMs} ms`),
      limits.deadlineMs,
    ).unref()
  }

  get signal(): AbortSignal {
    return this.#ending.signal
  }

  asked(): void {
    const { answerTimeoutMs } = this.#limits
    this.#waiting = setTimeout(
      () => this.#end('REGISTRY_TIMEOUT', `the registry did not answer within ${answerTimeoutMs} ms`),
      answerTimeoutMs,
    ).unref()
  }

  answered(): void {
    clearTimeout(this.#waiting)
  }

  bodyBegins(): void {
    const { minBytesPerSecond, slowAfterMs } = this.#limits
    this.#pace = setInterval(() => {
      const rate = Math.round((this.#bytesInWindow * 1000) / slowAfterMs)
      if (rate < minBytesPerSecond)
        this.#end(
          'REGISTRY_TOO_SLOW',
          `${rate} bytes per second for ${slowAfterMs} ms, at least ${minBytesPerSecond} wanted`,
        )
      this.#bytesInWindow = 0
    }, slowAfterMs).unref()
  }

  received(bytes: number): void {
    this.#bytesInWindow += bytes
  }

  stop(): void {
    clearTimeout(this.#deadline)
    clearTimeout(this.#waiting)
    clearInterval(this.#pace)
    this.#caller?.removeEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = () => this.#ending.abort(abortedError(this.#caller!))

  #end(code: 'REGISTRY_TIMEOUT' | 'REGISTRY_TOO_SLOW', message: string): void {
    this.#ending.abort(new InstarError(code, message))
  }
}

const redirects = new Set([301, 302, 303, 307, 308])
const redirectsMax = 5

async function follow(wanted: Wanted, watch: Watch): Promise<IncomingMessage> {
  const { access } = wanted
  let { url } = wanted
  for (let hop = 0; hop <= redirectsMax; hop += 1) {
    if (!access.trusts(url))
      throw new InstarError(
        'REGISTRY_REDIRECTED',
        `${wanted.url.origin} sends to ${url.origin}, which is not trusted`,
        {
          details: { from: wanted.url.origin, to: url.origin },
        },
      )
    if (url.username || url.password)
      throw new InstarError('REGISTRY_ANSWER_INVALID', `${url.origin} gave an address with credentials in it`)
    const message = await send(url, wanted, watch)
    const status = message.statusCode ?? 0
    if (!redirects.has(status)) {
      if (status === 200 || status === 304 || status === 404) return message
      message.destroy()
      throw statusError(status, url)
    }
    message.destroy()
    const { location } = message.headers
    if (location === undefined || !URL.canParse(location, url.href))
      throw new InstarError('REGISTRY_ANSWER_INVALID', `${url.origin} redirects without a usable address`)
    url = new URL(location, url)
  }
  throw new InstarError('REGISTRY_ANSWER_INVALID', `${wanted.url.origin} redirects more than ${redirectsMax} times`)
}

function send(url: URL, wanted: Wanted, watch: Watch): Promise<IncomingMessage> {
  const { access, headers, compressed } = wanted
  watch.asked()
  return new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = (url.protocol === 'https:' ? https : http).get(
      url,
      {
        agent: access.agent(url),
        signal: watch.signal,
        headers: {
          'user-agent': `instar node/${process.version}`,
          'accept-encoding': compressed ? 'gzip' : 'identity',
          ...headers,
          ...access.authorization(url),
        },
      },
      resolve,
    )
    outgoing.on('socket', (socket) => socket.unref())
    outgoing.on('error', (error) => reject(watch.signal.aborted ? watch.signal.reason : networkError(error, url)))
  }).finally(() => watch.answered())
}

function answerOf(message: IncomingMessage, { url, limits, tooLarge, compressed }: Wanted, watch: Watch): Answer {
  const announced = Number(message.headers['content-length'])
  const announcedBytes = message.headers['content-length'] !== undefined && announced >= 0 ? announced : null

  async function* body(): AsyncGenerator<Buffer> {
    const excess = (bytes: number) =>
      new InstarError(tooLarge, `${url.pathname} has more than ${limits.bytes} bytes`, {
        details: { bytes, limit: limits.bytes },
      })
    if (announcedBytes !== null && announcedBytes > limits.bytes) throw excess(announcedBytes)
    watch.bodyBegins()
    let bytes = 0
    try {
      for await (const chunk of decoded(message, compressed, watch)) {
        bytes += chunk.length
        if (bytes > limits.bytes) throw excess(bytes)
        yield chunk
      }
    } catch (error) {
      if (watch.signal.aborted) throw watch.signal.reason
      throw error instanceof InstarError ? error : networkError(error, url)
    }
  }
  return { status: message.statusCode!, headers: message.headers, announcedBytes, body: body() }
}

function decoded(message: IncomingMessage, compressed: boolean, watch: Watch): AsyncIterable<Buffer> {
  const encoding = message.headers['content-encoding'] ?? 'identity'
  // The pace is that of the wire: a slow body does not become a fast one by expanding.
  const raw = paced(message, watch)
  if (!compressed || encoding === 'identity') return raw
  if (encoding !== 'gzip' && encoding !== 'x-gzip')
    throw new InstarError('REGISTRY_ANSWER_INVALID', `the answer is encoded as ${encoding}, which was not asked for`)
  return pipeline(raw, createGunzip(), () => {}) // whoever reads the result meets the error
}

async function* paced(message: IncomingMessage, watch: Watch): AsyncGenerator<Buffer> {
  for await (const chunk of message as AsyncIterable<Buffer>) {
    watch.received(chunk.length)
    yield chunk
  }
}

function statusError(status: number, { origin, pathname }: URL): InstarError {
  const hint = status === 401 || status === 403 ? 'Check the token that npm has for this registry.' : undefined
  return new InstarError('REGISTRY_STATUS', `${origin} answered ${status} for ${pathname}`, {
    hint,
    details: { status },
  })
}

function networkError(error: unknown, { origin }: URL): InstarError {
  const code = String((error as NodeJS.ErrnoException).code ?? '')
  // The parser's codes (HPE_*) and zlib's (Z_*) mean that something answered, and that it was not HTTP as agreed.
  if (/^(HPE|Z)_/.test(code))
    return new InstarError('REGISTRY_ANSWER_INVALID', `${origin} sent a malformed answer`, { cause: error })
  return new InstarError('REGISTRY_UNREACHABLE', `${origin} could not be reached or cut the connection`, {
    cause: error,
    details: { origin, cause: code },
  })
}
