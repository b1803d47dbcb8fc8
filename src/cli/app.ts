import { InstarError } from '../errors.ts'
import type { AppStatus, AppUpgraded, InstanceStatus } from '../managed-apps.ts'
import { asking, type Cli, type Command, exit, failedBy, homeOf, worst } from './cli.ts'
import { reachController, reachObserver, reachRunning } from './reach.ts'
import { table } from './text.ts'
import { tokenOf } from './token.ts'

interface InstallOptions {
  readonly workspace: string
  readonly env?: readonly string[]
  readonly credential?: readonly string[]
  readonly set?: readonly string[]
}

export const install: Command<[spec: string, args: readonly string[], options: InstallOptions]> = async (
  cli,
  spec,
  args,
  { workspace, env = [], credential = [], set = [] },
) => {
  const given = { args: [...args], env: pairs(env), credentials: pairs(credential), config: lists(set) }
  const params = { spec, workspace, folder: process.cwd(), ...given }
  await using controller = await reachController(cli)
  const result = await controller.perform('app.install', { ...params, ...(await tokenOf(cli)) }, asking(cli, spec))
  await cli.output.result(result, () => `${result.app} ${result.version} runs in ${workspace}\n`)
  return exit.done
}

interface ConfigureOptions extends Partial<InstallOptions> {
  readonly workspace: string
}

export const configure: Command<[name: string, args: readonly string[], options: ConfigureOptions]> = async (
  cli,
  name,
  args,
  { workspace, env, credential, set },
) => {
  const params = {
    name,
    workspace,
    ...(args.length > 0 && { args: [...args] }),
    ...(env && { env: pairs(env) }),
    ...(credential && { credentials: pairs(credential) }),
    ...(set && { config: lists(set) }),
  }
  if (Object.keys(params).length === 2) throw new InstarError('USAGE', `what is to be different for ${name}?`)
  await using controller = await reachController(cli)
  const result = await controller.perform('app.configure', { ...params, ...(await tokenOf(cli)) }, asking(cli, name))
  await cli.output.result(result, () => `${result.app} ${result.version} runs in ${workspace} as it was told\n`)
  return exit.done
}

export const restart: Command<[name: string, options: { readonly workspace: string }]> = async (
  cli,
  name,
  { workspace },
) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('app.restart', { name, workspace, ...(await tokenOf(cli)) }, cli)
  await cli.output.result(result, () => `${name} runs anew in ${workspace}\n`)
  return exit.done
}

export const list: Command<[]> = async (cli) => {
  await using controller = await reachObserver(cli)
  const { apps } = await controller.perform('app.list', await tokenOf(cli), cli)
  await cli.output.document({ apps }, () => (apps.length === 0 ? 'No app is installed.\n' : appTable(apps)))
  return exit.done
}

export function appTable(apps: readonly AppStatus[]): string {
  const rows = apps.flatMap(({ app, version, previous, source, workspaces }) =>
    workspaces.length === 0
      ? [[app, version, previous, source, '', '', '']]
      : workspaces.map((one, at) => [
          ...(at === 0 ? [app, version, previous, source] : ['', '', '', '']),
          ...instanceRow(one),
        ]),
  )
  return table(['APP', 'VERSION', 'BEFORE', 'FROM', 'WORKSPACE', 'RUNS', 'STATE'], rows)
}

function instanceRow({ workspace, version, state, failure }: InstanceStatus): string[] {
  return [workspace, version, state === 'serving' || failure === null ? state : `${state}: ${failure.message}`]
}

export const check: Command<[name: string | undefined]> = async (cli, name) => {
  await using controller = await reachObserver(cli)
  const { apps } = await controller.perform(
    'app.check',
    name === undefined ? {} : { name },
    asking(cli, name ?? 'apps'),
  )
  await cli.output.document({ apps }, () =>
    apps.length === 0
      ? 'No app is installed.\n'
      : table(
          ['APP', 'VERSION', 'OFFERED', 'STANDING', 'WHY'],
          apps.map(({ app, version, offered, standing, reason }) => [app, version, offered, standing, reason]),
        ),
  )
  const failed = apps.filter(({ standing }) => standing === 'check-failed')
  return failed.length === 0 ? exit.done : worst(failed.map(({ code }) => failedBy(code)))
}

interface UpgradeOptions {
  readonly to?: string
  /** False where it was said not to. */
  readonly wait: boolean
}

export const upgrade: Command<[name: string, options: UpgradeOptions]> = async (cli, name, { to, wait }) => {
  const params = { name, folder: process.cwd(), ...(to !== undefined && { to }) }
  if (!wait) return beginUpgrade(cli, params)
  await using controller = await reachController(cli)
  return tell(cli, await controller.perform('app.upgrade', { ...params, ...(await tokenOf(cli)) }, asking(cli, name)))
}

/** Goes on in the controller that runs; one of our own would end with this command. */
async function beginUpgrade(
  cli: Cli,
  params: { readonly name: string; readonly folder: string; readonly to?: string },
): Promise<number> {
  await using controller = await reachRunning(cli, await homeOf(cli))
  if (controller === undefined) throw new InstarError('CONTROLLER_NOT_RUNNING', 'no controller would go on with it')
  const begun = await controller.perform('app.beginUpgrade', { ...params, ...(await tokenOf(cli)) }, cli)
  await cli.output.result(
    begun,
    () => `${begun.app}: begun; \`instar journal show ${begun.run}\` tells how far it is\n`,
  )
  return exit.done
}

export const rollback: Command<[name: string]> = async (cli, name) => {
  await using controller = await reachController(cli)
  return tell(cli, await controller.perform('app.rollback', { name, ...(await tokenOf(cli)) }, asking(cli, name)))
}

async function tell(cli: Cli, result: AppUpgraded): Promise<number> {
  const { app, outcome, from, to, workspaces, code, reason } = result
  await cli.output.result(result, () => {
    const versions = from === null || from === to ? `${to ?? ''}` : `${from} -> ${to ?? ''}`
    const head = `${app}: ${outcome} ${versions}${reason === undefined ? '' : `: ${reason}`}\n`
    const rows = workspaces.map(({ id, outcome: became, error }) => [id, became, error?.message])
    return head + (rows.length === 0 ? '' : table(['WORKSPACE', 'OUTCOME', 'WHY'], rows))
  })
  if (outcome === 'upgraded' || outcome === 'current') return exit.done
  if (outcome === 'failed') return failedBy(code)
  return outcome === 'blocked' ? exit.failed : exit.keptOld
}

export const pin: Command<[name: string, options: { readonly note?: string }]> = async (cli, name, { note }) => {
  await using controller = await reachController(cli)
  const params = { name, ...(note !== undefined && { note }) }
  const result = await controller.perform('app.pin', { ...params, ...(await tokenOf(cli)) }, cli)
  await cli.output.result(result, () => `${name} stays at ${result.pin!.version}\n`)
  return exit.done
}

export const unpin: Command<[name: string]> = async (cli, name) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('app.unpin', { name, ...(await tokenOf(cli)) }, cli)
  await cli.output.result(result, () => `${name} may be raised again\n`)
  return exit.done
}

export const remove: Command<[name: string, options: { readonly workspace: string }]> = async (
  cli,
  name,
  { workspace },
) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('app.remove', { name, workspace, ...(await tokenOf(cli)) }, cli)
  await cli.output.result(result, () => `${name} is removed from ${workspace}; what it kept there stays\n`)
  return exit.done
}

export const call: Command<[workspace: string, app: string, tool: string, json: string | undefined]> = async (
  cli,
  workspace,
  app,
  tool,
  json,
) => {
  const params = { workspace, app, tool, args: readJson(json ?? '{}') }
  await using controller = await reachController(cli)
  const { answer } = await controller.perform(
    'app.call',
    { ...params, ...(await tokenOf(cli)) },
    asking(cli, `${app} ${tool}`),
  )
  await cli.output.result({ answer }, () => `${textOf(answer)}\n`)
  return (answer as { isError?: boolean }).isError ? exit.failed : exit.done
}

/** What a tool answers is mostly text for a reader; anything else is shown as it is. */
function textOf(answer: unknown): string {
  const { content } = answer as { content?: readonly { type: string; text?: string }[] }
  const parts = (content ?? []).map((part) => (part.type === 'text' ? part.text : JSON.stringify(part)))
  return parts.length === 0 ? JSON.stringify(answer) : parts.join('\n')
}

export const logs: Command<[workspace: string, app: string]> = async (cli, workspace, app) => {
  await using controller = await reachController(cli)
  const { log } = await controller.perform('app.logs', { workspace, app, ...(await tokenOf(cli)) }, cli)
  await cli.output.document({ log }, () => (log === '' ? '' : `${log}\n`))
  return exit.done
}

const pairs = (words: readonly string[]) => Object.fromEntries(words.map(pair))

/** All values that a name was given. */
function lists(words: readonly string[]): Record<string, string[]> {
  const lists = new Map<string, string[]>()
  for (const [name, value] of words.map(pair)) lists.set(name, [...(lists.get(name) ?? []), value])
  return Object.fromEntries(lists)
}

function pair(word: string): readonly [name: string, value: string] {
  const at = word.indexOf('=')
  if (at < 1) throw new InstarError('USAGE', `"${word}" is not NAME=VALUE`)
  return [word.slice(0, at), word.slice(at + 1)]
}

function readJson(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // said below
  }
  throw new InstarError('USAGE', 'the arguments of a tool are one JSON object')
}
