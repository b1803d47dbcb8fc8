import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { type HostileTree, hostileTree, type TarEntry, tarball } from './tarball.ts'

/** Which of the registry's three kinds of answer. */
export type RequestKind = 'packument' | 'tarball' | 'keys'

/**
 * What can go wrong with an answer, whatever it is about:
 *
 * - `disconnect`: the connection is cut before a status line. What an unreachable registry looks like.
 * - `hang`: the request is taken and never answered.
 * - `status`: 500, or the `status` given, with a body that never ends.
 * - `redirect`: 302 to `to`.
 * - `reset`: half of the real body, then the connection is reset.
 * - `stall`: half of the real body, then nothing.
 * - `drip`: the real body, one byte every 20 ms.
 * - `endless`: a body that goes on for as long as anyone reads it.
 * - `invalid-json`: text that begins like JSON.
 * - `huge`: valid JSON of 40 MiB.
 */
export type AnswerFault =
  | 'disconnect'
  | 'hang'
  | 'status'
  | 'redirect'
  | 'reset'
  | 'stall'
  | 'drip'
  | 'endless'
  | 'invalid-json'
  | 'huge'

/**
 * How one version can be misrepresented:
 *
 * - `wrong-bytes`: the tarball served has one byte changed; metadata and signature are true.
 * - `missing-integrity`, `weak-integrity`: no digest, or sha1 alone.
 * - `wrong-signature`, `missing-signature`, `unknown-key`: of the registry's signature.
 * - `wrong-name`, `garbage-version`: the entry calls itself something else, or nothing that is a version.
 * - `missing-tarball`: listed, but its bytes answer 404.
 * - `foreign-tarball`: the tarball is said to lie at another origin.
 */
export type VersionFault =
  | 'wrong-bytes'
  | 'missing-integrity'
  | 'weak-integrity'
  | 'wrong-signature'
  | 'missing-signature'
  | 'unknown-key'
  | 'wrong-name'
  | 'garbage-version'
  | 'missing-tarball'
  | 'foreign-tarball'

/** Files by path below the package's own folder. Entries as an array are taken as they are, paths and all. */
export type PackageFiles = Readonly<Record<string, string | Uint8Array>> | readonly TarEntry[]

export interface PublishOptions {
  /** Default `latest`; null leaves the tags alone. */
  readonly distTag?: string | null
  readonly engines?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly bin?: string | Readonly<Record<string, string>>
  readonly type?: 'module' | 'commonjs'
  readonly deprecated?: string
  /** More fields of `package.json`. */
  readonly manifest?: Readonly<Record<string, unknown>>
}

/** One request as it was received and answered. */
export interface LoggedRequest {
  readonly method: string
  readonly url: string
  readonly kind: RequestKind | null
  /** The package it is about; null for keys. */
  readonly package: string | null
  readonly headers: IncomingHttpHeaders
  /** 0 as long as no status was sent. */
  readonly status: number
  /** What followed the headers so far, framing included. */
  readonly bodyBytes: number
}

/** Holds back answers until it is released. */
export interface Gate {
  /** Resolves when the first request waits here. */
  readonly reached: Promise<void>
  /** Lets through those that wait, and all that come later. */
  release(): void
}

export interface RegistryOptions {
  readonly packages?: readonly (PublishOptions & {
    readonly name: string
    readonly version: string
    readonly files: PackageFiles
  })[]
  /** Requests without this bearer token are answered 401. */
  readonly token?: string
}

interface Version {
  readonly name: string
  readonly version: string
  readonly manifest: Readonly<Record<string, unknown>>
  readonly bytes: Buffer
  readonly fileCount: number
  readonly unpackedSize: number
  readonly deprecated: string | undefined
  readonly faults: Set<VersionFault>
}

interface Package {
  readonly tags: Map<string, string>
  readonly versions: Map<string, Version>
}

interface Misbehaviour {
  readonly kind: RequestKind
  readonly fault: AnswerFault
  readonly package: string | undefined
  readonly status: number
  readonly to: string
}

/**
 * Starts an npm registry on 127.0.0.1, for tests: real signatures, ETags, abbreviated packuments, compressed metadata,
 * and on request every way a registry can fail or lie. Packages exist in memory only.
 *
 * ```ts
 * await using registry = await startRegistry()
 * registry.publish('tool', '1.0.0', { 'index.js': 'console.log(1)' })
 * registry.publish('tool', '1.1.0', { 'index.js': 'console.log(2)' }, { engines: { node: '>=22' } })
 * registry.misbehave('tarball', 'drip')
 * ```
 *
 * Disposing it cuts every connection, also those a fault or a gate still holds.
 */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const registry = new TestRegistry(server, options.token)
  for (const { name, version, files, ...rest } of options.packages ?? []) registry.publish(name, version, files, rest)
  return registry
}

export class TestRegistry implements AsyncDisposable {
  /** Ends with a slash. */
  readonly url: string
  /** What came in, oldest first. */
  readonly requests: LoggedRequest[] = []
  readonly #server: Server
  readonly #token: string | undefined
  readonly #packages = new Map<string, Package>()
  readonly #misbehaviours = new Set<Misbehaviour>()
  readonly #gates = new Set<{ kind: RequestKind; package: string | undefined; reach(): void; opened: Promise<void> }>()
  readonly #ended = new AbortController()
  readonly #signatures = new Map<string, string>()
  #key = newKey()

  constructor(server: Server, token: string | undefined) {
    this.#server = server
    this.#token = token
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    server.on('request', (incoming, outgoing) => void this.#serve(incoming, outgoing))
  }

  /**
   * Publishes one version and moves `distTag` to it. A `package.json` is made from the name, the version and the options
   * unless `files` brings one. The same version again replaces the first, as no honest registry allows.
   */
  publish(name: string, version: string, files: PackageFiles, options: PublishOptions = {}): void {
    const { distTag = 'latest', deprecated, manifest: more, ...fields } = options
    const manifest = { name, version, ...fields, ...more }
    const entries = Array.isArray(files) ? (files as readonly TarEntry[]) : entriesOf(files as never, manifest)
    const found = this.#packages.get(name) ?? { tags: new Map(), versions: new Map() }
    this.#packages.set(name, found)
    found.versions.set(version, {
      name,
      version,
      manifest,
      bytes: tarball(entries),
      fileCount: entries.length,
      unpackedSize: entries.reduce((sum, { content = '' }) => sum + Buffer.byteLength(content), 0),
      deprecated,
      faults: new Set(),
    })
    if (distTag !== null) found.tags.set(distTag, version)
  }

  /** Publishes a version whose tarball is hostile; metadata, integrity and signature are true. */
  publishHostile(name: string, version: string, kind: HostileTree, options: PublishOptions = {}): void {
    this.publish(name, version, hostileTree(kind, name, version), options)
  }

  /** Points a dist-tag at a version, backwards too, and at one that does not exist if so asked. */
  setTag(name: string, tag: string, version: string): void {
    this.#package(name).tags.set(tag, version)
  }

  /** Removes one version; tags that name it stay. */
  unpublish(name: string, version: string): void {
    this.#package(name).versions.delete(version)
  }

  /** Misrepresents one version from now on, in addition to what is wrong with it already. */
  tamper(name: string, version: string, fault: VersionFault): void {
    const found = this.#package(name).versions.get(version)
    if (found === undefined) throw new Error(`${name}@${version} is not published here`)
    found.faults.add(fault)
  }

  /**
   * Spoils every answer of one kind, or those about one package, until the returned function is called. Of several that
   * fit one request the oldest is used.
   */
  misbehave(
    kind: RequestKind,
    fault: AnswerFault,
    options: { readonly package?: string; readonly status?: number; readonly to?: string } = {},
  ): () => void {
    const { status = 500, to = 'http://127.0.0.1:9/' } = options
    const misbehaviour = { kind, fault, package: options.package, status, to }
    this.#misbehaviours.add(misbehaviour)
    return () => void this.#misbehaviours.delete(misbehaviour)
  }

  /** Holds back every answer of one kind, or those about one package, until the gate is released. */
  hold(kind: RequestKind, options: { readonly package?: string } = {}): Gate {
    let reach = () => {}
    let open = () => {}
    const reached = new Promise<void>((resolve) => {
      reach = resolve
    })
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    const gate = { kind, package: options.package, reach, opened }
    this.#gates.add(gate)
    return {
      reached,
      release: () => {
        this.#gates.delete(gate)
        open()
      },
    }
  }

  /** Signs with a new key from now on; the keys endpoint knows only that one. `expires` makes it an expired one. */
  rotateKey(options: { readonly expires?: string } = {}): void {
    this.#key = newKey(options.expires)
    this.#signatures.clear()
  }

  /** What the keys endpoint gives: for a caller that pins keys. */
  get keys(): { keyid: string; keytype: string; scheme: string; key: string; expires: string | null }[] {
    const { keyid, der, expires } = this.#key
    return [{ keyid, keytype: 'ecdsa-sha2-nistp256', scheme: 'ecdsa-sha2-nistp256', key: der, expires }]
  }

  /** Requests of one kind, oldest first. */
  requestsFor(kind: RequestKind, packageName?: string): LoggedRequest[] {
    return this.requests.filter(
      (one) => one.kind === kind && (packageName === undefined || one.package === packageName),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended.signal.aborted) return
    this.#ended.abort()
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  #package(name: string): Package {
    const found = this.#packages.get(name)
    if (found === undefined) throw new Error(`${name} is not published here`)
    return found
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const asked = parseUrl(incoming.url ?? '/')
    outgoing.on('error', () => {}) // a client that went away is what many tests are about
    this.requests.push(logged(incoming, outgoing, asked))
    try {
      const fits = (one: { kind: RequestKind; package: string | undefined }) =>
        one.kind === asked?.kind && (one.package === undefined || one.package === asked.package)
      for (const gate of [...this.#gates].filter(fits)) {
        gate.reach()
        await Promise.race([gate.opened, once(outgoing, 'close', { signal: this.#ended.signal })])
      }
      const answer = this.#answer(asked, incoming)
      const misbehaviour = [...this.#misbehaviours].find(fits)
      if (misbehaviour === undefined) send(outgoing, answer)
      else await this.#spoil(outgoing, answer, misbehaviour)
    } catch (error) {
      if (!this.#ended.signal.aborted && !outgoing.destroyed) throw error
    }
  }

  #answer(asked: Asked | null, { headers, method }: IncomingMessage): Answer {
    if (asked === null || method !== 'GET') return json(404, { error: 'not_found' })
    if (this.#token !== undefined && headers.authorization !== `Bearer ${this.#token}`)
      return json(401, { error: 'unauthorized' })
    if (asked.kind === 'keys') return json(200, { keys: this.keys })
    const found = this.#packages.get(asked.package)
    if (found === undefined) return json(404, { error: 'not_found' })
    if (asked.kind === 'packument') {
      const abbreviated = (headers.accept ?? '').includes('application/vnd.npm.install-v1+json')
      const answer = json(200, this.#packument(asked.package, found, abbreviated), headers['accept-encoding'])
      if (headers['if-none-match'] !== answer.headers.etag) return answer
      return { status: 304, headers: { etag: answer.headers.etag! }, body: Buffer.alloc(0) }
    }
    const version = found.versions.get(asked.version)
    if (version === undefined || version.faults.has('missing-tarball')) return json(404, { error: 'not_found' })
    const body = Buffer.from(version.bytes)
    if (version.faults.has('wrong-bytes')) body[body.length - 1]! ^= 1
    return { status: 200, headers: { 'content-type': 'application/octet-stream' }, body }
  }

  #packument(name: string, { tags, versions }: Package, abbreviated: boolean): object {
    const listed = [...versions.values()]
    return {
      name,
      'dist-tags': Object.fromEntries(tags),
      modified: published,
      versions: Object.fromEntries(listed.map((version) => [version.version, this.#entry(version)])),
      ...(!abbreviated && {
        _id: name,
        time: { created: published, ...Object.fromEntries(listed.map(({ version }) => [version, published])) },
      }),
    }
  }

  #entry({ name, version, manifest, bytes, faults, ...rest }: Version): object {
    const sha512 = `sha512-${createHash('sha512').update(bytes).digest('base64')}`
    const sha1 = createHash('sha1').update(bytes)
    const integrity = faults.has('weak-integrity') ? `sha1-${sha1.copy().digest('base64')}` : sha512
    const signedText = `${name}@${version}:${faults.has('wrong-signature') ? 'something else' : sha512}`
    const signature = {
      keyid: faults.has('unknown-key') ? 'SHA256:nobody' : this.#key.keyid,
      sig: this.#sign(signedText),
    }
    const base = faults.has('foreign-tarball') ? 'http://127.0.0.1:9/' : this.url
    return {
      ...manifest,
      ...(faults.has('wrong-name') && { name: `${name}-other` }),
      ...(faults.has('garbage-version') && { version: 'one dot two' }),
      ...(rest.deprecated !== undefined && { deprecated: rest.deprecated }),
      dist: {
        tarball: `${base}${name}/-/${name.replace(/^@[^/]*\//, '')}-${version}.tgz`,
        shasum: sha1.digest('hex'),
        ...(!faults.has('missing-integrity') && { integrity }),
        ...(!faults.has('missing-signature') && { signatures: [signature] }),
        fileCount: rest.fileCount,
        unpackedSize: rest.unpackedSize,
      },
    }
  }

  /** The same text gets the same signature, as in a real registry: ECDSA would make another each time, and new ETags. */
  #sign(text: string): string {
    const known = this.#signatures.get(text)
    if (known !== undefined) return known
    const signature = sign('sha256', Buffer.from(text), this.#key.privateKey).toString('base64')
    this.#signatures.set(text, signature)
    return signature
  }

  async #spoil(outgoing: ServerResponse, answer: Answer, { fault, status, to }: Misbehaviour): Promise<void> {
    const { body } = answer
    const half = body.subarray(0, Math.floor(body.length / 2))
    const announced = { ...answer.headers, 'content-length': String(body.length) }
    switch (fault) {
      case 'disconnect':
        outgoing.socket?.resetAndDestroy()
        return
      case 'hang':
        return
      case 'redirect':
        outgoing.writeHead(302, { location: to }).end()
        return
      case 'reset':
        outgoing.writeHead(answer.status, announced)
        // Written out first: the point is that the client has half of it when the connection goes.
        await new Promise((resolve) => outgoing.write(half, resolve))
        await sleep(20)
        outgoing.socket?.resetAndDestroy()
        return
      case 'stall':
        outgoing.writeHead(answer.status, announced).write(half)
        return
      case 'drip':
        outgoing.writeHead(answer.status, announced)
        for (const byte of body) {
          if (outgoing.destroyed) return
          outgoing.write(Buffer.of(byte))
          await sleep(20)
        }
        outgoing.end()
        return
      case 'status':
        outgoing.writeHead(status, { 'content-type': 'application/json' })
        await pourForever(outgoing)
        return
      case 'endless':
        outgoing.writeHead(answer.status, { 'content-type': 'application/json' })
        outgoing.write('{"name":"')
        await pourForever(outgoing)
        return
      case 'invalid-json':
        outgoing.writeHead(200, { 'content-type': 'application/json' }).end('{"name":"half a packum')
        return
      case 'huge':
        outgoing.writeHead(200, { 'content-type': 'application/json' })
        outgoing.end(`{"name":"huge","padding":"${'y'.repeat(40 << 20)}"}`)
        return
    }
  }
}

type Asked =
  | { readonly kind: 'keys'; readonly package: null }
  | { readonly kind: 'packument'; readonly package: string }
  | { readonly kind: 'tarball'; readonly package: string; readonly version: string }

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** `/name`, `/@scope%2fname`, `/name/-/name-1.0.0.tgz` and `/-/npm/v1/keys`. */
function parseUrl(url: string): Asked | null {
  const path = decodeURIComponent(new URL(url, 'http://registry').pathname).slice(1)
  if (path === '-/npm/v1/keys') return { kind: 'keys', package: null }
  const [, name, , base, file] = /^((@[^/]+\/)?([^/@]+))(?:\/-\/([^/]+)\.tgz)?$/.exec(path) ?? []
  if (name === undefined || base === undefined) return null
  if (file === undefined) return { kind: 'packument', package: name }
  return { kind: 'tarball', package: name, version: file.slice(base.length + 1) }
}

function json(status: number, value: object, acceptEncoding: string | string[] = ''): Answer {
  const text = Buffer.from(JSON.stringify(value))
  const compressed = String(acceptEncoding).includes('gzip')
  return {
    status,
    headers: {
      'content-type': 'application/json',
      etag: `"${createHash('sha1').update(text).digest('hex')}"`,
      ...(compressed && { 'content-encoding': 'gzip' }),
    },
    body: compressed ? gzipSync(text) : text,
  }
}

function send(outgoing: ServerResponse, { status, headers, body }: Answer): void {
  const length = status === 304 ? {} : { 'content-length': String(body.length) }
  outgoing.writeHead(status, { ...headers, ...length }).end(body)
}

function logged({ method, url, headers, socket }: IncomingMessage, outgoing: ServerResponse, asked: Asked | null) {
  const before = socket.bytesWritten
  const sent = () => {
    const header = (outgoing as unknown as { _header: string | null })._header
    return header === null ? 0 : Math.max(0, socket.bytesWritten - before - Buffer.byteLength(header))
  }
  let final: number | null = null
  outgoing.on('close', () => {
    final = sent()
  })
  return {
    method: method ?? '',
    url: url ?? '',
    kind: asked?.kind ?? null,
    package: asked?.package ?? null,
    headers,
    get status() {
      return outgoing.headersSent ? outgoing.statusCode : 0
    },
    get bodyBytes() {
      return final ?? sent()
    },
  }
}

async function pourForever(outgoing: ServerResponse): Promise<void> {
  // Random, so that neither side can compress it away.
  const text = randomBytes(32 * 1024).toString('hex')
  const endless = Readable.from({
    async *[Symbol.asyncIterator]() {
      for (;;) {
        await sleep(0) // the test in the same process wants a turn, too
        yield text
      }
    },
  })
  await pipeline(endless, outgoing).catch(() => {}) // it only ever ends by the client's leaving
}

const published = '2026-01-01T00:00:00.000Z'

function entriesOf(files: Readonly<Record<string, string | Uint8Array>>, manifest: object): TarEntry[] {
  const all = { 'package.json': JSON.stringify(manifest, null, 2), ...files }
  return Object.entries(all).map(([path, content]) => ({ path: `package/${path}`, content }))
}

interface SigningKey {
  readonly keyid: string
  readonly der: string
  readonly privateKey: KeyObject
  readonly expires: string | null
}

function newKey(expires: string | null = null): SigningKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const der = publicKey.export({ type: 'spki', format: 'der' })
  return {
    keyid: `SHA256:${createHash('sha256').update(der).digest('base64').replace(/=+$/, '')}`,
    der: der.toString('base64'),
    privateKey,
    expires,
  }
}
