import type * as z from 'zod'
import { type CredentialInfo, type Credentials, credentialName, secretText } from './apps/credentials.ts'
import type { Workspaces } from './apps/workspaces.ts'
import { InstarError } from './errors.ts'
import { adjustWorkspace } from './managed-apps.ts'
import type { Interpreter } from './run/interpreter.ts'

export interface CredentialsHost {
  readonly interpreter: Interpreter
  readonly credentials: Credentials
  readonly workspaces: Workspaces
}

/**
 * The secrets that apps are given by name, each in its workspace. That one is set or removed is journaled; the secret
 * itself is in the store, in the environment of the app, and nowhere else.
 */
export class ManagedCredentials {
  constructor(private readonly host: CredentialsHost) {}

  /**
   * Keeps a secret, also in the place of an older one. Apps have it from their next start on. Resolves when it would survive
   * a power cut.
   *
   * @param secret 1 to 32768 characters, without NUL.
   * @throws {InstarError} `WORKSPACE_UNKNOWN`, `PARAMETERS_INVALID`.
   */
  async set(
    name: string,
    secret: string,
    { workspace, note = '' }: { readonly workspace: string; readonly note?: string | undefined },
  ): Promise<void> {
    const { interpreter, credentials, workspaces } = this.host
    workspaces.apps(workspace)
    assertFits('the name', credentialName, name)
    assertFits('the secret', secretText, secret)
    const offer = credentials.offer(secret, note)
    try {
      await adjustWorkspace(interpreter, { workspace, kind: 'set-credential', credential: { name, offer } })
    } finally {
      credentials.withdraw(offer)
    }
  }

  /** What is kept, in one workspace or in all; never the secrets. @throws {InstarError} `WORKSPACE_UNKNOWN` */
  list({ workspace }: { readonly workspace?: string | undefined } = {}): CredentialInfo[] {
    if (workspace !== undefined) this.host.workspaces.apps(workspace)
    return this.host.credentials.list(workspace)
  }

  /**
   * Forgets a secret. An app that runs keeps what it was given, and cannot be started again without it.
   *
   * @throws {InstarError} `WORKSPACE_UNKNOWN`, `CREDENTIAL_UNKNOWN`.
   */
  async remove(name: string, { workspace }: { readonly workspace: string }): Promise<void> {
    const { interpreter, credentials, workspaces } = this.host
    workspaces.apps(workspace)
    credentials.known(workspace, name)
    await adjustWorkspace(interpreter, { workspace, kind: 'remove-credential', credential: { name, offer: null } })
  }
}

/** What is wrong is said without the text itself. */
function assertFits(what: string, schema: z.ZodType, text: string): void {
  const { error } = schema.safeParse(text)
  if (error !== undefined) throw new InstarError('PARAMETERS_INVALID', `${what} ${error.issues[0]!.message}`)
}
