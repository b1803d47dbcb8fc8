import type { Controller } from '../../src/controller.ts'

/** For a credential; it may be where that is kept, and nowhere else. */
export const secret = 'open-sesame-4711'

/** What a controller is asked for. After a crash each is asked for again, when it may be done already. */
export const orders = {
  upgrade: ({ apps }) => apps.upgrade('notes', { to: '2.0.0' }),
  install: ({ apps }) => apps.install('notes@1.0.0', { workspace: 'a' }),
  'install one that does not start': ({ apps }) =>
    apps.install('notes@1.0.0', { workspace: 'a', env: { BROKEN: 'yes' } }),
  'install one that is not there': ({ apps }) => apps.install('notes@9.9.9', { workspace: 'a' }),
  configure: ({ apps }) => apps.configure('notes', { workspace: 'a', env: { WORD: 'other' } }),
  'configure so that it does not start': ({ apps }) =>
    apps.configure('notes', { workspace: 'a', env: { WORD: 'other', BROKEN: 'yes' } }),
  pin: ({ apps }) => apps.pin('notes', { note: 'until tuesday' }),
  unpin: ({ apps }) => apps.unpin('notes'),
  remove: ({ apps }) => apps.remove('notes', { workspace: 'a' }),
  'add a workspace': ({ workspaces }) => workspaces.add('fresh'),
  'remove a workspace': ({ workspaces }) => workspaces.remove('a'),
  'set a credential': ({ credentials }) => credentials.set('key', secret, { workspace: 'a' }),
  'remove a credential': ({ credentials }) => credentials.remove('key', { workspace: 'a' }),
} satisfies Readonly<Record<string, (controller: Controller) => Promise<unknown>>>

export type OrderName = keyof typeof orders
