import type { AppRole, RefusalInput } from '../machines/index.ts'
import type { Access, Principal, TokenInfo } from './apps/access.ts'
import { type Asked, mayDo } from './apps/permissions.ts'
import type { Workspaces } from './apps/workspaces.ts'
import { InstarError } from './errors.ts'
import type { Interpreter } from './run/interpreter.ts'

export interface AccessHost {
  readonly interpreter: Interpreter
  readonly access: Access
  readonly workspaces: Workspaces
}

/**
 * Who may do what with the apps of an organisation. The user whose home it is needs no token; whoever shows one may do what
 * its role may.
 */
export class ManagedAccess {
  private readonly listeners = new Set<(token: string) => void>()

  constructor(private readonly host: AccessHost) {}

  /**
   * Whether somebody may do something. A refusal is journaled, and nothing that was asked about has been looked at for it.
   *
   * @param token What was shown; undefined for the user whose home it is.
   * @returns Whose token it is; null for that user.
   * @throws {InstarError} `PERMISSION_DENIED`, the same for a token that is unknown and for one that may not.
   */
  async authorise(token: string | undefined, asked: Asked): Promise<Principal | null> {
    if (token === undefined) return null
    const principal = this.host.access.recognise(token)
    if (principal !== null && mayDo(principal, asked)) return principal
    throw await this.refuse(principal, asked)
  }

  /** Whose token this is; null for one that is none, or is known no more. */
  recognise(token: string): Principal | null {
    return this.host.access.recognise(token)
  }

  /** Journals a refusal, and answers with the error that tells of it. */
  async refuse(principal: Principal | null, { action, app, workspace }: Asked): Promise<InstarError> {
    const input: RefusalInput = {
      action,
      role: principal?.role ?? null,
      token: principal?.token ?? null,
      app: app?.slice(0, 214) ?? null,
      workspace: workspace?.slice(0, 100) ?? null,
    }
    await this.host.interpreter.start('app-refusal', { key: principal?.token ?? '', input, busy: 'wait' })
    return new InstarError('PERMISSION_DENIED', `this token may not ${action}`)
  }

  /**
   * Makes a token. It is told here, and nowhere again: what is kept is a digest.
   *
   * @throws {InstarError} `WORKSPACE_UNKNOWN`; `PARAMETERS_INVALID` for an organisation's admin of one workspace.
   */
  async add(
    role: AppRole,
    { workspace, note = '' }: { workspace?: string | undefined; note?: string | undefined } = {},
  ) {
    if (workspace !== undefined) this.host.workspaces.apps(workspace)
    if (role === 'org_admin' && workspace !== undefined)
      throw new InstarError('PARAMETERS_INVALID', 'an org_admin is not of one workspace')
    return { token: await this.host.access.add(role, workspace ?? null, note, new Date().toISOString()) }
  }

  list(): TokenInfo[] {
    return this.host.access.list()
  }

  /** @throws {InstarError} `TOKEN_UNKNOWN` */
  async remove(id: string): Promise<void> {
    await this.host.access.remove(id)
    for (const listener of this.listeners) listener(id)
  }

  /** Tells of every token that is removed. Returns what ends it. */
  onRemove(listener: (token: string) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }
}
