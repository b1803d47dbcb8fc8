import { randomBytes, timingSafeEqual } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { type Asked, mayDo } from '../apps/permissions.ts'
import type { Served } from '../control/verbs.ts'
import { replaceFile } from '../disk.ts'
import { InstarError } from '../errors.ts'
import type { HttpLimits } from './limits.ts'
import { Refused } from './route.ts'

const fileName = 'console.token'

/** Whoever comes in: the id of a token, or null for the owner of the home. */
export type Visitor = string | null

/**
 * Lets in who shows a token: one that `access` knows, for what its role may, or the owner's. That one is made anew at each
 * start, and lies in the home, `console.token`, mode 0600.
 */
export class TokenGate {
  private readonly refusals: number[] = []

  private constructor(
    private readonly access: Served['access'],
    private readonly limits: HttpLimits,
    private readonly file: string,
    private readonly owner: Buffer,
  ) {}

  /** @throws What writing the file fails with. */
  static async open({ home, access }: Served, limits: HttpLimits): Promise<TokenGate> {
    const token = `instar_owner_${randomBytes(32).toString('base64url')}`
    const file = join(home, fileName)
    await replaceFile(file, Buffer.from(`${token}\n`))
    return new TokenGate(access, limits, file, Buffer.from(token))
  }

  /** The owner's token opens nothing any more. */
  async close(): Promise<void> {
    await rm(this.file, { force: true })
  }

  /**
   * Whether this may be asked for. A refusal is journaled, as over the control socket, and nothing was looked up for it.
   *
   * @throws {Refused} 401 for no token or an unknown one, 403 for one that may not, 429 for what is refused too often.
   */
  async admit(request: IncomingMessage, asked: Asked): Promise<Visitor> {
    const token = bearerOf(request)
    if (this.isOwner(token)) return null
    const principal = this.access.recognise(token)
    if (principal !== null && mayDo(principal, asked)) return principal.token
    // Every account of this machine can come this far, and must not fill the journal.
    if (this.isFlooded()) throw new Refused(429, new InstarError('PERMISSION_DENIED', 'too much was refused just now'))
    const refusal = await this.access.refuse(principal, asked)
    if (principal !== null) throw new Refused(403, refusal)
    throw new Refused(401, refusal, { 'WWW-Authenticate': 'Bearer' })
  }

  private isOwner(token: string): boolean {
    const shown = Buffer.from(token)
    return shown.length === this.owner.length && timingSafeEqual(shown, this.owner)
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

/** What stands behind `Bearer`; empty where nothing does. */
function bearerOf({ headers }: IncomingMessage): string {
  const [, token = ''] = /^Bearer +([\w.~+/-]+=*) *$/i.exec(headers.authorization ?? '') ?? []
  return token
}
