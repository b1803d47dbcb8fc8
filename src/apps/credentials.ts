import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import * as z from 'zod'
import { InstarError } from '../errors.ts'
import { didYouMean } from '../nearest.ts'
import { StateFile } from './state-file.ts'
import { workspaceId } from './workspaces.ts'

export const credentialName = z
  .string()
  .regex(/^[A-Za-z0-9][\w./:@-]{0,255}$/, 'must be letters, digits, ".", "_", "/", ":", "@" and "-", at most 256')

/** What can be a variable of an environment. */
export const secretText = z
  .string()
  .min(1, 'must not be empty')
  .max(32_768, 'must have at most 32768 characters')
  .refine((text) => !text.includes('\0'), 'must not contain NUL')

const credentialSchema = z.strictObject({
  secret: secretText,
  note: z.string().max(1000),
  setAt: z.iso.datetime(),
  /** The offer that it came by, so that the same one is not asked for twice. */
  offer: z.string().max(100),
})

const stateSchema = z.strictObject({
  schema: z.literal(1),
  workspaces: z.record(workspaceId, z.record(credentialName, credentialSchema)),
})
type State = z.output<typeof stateSchema>

export interface CredentialInfo {
  readonly credential: string
  readonly workspace: string
  readonly note: string
  readonly setAt: string
}

/**
 * The secrets of an organisation's workspaces, format 1: `state/credentials.json`, mode 0600, one JSON object that is
 * replaced as a whole. They are in no other file.
 *
 *   workspaces   by id: by name: { secret, note, setAt, offer }
 */
export class Credentials {
  /** What a run is about to keep, by the id that its records have instead. */
  private readonly offers = new Map<string, { readonly secret: string; readonly note: string }>()

  private constructor(private readonly file: StateFile<State>) {}

  /** @throws {InstarError} `STATE_UNREADABLE`, `STATE_DAMAGED` */
  static async open(home: string): Promise<Credentials> {
    const path = join(home, 'state', 'credentials.json')
    return new Credentials(await StateFile.open<State>(path, stateSchema, { schema: 1, workspaces: {} }))
  }

  /** Holds a secret in memory for a run. A crash loses it, and then the run says so. */
  offer(secret: string, note: string): string {
    const id = randomUUID()
    this.offers.set(id, { secret, note })
    return id
  }

  withdraw(offer: string): void {
    this.offers.delete(offer)
  }

  /** Fine to call twice. @throws {InstarError} `CONTROLLER_GONE` for what was offered to an earlier controller. */
  async keep(workspace: string, name: string, offer: string, at: string): Promise<void> {
    if (this.find(workspace, name)?.offer === offer) return
    const offered = this.offers.get(offer)
    if (offered === undefined)
      throw new InstarError('CONTROLLER_GONE', 'the controller ended before it had kept the secret')
    await this.file.change(({ workspaces }) => {
      if (!Object.hasOwn(workspaces, workspace)) workspaces[workspace] = {}
      workspaces[workspace]![name] = { ...offered, setAt: at, offer }
    })
  }

  async remove(workspace: string, name: string): Promise<void> {
    await this.file.change(({ workspaces }) => {
      if (!Object.hasOwn(workspaces, workspace)) return
      delete workspaces[workspace]![name]
      if (Object.keys(workspaces[workspace]!).length === 0) delete workspaces[workspace]
    })
  }

  /** Removes all of a workspace. */
  async forget(workspace: string): Promise<void> {
    if (!Object.hasOwn(this.file.state.workspaces, workspace)) return
    await this.file.change(({ workspaces }) => {
      delete workspaces[workspace]
    })
  }

  /** @throws {InstarError} `CREDENTIAL_UNKNOWN` */
  secret(workspace: string, name: string): string {
    return this.known(workspace, name).secret
  }

  /** @throws {InstarError} `CREDENTIAL_UNKNOWN`, with the nearest name. */
  known(workspace: string, name: string): State['workspaces'][string][string] {
    const found = this.find(workspace, name)
    if (found !== undefined) return found
    const names = Object.keys(this.in(workspace))
    throw new InstarError(
      'CREDENTIAL_UNKNOWN',
      `${workspace} has no credential "${name.slice(0, 256)}"${didYouMean(name, names)}`,
    )
  }

  /** Of one workspace, or of all; never the secrets. */
  list(workspace?: string): CredentialInfo[] {
    const ids = workspace === undefined ? Object.keys(this.file.state.workspaces).sort() : [workspace]
    return ids.flatMap((id) =>
      Object.entries(this.in(id))
        .map(([credential, { note, setAt }]) => ({ credential, workspace: id, note, setAt }))
        .sort((one, other) => (one.credential < other.credential ? -1 : 1)),
    )
  }

  private find(workspace: string, name: string) {
    const all = this.in(workspace)
    return Object.hasOwn(all, name) ? all[name] : undefined
  }

  private in(workspace: string): State['workspaces'][string] {
    const { workspaces } = this.file.state
    return Object.hasOwn(workspaces, workspace) ? workspaces[workspace]! : {}
  }
}
