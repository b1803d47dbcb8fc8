import { randomBytes, timingSafeEqual } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import type { Principal } from '../apps/access.ts'
import { type Asked, mayDo } from '../apps/permissions.ts'
import type { Served } from '../control/verbs.ts'
import { replaceFile } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { Browsers } from './browsers.ts'
import type { HttpLimits } from './limits.ts'
import { Refused } from './route.ts'

const fileName = 'console.token'

/** Whoever comes in: the id of a token, or null for the owner of the home. */
export type Visitor = string | null

/** Null for the owner of the home. */
export type Guest = Principal | null

/**
 * Lets in who shows a token, or the cookie of a browser that has shown one: a token that `access` knows, for what its role
 * may, or the owner's. That one is made anew at each start, and lies in the home, `console.token`, mode 0600.
 */
export class TokenGate {
  private readonly refusals: number[] = []
  private readonly listeners = new Set<() => void>()
  private readonly unfollow: () => void

  private constructor(
    private readonly access: Served['access'],
    private readonly limits: HttpLimits,
    private readonly file: string,
    /** Of the owner of the home. */
    readonly token: string,
    private readonly browsers: Browsers,
  ) {
    this.unfollow = access.onRemove(() => this.somebodyLeft())
  }

  /** @throws What reading and writing its files fails with. */
  static async open({ home, access }: Served, port: number, limits: HttpLimits): Promise<TokenGate> {
    const browsers = await Browsers.open(home, port, limits)
    const token = `instar_owner_${randomBytes(32).toString('base64url')}`
    const file = join(home, fileName)
    await replaceFile(file, Buffer.from(`${token}\n`))
    return new TokenGate(access, limits, file, token, browsers)
  }

  /** The owner's token opens nothing any more. */
  async close(): Promise<void> {
    this.unfollow()
    await rm(this.file, { force: true })
  }

  /**
   * Whether this may be asked for. A refusal is journaled, as over the control socket, and nothing was looked up for it.
   *
   * @throws {Refused} 401 for no token or an unknown one, 403 for one that may not, 429 for what is refused too often.
   */
  async admit(request: IncomingMessage, asked: Asked): Promise<Visitor> {
    const guest = this.recognise(this.shownBy(request))
    if (guest !== undefined && mayEnter(guest, asked)) return guest?.token ?? null
    throw await this.refusal(guest ?? null, asked)
  }

  /** Lets in the owner of the home alone: roles are for apps. @throws {Refused} as {@link admit} does. */
  async admitOwner(request: IncomingMessage, action: string): Promise<void> {
    const guest = this.recognise(this.shownBy(request))
    if (guest !== null) throw await this.refusal(guest ?? null, { action })
  }

  /** Gives a browser a cookie for its token. @throws {Refused} as {@link admit} does. */
  async signIn(token: string): Promise<string> {
    const asked = { action: 'see the console' }
    const guest = this.recognise(token)
    if (guest === undefined || !mayEnter(guest, asked)) throw await this.refusal(guest ?? null, asked)
    const cookie = await this.browsers.add(guest === null ? null : token)
    this.somebodyLeft() // where there were too many
    return cookie
  }

  /** Gives the cookie that takes the place of the one it had. */
  async signOut(request: IncomingMessage): Promise<string> {
    const cookie = await this.browsers.remove(request)
    this.somebodyLeft()
    return cookie
  }

  /** Who a request comes from; undefined where nobody knows. */
  guest(request: IncomingMessage): Guest | undefined {
    return this.recognise(this.shownBy(request))
  }

  /** What verbs are to be shown for a request that was let in: nothing by the owner. */
  tokenFor(request: IncomingMessage): string | undefined {
    const token = this.shownBy(request)
    return this.isOwner(token) ? undefined : token
  }

  /** Tells when somebody may no longer come in who could before. Returns what ends it. */
  onLeave(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  private somebodyLeft(): void {
    for (const listener of this.listeners) listener()
  }

  private shownBy(request: IncomingMessage): string {
    const token = bearerOf(request)
    if (token !== '') return token
    const kept = this.browsers.tokenOf(request)
    return kept === null ? this.token : (kept ?? '')
  }

  private recognise(token: string): Guest | undefined {
    return this.isOwner(token) ? null : (this.access.recognise(token) ?? undefined)
  }

  private async refusal(principal: Principal | null, asked: Asked): Promise<Refused> {
    // Every account of this machine can come this far, and must not fill the journal.
    if (this.isFlooded()) return new Refused(429, new InstarError('PERMISSION_DENIED', 'too much was refused just now'))
    const refusal = await this.access.refuse(principal, asked)
    return principal === null ? new Refused(401, refusal, { 'WWW-Authenticate': 'Bearer' }) : new Refused(403, refusal)
  }

  private isOwner(token: string): boolean {
    const shown = Buffer.from(token)
    const own = Buffer.from(this.token)
    return shown.length === own.length && timingSafeEqual(shown, own)
  }

  private isFlooded(): boolean {
    const { refusals, limits } = this
    const now = performance.now()
    while (refusals.length > 0 && refusals[0]! < now - 60_000) refusals.shift()
    if (refusals.length >= limits.refusalsPerMinute) return true
    refusals.push(now)
    return false
  }
}

const mayEnter = (guest: Guest, asked: Asked) => guest === null || mayDo(guest, asked)

/** What stands behind `Bearer`; empty where nothing does. */
function bearerOf({ headers }: IncomingMessage): string {
  const [, token = ''] = /^Bearer +([\w.~+/-]+=*) *$/i.exec(headers.authorization ?? '') ?? []
  return token
}
