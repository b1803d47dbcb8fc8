import { request as httpRequest, type IncomingHttpHeaders, type RequestOptions } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import type { Child } from '../../machines/runtime-launch.ts'
import { InstarError } from '../errors.ts'
import { exitOf, familyOf, readyMessage } from './child.ts'
import { runtimeExited } from './exited.ts'
import { fill } from './fill.ts'
import { lineMatcher } from './line-matcher.ts'
import { LineReader, lastOutput, outputPaths } from './output.ts'
import { pause } from './pause.ts'
import { portHolder } from './ports.ts'

/**
 * How a start is recognised as good. All that is named must hold, in this order; a line or message that carries an
 * address gives it to what follows.
 */
export interface Probe {
  /** Text within a line that it prints, or `/expression/flags` whose group `url`, or first group, is its address. */
  readonly line?: string
  /** The message that it sends over its channel, or its `type`. A `nonce` in it must be the child's, a `url` is taken. */
  readonly ipc?: string
  /** The port accepts connections. */
  readonly tcp?: true
  /** A path on the child's port, or a whole address. */
  readonly http?: string
  /** Of a good answer; any from 200 to 299 where absent. */
  readonly status?: number
  /** A marker in the answer that only this runtime sends; `${nonce}` where it echoes what it finds in INSTAR_NONCE. */
  readonly contains?: string
  /** Headers of a good answer and the text that each must hold; `${nonce}` as above. */
  readonly headers?: Readonly<Record<string, string>>
  readonly timeoutMs: number
}

export interface Ready {
  /** Where it is reached; null for one that listens nowhere we know of. */
  readonly url: string | null
  readonly readyMs: number
}

/**
 * Waits until the child proves that it is up and that it is *it*: where the system shows whose sockets are whose, an
 * answer counts only if a process of the child's own listens there.
 *
 * Fails at once when the child ends. Asks again in short steps, so a slow start costs no more than it takes.
 *
 * @throws {InstarError} `RUNTIME_EXITED`; `PROBE_FOREIGN`: another program answers on the port; `PROBE_MISMATCH`: it
 * answered, but never rightly; `PROBE_TIMEOUT`: it said nothing in time; `PROBE_UNHEARD`: its message went to a
 * controller that is gone, so it must be started again.
 */
export async function probe(child: Child, wanted: Probe, { signal }: { signal?: AbortSignal } = {}): Promise<Ready> {
  const startedMs = performance.now()
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(tooLate), wanted.timeoutMs)
  const limit = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
  const seen: Seen = { last: null }
  try {
    const url = await Promise.race([isUp(child, wanted, seen, limit), endOf(child, over.signal)])
    return { url, readyMs: Math.round(performance.now() - startedMs) }
  } catch (error) {
    signal?.throwIfAborted()
    throw error === tooLate ? await notReady(child, wanted, seen) : error
  } finally {
    clearTimeout(timer)
    over.abort(decided)
  }
}

const tooLate = new Error('the time for the probe is over')
const decided = new Error('the probe is decided')

/** What the attempts came to, for the message of a probe that failed. */
interface Seen {
  last: { readonly mismatch: boolean; readonly what: string } | null
}

async function endOf(child: Child, signal: AbortSignal): Promise<never> {
  const exit = await exitOf(child, { signal })
  throw await runtimeExited(child, exit)
}

async function notReady(child: Child, { timeoutMs }: Probe, { last }: Seen): Promise<InstarError> {
  const { stderr, stdout } = await lastOutput(child.record)
  const holder = await portHolder(child.port, await pidsOf(child))
  const output = [stderr, stdout].filter((text) => text !== '').join('\n')
  const details = { port: child.port, portHolder: holder, output }
  const what = last === null ? '' : `: ${last.what}`
  return last?.mismatch === true
    ? new InstarError('PROBE_MISMATCH', `the runtime answers, but not as itself${what}`, { details })
    : new InstarError('PROBE_TIMEOUT', `the runtime was not ready within ${timeoutMs} ms${what}`, { details })
}

async function isUp(child: Child, wanted: Probe, seen: Seen, signal: AbortSignal): Promise<string | null> {
  let url: string | null = null
  if (wanted.line !== undefined) url = (await linePrinted(child, wanted.line, seen, signal)) ?? url
  if (wanted.ipc !== undefined) url = (await messageSent(child, wanted.ipc, seen, signal)) ?? url
  if (wanted.tcp) url = (await portOpen(child, seen, signal)) ?? url
  if (wanted.http !== undefined) url = await goodAnswer(child, wanted, url, seen, signal)
  return url
}

// ---- a line, a message

const stepMs = 25

async function linePrinted(child: Child, line: string, seen: Seen, signal: AbortSignal): Promise<string | null> {
  const match = lineMatcher(line)
  const { stdout, stderr } = outputPaths(child.record)
  const readers = [new LineReader(stdout), new LineReader(stderr)]
  seen.last = { mismatch: false, what: `no line with ${line}` }
  for (;;) {
    for (const reader of readers)
      for (const text of await reader.read()) {
        const found = match(text)
        if (found !== undefined) return addressOf(found)
      }
    await pause(stepMs, signal)
  }
}

function addressOf(text: unknown): string | null {
  return typeof text === 'string' && /^https?:\/\//.test(text) && URL.canParse(text) ? text : null
}

async function messageSent(child: Child, ipc: string, seen: Seen, signal: AbortSignal): Promise<string | null> {
  seen.last = { mismatch: false, what: `no message ${ipc}` }
  for (;;) {
    const { heard, message } = readyMessage(child)
    if (!heard)
      throw new InstarError('PROBE_UNHEARD', `the channel of process ${child.pid} belongs to a controller that is gone`)
    if (message !== undefined) return addressOf((message as { url?: unknown } | null)?.url)
    await pause(stepMs, signal)
  }
}

// ---- the port

const attemptMs = 5000
const loopback = ['127.0.0.1', '::1']

async function portOpen(child: Child, seen: Seen, signal: AbortSignal): Promise<string | null> {
  for (;;) {
    for (const address of loopback) {
      const refusal = await connectTo(address, child.port, signal)
      if (refusal === undefined && (await listens(child, child.port, address, seen))) return null
      if (refusal !== undefined) seen.last ??= { mismatch: false, what: refusal }
    }
    await pause(stepMs, signal)
  }
}

/** Undefined when it connected, else why not. */
function connectTo(host: string, port: number, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, signal: AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]) })
    socket.once('connect', () => {
      socket.destroy()
      resolve(undefined)
    })
    socket.once('error', (error) => (signal.aborted ? reject(signal.reason) : resolve(error.message)))
  })
}

/** True when the child listens there. Throws when somebody else does. */
async function listens(child: Child, port: number, address: string | undefined, seen: Seen): Promise<boolean> {
  const holder = await portHolder(port, await pidsOf(child), address)
  if (holder === 'foreign')
    throw new InstarError('PROBE_FOREIGN', `another program listens on port ${port}`, { details: { port } })
  if (holder === 'nobody') seen.last = { mismatch: false, what: `nobody listens on port ${port} any more` }
  return holder !== 'nobody'
}

async function pidsOf(child: Child): Promise<Set<number>> {
  return new Set((await familyOf(child, true)).map(({ pid }) => pid))
}

// ---- an answer

async function goodAnswer(
  child: Child,
  wanted: Probe,
  announced: string | null,
  seen: Seen,
  signal: AbortSignal,
): Promise<string> {
  const values = { port: child.port, nonce: child.nonce }
  const place = fill(wanted.http!, values)
  const bases = announced === null ? loopback.map((host) => origin(host, child.port)) : [announced]
  const urls = [...new Set(bases.map((base) => new URL(place, base).href))]
  const expected = {
    status: wanted.status,
    contains: wanted.contains === undefined ? undefined : fill(wanted.contains, values),
    headers: Object.entries(wanted.headers ?? {}).map(
      ([name, text]) => [name.toLowerCase(), fill(text, values)] as const,
    ),
  }
  const isGood = async (url: string): Promise<boolean> => {
    const { remote, answer, refusal } = await ask(new URL(url), expected.contains, signal)
    // Also before it has said a word: who accepts connections here decides whose the port is.
    const isChild = remote !== undefined && (await listens(child, remote.port, remote.address, seen))
    if (answer === undefined) {
      // What a listener did to us says more than that the other address refused us.
      if (remote !== undefined || seen.last === null) seen.last = { mismatch: false, what: refusal ?? 'no answer' }
      return false
    }
    const fault = faultIn(answer, expected)
    if (fault !== undefined) seen.last = { mismatch: true, what: fault }
    return fault === undefined && isChild
  }
  const firstGood = async (candidates: readonly string[]): Promise<string | undefined> => {
    for (const url of candidates) if (await isGood(url)) return url
    return undefined
  }
  for (;;) {
    const found = await firstGood(urls)
    if (found !== undefined) {
      // It may have begun to listen between two questions; one that listens on both addresses is always reached at the first.
      const reached = (await firstGood(urls.slice(0, urls.indexOf(found)))) ?? found
      return announced ?? new URL(reached).origin
    }
    await pause(stepMs, signal)
  }
}

function origin(host: string, port: number): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}

interface Expected {
  readonly status: number | undefined
  readonly contains: string | undefined
  readonly headers: readonly (readonly [string, string])[]
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

function faultIn({ status, headers, body }: Answer, expected: Expected): string | undefined {
  const isGood = expected.status === undefined ? status >= 200 && status < 300 : status === expected.status
  if (!isGood) return `status ${status}`
  const absent = expected.headers.find(([name, text]) => !String(headers[name] ?? '').includes(text))
  if (absent !== undefined) return `the header ${absent[0]} is not as expected`
  if (expected.contains !== undefined && !body.includes(expected.contains)) return 'the marker is not in the answer'
  return undefined
}

interface Attempt {
  /** Set once something accepted the connection. */
  remote?: { readonly address: string | undefined; readonly port: number }
  answer?: Answer
  refusal?: string
}

const bodyBytesMax = 1_048_576

/** Asks once. Reads no more of the answer than is needed to find `marker`. */
function ask(url: URL, marker: string | undefined, signal: AbortSignal): Promise<Attempt> {
  return new Promise((resolve, reject) => {
    const attempt: Attempt = {}
    const options: RequestOptions & { rejectUnauthorized: boolean } = {
      agent: false,
      headers: { connection: 'close' },
      signal: AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]),
      // A runtime on loopback signs its certificate itself; whether it is the one, the marker and its socket tell.
      rejectUnauthorized: false,
    }
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options)
    const finish = () => {
      request.destroy()
      resolve(attempt)
    }
    request.once('socket', (socket) => {
      socket.once('connect', () => {
        attempt.remote = { address: socket.remoteAddress, port: socket.remotePort! }
      })
    })
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted) return reject(signal.reason)
      attempt.refusal = error.message || error.code || error.name
      resolve(attempt)
    })
    request.once('response', (response) => {
      const { statusCode: status = 0, headers } = response
      const chunks: Buffer[] = []
      let bytes = 0
      const conclude = () => {
        attempt.answer = { status, headers, body: Buffer.concat(chunks).toString('utf8') }
        finish()
      }
      if (marker === undefined) return conclude()
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        bytes += chunk.length
        const text = Buffer.concat(chunks).toString('utf8')
        if (text.includes(marker) || bytes >= bodyBytesMax) conclude()
      })
      response.once('end', conclude)
      // A body that stalls until the attempt is over: what came is all there is.
      response.once('error', () => (signal.aborted ? reject(signal.reason) : conclude()))
    })
    request.end()
  })
}
