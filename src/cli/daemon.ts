import { createInterface } from 'node:readline'
import { InstarError } from '../errors.ts'
import type { DaemonStatus } from '../managed-daemon.ts'
import { abortable } from '../runtime/pause.ts'
import { type Cli, type Command, configOf, exit, homeOf } from './cli.ts'
import { type Reached, reachController, reachObserver } from './reach.ts'
import { clock, listing, table } from './text.ts'

type Named = Command<[name: string | undefined]>

export const status: Named = async (cli, name) => {
  const daemon = await lookAt(cli, name)
  await cli.output.document({ daemon }, () => statusText(daemon))
  return daemon.state === 'absent' ? exit.notRunning : daemon.state === 'running' ? exit.done : exit.failed
}

/** Asks the daemon by way of whoever knows most about it; a home that was never used needs none of that. */
async function lookAt(cli: Cli, name: string | undefined): Promise<DaemonStatus> {
  const { inspectHome } = await import('../home.ts')
  const home = await homeOf(cli)
  if ((await inspectHome(home)).state !== 'ours') return daemonHere(cli, home, name)
  await using controller = await reachObserver(cli)
  return await controller.perform('daemon.status', nameIn(name), cli)
}

async function daemonHere(cli: Cli, home: string, wanted: string | undefined): Promise<DaemonStatus> {
  const { sessions } = await configOf(cli)
  const name = wanted ?? sessions.daemons[0]!
  const [{ daemonStatus }, { packageVersion }] = await Promise.all([
    import('../managed-daemon.ts'),
    import('../package-info.ts'),
  ])
  return daemonStatus({ home, version: packageVersion }, name, cli.signal)
}

const nameIn = (name: string | undefined) => (name === undefined ? {} : { name })

function statusText({ name, directory, state, running, wanted, failure, kept }: DaemonStatus): string {
  return listing([
    ['daemon', name],
    ['state', state === 'unclear' ? `unclear: ${failure?.message} [${failure?.code ?? 'INTERNAL'}]` : state],
    ['version', running?.version],
    [
      'host',
      running === null || running.standing === 'same' ? undefined : `${wanted}; the daemon is ${running.standing}`,
    ],
    ['update', kept === null ? undefined : `failed, so the old one stays: ${kept.message}`],
    ['pid', running?.pid],
    ['node', running?.node],
    ['generation', running?.generation],
    ['since', running === null ? undefined : clock(running.startedAt)],
    ['keeper', running === null ? undefined : (running.keeper?.pid ?? 'none: its sessions end with it')],
    ['sessions', running?.sessions],
    ['clients', running?.connections],
    ['folder', directory],
  ])
}

export function daemonTable(daemons: readonly DaemonStatus[]): string {
  return table(
    ['DAEMON', 'STATE', 'VERSION', 'PID', 'KEEPER', 'SESSIONS', 'CLIENTS'],
    daemons.map(({ name, state, running, kept }) => [
      name,
      kept !== null ? 'kept old' : running?.standing === 'older' ? 'outdated' : state,
      running?.version,
      running?.pid,
      running?.keeper?.pid,
      running?.sessions,
      running?.connections,
    ]),
  )
}

export const start: Named = async (cli, name) => {
  await using controller = await reachController(cli)
  const started = await controller.perform('daemon.start', nameIn(name), cli)
  await cli.output.result(started, () => `${started.daemon}: ${started.version} runs, pid ${started.pid}\n`)
  return exit.done
}

export const update: Named = async (cli, name) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('daemon.update', nameIn(name), cli)
  const { daemon, outcome, version, predecessor, successor, sessions, freezeMs, reason } = result
  await cli.output.result(result, () => {
    if (outcome === 'kept')
      return `${daemon}: kept ${version}, pid ${predecessor}: ${reason?.message} [${reason?.code ?? 'INTERNAL'}]\n`
    const pause = freezeMs === null ? '' : `, after a pause of ${freezeMs.toFixed(1)} ms`
    return `${daemon}: ${version} runs, pid ${successor}, with ${sessionsText(sessions)}${pause}\n`
  })
  return outcome === 'kept' ? exit.keptOld : exit.done
}

type Ending = Command<[name: string | undefined, options: { readonly yes?: boolean }]>

export const restart: Ending = async (cli, name, options) => {
  await using controller = await reachController(cli)
  await confirm(cli, controller, name, 'restart', options)
  const result = await controller.perform('daemon.restart', nameIn(name), cli)
  const { daemon, ended, version, pid } = result
  await cli.output.result(result, () => `${daemon}: ended ${sessionsText(ended)}; ${version} runs, pid ${pid}\n`)
  return exit.done
}

export const stop: Ending = async (cli, name, options) => {
  await using controller = await reachController(cli)
  await confirm(cli, controller, name, 'stop', options)
  const result = await controller.perform('daemon.stop', nameIn(name), cli)
  await cli.output.result(result, () => `${result.daemon}: ended ${sessionsText(result.ended)}\n`)
  return exit.done
}

const sessionsText = (count: number) => `${count} session${count === 1 ? '' : 's'}`

/** @throws {InstarError} `USAGE` where nobody can be asked; `ABORTED` where a person does not want it. */
async function confirm(
  { output, signal }: Cli,
  controller: Reached,
  name: string | undefined,
  doing: 'restart' | 'stop',
  { yes = false }: { readonly yes?: boolean },
): Promise<void> {
  const { name: daemon, state, running } = await controller.perform('daemon.status', nameIn(name), { signal })
  if (state === 'absent') return
  const question = `To ${doing} the daemon ${daemon} ends ${running === null ? 'its sessions' : sessionsText(running.sessions)}.`
  if (yes) return output.note(question)
  if (output.json || !process.stdin.isTTY || !process.stderr.isTTY)
    throw new InstarError('USAGE', question, { hint: 'Nobody can be asked here; where it is wanted, add --yes.' })
  const answer = await asked(`${question} Go on? [y/N] `, signal)
  if (!/^y(es)?$/i.test(answer.trim())) throw new InstarError('ABORTED', 'nothing was done')
}

/** What a person types; nothing at the end of the input. */
async function asked(question: string, signal: AbortSignal): Promise<string> {
  // The terminal keeps its own line editing, so that Ctrl-C is a signal as everywhere else.
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false })
  try {
    return await abortable(
      new Promise<string>((resolve) => lines.once('close', () => resolve('')).question(question, resolve)),
      signal,
    )
  } finally {
    lines.close()
  }
}
