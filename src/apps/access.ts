import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { join } from 'node:path'
import * as z from 'zod'
import type { AppRole } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import type { Holder } from './permissions.ts'
import { StateFile } from './state-file.ts'
import { workspaceId } from './workspaces.ts'

const roles = ['org_admin', 'workspace_admin', 'member'] as const satisfies readonly AppRole[]

const tokenSchema = z.strictObject({
  role: z.enum(roles),
  /** The one workspace it is for; null for all. */
  workspace: workspaceId.nullable(),
  /** SHA-256 of the secret, in hex. It has 256 bits of its own, so nothing slower is needed. */
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  note: z.string().max(1000),
  addedAt: z.iso.datetime(),
})

const stateSchema = z.strictObject({ schema: z.literal(1), tokens: z.record(z.string(), tokenSchema) })
type State = z.output<typeof stateSchema>

/** Whoever shows a token that is known; the home's own user needs none and may do everything. */
export interface Principal extends Holder {
  readonly token: string
}

export interface TokenInfo extends Principal {
  readonly note: string
  readonly addedAt: string
}

/**
 * The tokens of an organisation, format 1: `state/access.json`, one JSON object that is replaced as a whole. The secrets
 * are not in it.
 *
 *   tokens   by id: { role, workspace, hash, note, addedAt }
 */
export class Access {
  private constructor(private readonly file: StateFile<State>) {}

  /** @throws {InstarError} `STATE_UNREADABLE`, `STATE_DAMAGED` */
  static async open(home: string): Promise<Access> {
    const path = join(home, 'state', 'access.json')
    return new Access(await StateFile.open<State>(path, stateSchema, { schema: 1, tokens: {} }))
  }

  /** The token itself is told here, and nowhere again. */
  async add(role: AppRole, workspace: string | null, note: string, at: string): Promise<string> {
    const id = randomBytes(6).toString('hex')
    const secret = randomBytes(32).toString('base64url')
    await this.file.change(({ tokens }) => {
      tokens[id] = { role, workspace, hash: hashOf(secret), note, addedAt: at }
    })
    return `instar_${id}_${secret}`
  }

  /** @throws {InstarError} `TOKEN_UNKNOWN` */
  async remove(id: string): Promise<void> {
    await this.file.change(({ tokens }) => {
      if (!Object.hasOwn(tokens, id)) throw new InstarError('TOKEN_UNKNOWN', `there is no token ${id}`)
      delete tokens[id]
    })
  }

  list(): TokenInfo[] {
    return Object.entries(this.file.state.tokens).map(([token, { hash: _, ...rest }]) => ({ token, ...rest }))
  }

  /** Whose token this is; null for one that is none, or is known no more. */
  recognise(text: string): Principal | null {
    const [, id = '', secret = ''] = /^instar_([0-9a-f]{12})_([\w-]{43})$/.exec(text) ?? []
    const known = Object.hasOwn(this.file.state.tokens, id) ? this.file.state.tokens[id]! : null
    if (known === null || !timingSafeEqual(Buffer.from(known.hash), Buffer.from(hashOf(secret)))) return null
    return { token: id, role: known.role, workspace: known.workspace }
  }
}

const hashOf = (secret: string) => createHash('sha256').update(secret).digest('hex')
