import { type Command, exit } from './cli.ts'
import { reachController, reachObserver } from './reach.ts'
import { table } from './text.ts'
import { tokenOf } from './token.ts'

export const add: Command<[id: string]> = async (cli, id) => {
  await using controller = await reachController(cli)
  await controller.perform('workspace.add', { id, ...(await tokenOf(cli)) }, cli)
  await cli.output.result({ workspace: id }, () => `${id} is a workspace now\n`)
  return exit.done
}

export const list: Command<[]> = async (cli) => {
  await using controller = await reachObserver(cli)
  const { workspaces } = await controller.perform('workspace.list', await tokenOf(cli), cli)
  await cli.output.document({ workspaces }, () =>
    workspaces.length === 0
      ? 'There is no workspace.\n'
      : table(
          ['WORKSPACE', 'APPS'],
          workspaces.map(({ id, apps }) => [id, apps.join(' ')]),
        ),
  )
  return exit.done
}

export const remove: Command<[id: string]> = async (cli, id) => {
  await using controller = await reachController(cli)
  await controller.perform('workspace.remove', { id, ...(await tokenOf(cli)) }, cli)
  await cli.output.result({ workspace: id }, () => `${id} is no workspace any more; what its apps kept stays\n`)
  return exit.done
}
