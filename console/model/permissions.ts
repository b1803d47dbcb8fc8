import { mayDo } from '../../src/apps/permissions.ts'
import type { Visitor } from './contract.ts'
import { entry } from './entry.ts'

/** Null where the visitor may do it, else why not. Shown before it is tried; the controller decides all the same. */
export function refusalOf(action: string, workspace?: string): string | null {
  const visitor = visitorNow()
  if (visitor === null || visitor.role === 'owner') return null
  const may = mayDo({ role: visitor.role, workspace: visitor.workspace }, { action, workspace })
  return may ? null : `${roleText(visitor)} may not do this`
}

/** What belongs to the machine as a whole is for the user whose home it is. */
export function ownersOnly(): string | null {
  const visitor = visitorNow()
  return visitor === null || visitor.role === 'owner' ? null : `${roleText(visitor)} may not do this`
}

export function visitorNow(): Visitor | null {
  return entry.value.state === 'in' ? entry.value.visitor : null
}

export function roleText({ role, workspace }: Visitor): string {
  const names = {
    owner: 'the owner',
    org_admin: 'an organisation admin',
    workspace_admin: 'a workspace admin',
    member: 'a member',
  }
  return workspace === null ? names[role] : `${names[role]} of ${workspace}`
}
