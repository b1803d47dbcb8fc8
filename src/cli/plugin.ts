import { exitCodeOf } from '../errors.ts'
import type { PluginStatus } from '../managed-plugins.ts'
import type { PluginInstallation, PluginResult } from '../plugin-results.ts'
import { asking, type Command, exit, failedBy, worst } from './cli.ts'
import { reachController, reachObserver } from './reach.ts'
import { table } from './text.ts'

interface Options {
  readonly target: string
}

interface InstallOptions extends Options {
  readonly allOrNothing?: true
}

export const install: Command<[specs: readonly string[], options: InstallOptions]> = async (cli, specs, options) => {
  const { target, allOrNothing = false } = options
  await using controller = await reachController(cli)
  const params = { specs: [...specs], target, folder: process.cwd(), allOrNothing }
  const { plugins } = await controller.perform('plugin.install', params, asking(cli, specs.join(' ')))
  await cli.output.result({ plugins }, () => plugins.map((one) => textOf(one.plugin ?? one.spec, one)).join(''))
  return worst(plugins.map(exitOf))
}

export const rollback: Command<[name: string, options: Options]> = async (cli, name, { target }) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('plugin.rollback', { name, target }, asking(cli, name))
  await cli.output.result(result, () => textOf(name, result))
  return exitOf(result)
}

function textOf(
  name: string,
  { outcome, version, from, change, code, reason, rollBackReason, hint }: Omit<PluginInstallation, 'plugin'>,
): string {
  const what = version === null ? '' : ` ${version}`
  const instead =
    from === null || from === version ? '' : outcome === 'installed' ? ` (was ${from})` : ` (live: ${from})`
  const why = reason === undefined ? '' : `: ${whyOf(reason, code)}`
  const blocked = rollBackReason === undefined ? '' : `; it could not be put back either: ${rollBackReason}`
  const next = change === 'restart' ? '; restart what has it loaded' : change === 'reload' ? '; a reload is enough' : ''
  return `${name}: ${outcome}${what}${instead}${why}${blocked}${from === null ? '' : next}\n${hintLine(hint)}`
}

const whyOf = (reason: string, code: string | undefined) => (code === undefined ? reason : `${reason} [${code}]`)

const hintLine = (hint: string | undefined) => (hint === undefined ? '' : `  hint: ${hint}\n`)

function exitOf({ outcome, code }: Pick<PluginResult, 'outcome' | 'code'>): number {
  if (outcome === 'installed' || outcome === 'current') return exit.done
  if (exitCodeOf(code) === exit.usage) return exit.usage
  if (outcome === 'failed') return failedBy(code)
  return outcome === 'blocked' ? exit.failed : exit.keptOld
}

export const list: Command<[options: Options]> = async (cli, { target }) => {
  await using controller = await reachObserver(cli)
  const { plugins } = await controller.perform('plugin.list', { target }, cli)
  await cli.output.document({ plugins }, () =>
    plugins.length === 0 ? 'No plugin is installed.\n' : pluginTable(plugins),
  )
  return exit.done
}

export function pluginTable(plugins: readonly PluginStatus[]): string {
  const rows = plugins.map(({ name, version, previous, kept, contributes, problem }) => [
    name,
    version,
    previous,
    kept.join(' '),
    contributes?.join(' ') || null,
    problem,
  ])
  return table(['PLUGIN', 'VERSION', 'BEFORE', 'KEPT', 'CONTRIBUTES', 'PROBLEM'], rows)
}

export const verify: Command<[name: string | undefined, options: Options]> = async (cli, name, { target }) => {
  await using controller = await reachObserver(cli)
  const { plugins } = await controller.perform('plugin.verify', { ...(name !== undefined && { name }), target }, cli)
  await cli.output.document({ plugins }, () =>
    plugins
      .map(({ name: plugin, version, whole, problems }) =>
        whole ? `${plugin} ${version}: whole\n` : `${plugin} ${version ?? ''}: ${problems.join('; ')}\n`,
      )
      .join(''),
  )
  return plugins.every(({ whole }) => whole) ? exit.done : exit.failed
}

export const remove: Command<[name: string, options: Options]> = async (cli, name, { target }) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('plugin.remove', { name, target }, cli)
  await cli.output.result(result, () => {
    const { outcome, version, reason, code, hint } = result
    const left = reason === undefined ? '' : `; its trees are left: ${whyOf(reason, code)}`
    return `${name}: ${outcome} ${version ?? ''}${left}\n${hintLine(hint)}`
  })
  return exit.done
}

export const sweep: Command<[options: Options]> = async (cli, { target }) => {
  await using controller = await reachController(cli)
  const { removed } = await controller.perform('plugin.sweep', { target }, cli)
  await cli.output.result({ removed }, () =>
    removed.length === 0 ? 'Nothing to remove.\n' : `${removed.map((path) => `removed ${path}\n`).join('')}`,
  )
  return exit.done
}

export const check: Command<[options: { readonly apply?: true }]> = async (cli, { apply = false }) => {
  await using controller = await reachController(cli)
  const { plugins } = await controller.perform('plugin.check', { apply }, asking(cli, 'subscriptions'))
  await cli.output.result({ plugins }, () =>
    plugins.length === 0
      ? 'Nothing is subscribed to; `plugins.subscriptions` of the configuration names what is.\n'
      : table(
          ['NAME', 'TARGET', 'WANTED', 'LIVE', 'OFFERED', 'STANDING', 'WHY'],
          plugins.map(({ plugin, target, wanted, live, offered, standing, reason }) => [
            plugin,
            target,
            wanted,
            live,
            offered,
            standing,
            reason,
          ]),
        ),
  )
  const failed = plugins.filter(({ standing }) => standing === 'check-failed')
  if (failed.length > 0) return worst(failed.map(({ code }) => failedBy(code)))
  return plugins.every(({ standing }) => standing === 'current') ? exit.done : exit.keptOld
}
