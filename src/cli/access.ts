import type { AppRole } from '../../machines/index.ts'
import { type Command, exit } from './cli.ts'
import { reachController, reachObserver } from './reach.ts'
import { table } from './text.ts'
import { tokenOf } from './token.ts'

export const add: Command<[role: AppRole, options: { readonly workspace?: string; readonly note?: string }]> = async (
  cli,
  role,
  options,
) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('access.add', { role, ...options, ...(await tokenOf(cli)) }, cli)
  await cli.output.result(result, () => `${result.token}\n`)
  return exit.done
}

export const list: Command<[]> = async (cli) => {
  await using controller = await reachObserver(cli)
  const { tokens } = await controller.perform('access.list', await tokenOf(cli), cli)
  await cli.output.document({ tokens }, () =>
    tokens.length === 0
      ? 'There is no token.\n'
      : table(
          ['TOKEN', 'ROLE', 'WORKSPACE', 'ADDED', 'NOTE'],
          tokens.map(({ token, role, workspace, addedAt, note }) => [token, role, workspace, addedAt, note]),
        ),
  )
  return exit.done
}

export const remove: Command<[id: string]> = async (cli, id) => {
  await using controller = await reachController(cli)
  await controller.perform('access.remove', { id, ...(await tokenOf(cli)) }, cli)
  await cli.output.result({ token: id }, () => `${id} opens nothing any more\n`)
  return exit.done
}
