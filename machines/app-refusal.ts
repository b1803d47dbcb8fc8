import { emit, setup } from 'xstate'

/** Who may do what with apps. */
export type AppRole = 'org_admin' | 'workspace_admin' | 'member'

/** What somebody asked for who may not. */
export interface RefusalInput {
  /** What was asked for: `upgrade`, `install`, … */
  readonly action: string
  /** Of the token that was shown; null for none that is known. */
  readonly role: AppRole | null
  readonly token: string | null
  readonly app: string | null
  readonly workspace: string | null
}

export interface RefusalNotice extends RefusalInput {
  readonly type: 'app.refused'
}

/**
 * App refusal: that somebody was refused, so that it stands in the journal. Nothing was looked at for it, and nothing is
 * done.
 */
export const appRefusal = setup({
  types: { input: {} as RefusalInput, context: {} as RefusalInput, emitted: {} as RefusalNotice },
  actions: { announce: emit(({ context }) => ({ type: 'app.refused' as const, ...context })) },
}).createMachine({
  id: 'app-refusal',
  version: '1',
  description:
    'That somebody was refused, so that it stands in the journal. Nothing was looked at for it, and nothing is done.',
  context: ({ input }) => ({
    action: input?.action ?? '',
    role: input?.role ?? null,
    token: input?.token ?? null,
    app: input?.app ?? null,
    workspace: input?.workspace ?? null,
  }),
  initial: 'refused',
  states: { refused: { type: 'final', entry: 'announce' } },
})
