import type { AppRole } from '../../machines/index.ts'

/** Whoever shows a token. */
export interface Holder {
  readonly role: AppRole
  /** The one workspace it is for; null for all. */
  readonly workspace: string | null
}

/** What is asked for. `app` and `workspace` are what it is about, where it is about one. */
export interface Asked {
  readonly action: string
  readonly app?: string | undefined
  readonly workspace?: string | undefined
}

/** What each role may do; the first may do everything. A workspace admin and a member act in their own workspace only. */
const allowed: Readonly<Record<Exclude<AppRole, 'org_admin'>, ReadonlySet<string>>> = {
  workspace_admin: new Set([
    'see the console',
    'list',
    'check',
    'call',
    'logs',
    'connect',
    'install',
    'configure',
    'restart',
    'remove',
    'see credentials',
    'set credentials',
    'remove credentials',
  ]),
  member: new Set(['see the console', 'list', 'check', 'call', 'connect']),
}

/** Whether whoever has this role may do it. Pure: the console's page asks the same, to show what is not allowed. */
export function mayDo({ role, workspace }: Holder, asked: Asked): boolean {
  if (role === 'org_admin') return true
  if (!allowed[role].has(asked.action)) return false
  return asked.workspace === undefined || workspace === null || asked.workspace === workspace
}
