import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import * as z from 'zod'
import { StateFile } from '../apps/state-file.ts'
import type { HttpLimits } from './limits.ts'

const stateSchema = z.strictObject({
  schema: z.literal(1),
  owner: z.record(z.string().regex(/^[0-9a-f]{64}$/), z.strictObject({ since: z.int().min(0) })),
})
type State = z.output<typeof stateSchema>

interface Browser {
  /** What it stands for; null for the owner of the home. */
  readonly token: string | null
  readonly since: number
}

/**
 * Browsers that have shown a token. Each has a cookie instead, with a random id, because a page that keeps a token can be
 * made to tell it.
 *
 * Those of the home's owner are in `state/console.json`, format 1, as SHA-256 of their ids, so that a page goes on when the
 * controller has been started anew. The others end with the controller: what they stand for is written nowhere.
 *
 *   owner   by digest: { since }, wall clock in ms
 */
export class Browsers {
  /** By the digest of their ids, the first first. */
  private readonly known: Map<string, Browser>

  private constructor(
    private readonly file: StateFile<State>,
    private readonly cookieName: string,
    private readonly limits: Pick<HttpLimits, 'browsers' | 'browserMs'>,
  ) {
    const owner = Object.entries(file.state.owner).map(([hash, { since }]) => [hash, { token: null, since }] as const)
    this.known = new Map(owner.sort(([, one], [, other]) => one.since - other.since))
  }

  /**
   * @param port Cookies know no ports, so what is served at another one has other names for them.
   * @throws {InstarError} `STATE_UNREADABLE`, `STATE_DAMAGED`
   */
  static async open(home: string, port: number, limits: HttpLimits): Promise<Browsers> {
    const path = join(home, 'state', 'console.json')
    const file = await StateFile.open<State>(path, stateSchema, { schema: 1, owner: {} })
    return new Browsers(file, `instar-console-${port}`, limits)
  }

  /**
   * Knows another browser. Resolves with the cookie that it is to have.
   *
   * @param token Null for the owner of the home.
   */
  async add(token: string | null): Promise<string> {
    const id = randomBytes(32).toString('base64url')
    this.known.set(digestOf(id), { token, since: Date.now() })
    for (const digest of this.known.keys()) {
      if (this.known.size <= this.limits.browsers) break
      this.known.delete(digest)
    }
    await this.write()
    return this.cookie(id)
  }

  /** Knows it no more. Gives the cookie that takes its place, which is over. */
  async remove(request: IncomingMessage): Promise<string> {
    const id = this.idOf(request)
    if (id !== undefined && this.known.delete(digestOf(id))) await this.write()
    return `${this.cookie('')}; Max-Age=0`
  }

  /** What the browser that a request comes from stands for; null for the owner, undefined where it is not known. */
  tokenOf(request: IncomingMessage): string | null | undefined {
    const id = this.idOf(request)
    const browser = id === undefined ? undefined : this.known.get(digestOf(id))
    if (browser === undefined || browser.since < Date.now() - this.limits.browserMs) return undefined
    return browser.token
  }

  private idOf({ headers }: IncomingMessage): string | undefined {
    const start = `${this.cookieName}=`
    const cookies = (headers.cookie ?? '').split(';').map((cookie) => cookie.trim())
    return cookies.find((cookie) => cookie.startsWith(start))?.slice(start.length)
  }

  private cookie(id: string): string {
    return `${this.cookieName}=${id}; Path=/; HttpOnly; SameSite=Strict`
  }

  private async write(): Promise<void> {
    const owner = [...this.known].filter(([, { token }]) => token === null)
    await this.file.change((state) => {
      state.owner = Object.fromEntries(owner.map(([digest, { since }]) => [digest, { since }]))
    })
  }
}

const digestOf = (id: string) => createHash('sha256').update(id).digest('hex')
