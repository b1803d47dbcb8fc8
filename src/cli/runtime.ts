import type { CheckResult, RuntimeStatus } from '../managed-runtime.ts'
import { asking, type Command, exit, failedBy } from './cli.ts'
import { reachController, reachObserver } from './reach.ts'
import { listing, table } from './text.ts'

export const list: Command<[]> = async (cli) => {
  await using controller = await reachObserver(cli)
  const { runtimes } = await controller.perform('runtime.list', {}, cli)
  await cli.output.document({ runtimes }, () =>
    runtimes.length === 0 ? 'No runtime is configured.\n' : runtimeTable(runtimes),
  )
  return exit.done
}

/** What can be said of a runtime without a controller. */
export type RuntimeSummary = Pick<
  RuntimeStatus,
  'name' | 'package' | 'channel' | 'bundled' | 'nextLaunch' | 'running'
> & {
  readonly current: { readonly version: string } | null
  readonly previous: { readonly version: string } | null
}

export function runtimeTable(runtimes: readonly RuntimeSummary[]): string {
  return table(
    ['NAME', 'PACKAGE', 'NEXT LAUNCH', 'BUNDLED', 'RUNS', 'PID', 'ADDRESS'],
    runtimes.map(({ name, package: from, nextLaunch, bundled, running }) => [
      name,
      from,
      nextLaunch,
      bundled?.version,
      running?.version,
      running?.pid,
      running?.url,
    ]),
  )
}

export const status: Command<[name: string]> = async (cli, name) => {
  await using controller = await reachObserver(cli)
  const found = await controller.perform('runtime.status', { name }, cli)
  await cli.output.document({ runtime: found }, () => statusText(found))
  return exit.done
}

function statusText(status: RuntimeStatus): string {
  const {
    name,
    package: from,
    channel,
    current,
    previous,
    knownGood,
    bundled,
    nextLaunch,
    releases,
    running,
    lastCheck,
    nextCheckInMs,
  } = status
  return listing([
    ['runtime', name],
    ['package', `${from}@${channel}`],
    ['current', current?.version ?? null],
    ['previous', previous?.version ?? null],
    ['known good', knownGood?.version ?? null],
    ['bundled', bundled?.version ?? null],
    ['next launch', nextLaunch],
    ['kept', releases.map(({ version }) => version).join(' ')],
    [
      'runs',
      running && `${running.version} (${running.arm}), pid ${running.pid}${running.url ? `, ${running.url}` : ''}`,
    ],
    [
      'last check',
      lastCheck && [lastCheck.at, lastCheck.outcome, lastCheck.version, lastCheck.reason].filter(Boolean).join(' '),
    ],
    ['next check', nextCheckInMs === null ? undefined : `in ${Math.round(nextCheckInMs / 1000)} s`],
    ...status.bans.map(({ version, reason }) => ['banned', `${version} (${reason})`] as const),
    ...status.problems.map(({ at, code, reason }) => ['problem', `${at} ${reason} [${code}]`] as const),
  ])
}

export const check: Command<[name: string, options: { allowOlder?: boolean }]> = async (cli, name, { allowOlder }) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('runtime.check', { name, allowOlder: allowOlder === true }, asking(cli, name))
  await cli.output.result(result, () => `${checkText(result)}\n`)
  return checkExit(result)
}

export function checkText({ runtime, outcome, version, from, code, reason }: CheckResult): string {
  const what = version === null ? '' : ` ${version}`
  const instead = from === null || from === version ? '' : ` (in use: ${from})`
  const why = reason === undefined ? '' : `: ${reason}${code === undefined ? '' : ` [${code}]`}`
  return `${runtime}: ${outcome}${what}${instead}${why}`
}

/** A newer version that is not taken leaves the old one in use, and says so; not having learned anything is a failure. */
function checkExit({ outcome, code }: CheckResult): number {
  if (['staged', 'up-to-date', 'already-staged'].includes(outcome)) return exit.done
  return outcome === 'check-failed' ? failedBy(code) : exit.keptOld
}

export const launch: Command<[name: string, args: readonly string[]]> = async (cli, name, args) => {
  await using controller = await reachController(cli)
  const started = await controller.perform('runtime.launch', { name, args: [...args] }, asking(cli, name))
  await cli.output.result(started, () => `${launchText(started)}\n`)
  return started.insteadOf === null ? exit.done : exit.keptOld
}

export function launchText(started: {
  readonly runtime: string
  readonly version: string
  readonly pid: number
  readonly url: string | null
  readonly arm: string
  readonly insteadOf: string | null
}): string {
  const { runtime, version, pid, url, arm, insteadOf } = started
  const instead = insteadOf === null ? '' : ` instead of ${insteadOf}, which failed`
  return `${runtime}: runs ${version} (${arm})${instead}, pid ${pid}${url === null ? '' : `, ${url}`}`
}

export const stop: Command<[name: string]> = async (cli, name) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('runtime.stop', { name }, asking(cli, name))
  const { stopped, version, pid } = result
  await cli.output.result(result, () =>
    stopped ? `${name}: ended ${version}, pid ${pid}\n` : `${name}: nothing runs\n`,
  )
  return exit.done
}

export const rollback: Command<[name: string]> = async (cli, name) => {
  await using controller = await reachController(cli)
  const moved = await controller.perform('runtime.rollback', { name }, cli)
  await cli.output.result(
    moved,
    () => `${name}: the next launch uses ${moved.to ?? 'the bundled version'}, no longer ${moved.from ?? 'it'}\n`,
  )
  return exit.done
}

export const ban: Command<[name: string, version: string, reason: string | undefined]> = async (
  cli,
  name,
  version,
  reason,
) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('runtime.ban', { name, version, ...(reason && { reason }) }, cli)
  await cli.output.result(result, () => `${name}: ${version} is banned\n`)
  return exit.done
}

export const unban: Command<[name: string, version: string]> = async (cli, name, version) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('runtime.unban', { name, version }, cli)
  await cli.output.result(result, () => `${name}: ${version} is allowed\n`)
  return exit.done
}

export const prune: Command<[name: string]> = async (cli, name) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('runtime.prune', { name }, cli)
  const { removed } = result
  await cli.output.result(result, () =>
    removed.length === 0 ? `${name}: nothing to remove\n` : `${name}: removed ${removed.join(', ')}\n`,
  )
  return exit.done
}
