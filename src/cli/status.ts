import { join } from 'node:path'
import { exists } from '../disk.ts'
import type { HomeCondition } from '../home.ts'
import type { DaemonStatus } from '../managed-daemon.ts'
import { appTable } from './app.ts'
import { type Cli, type Command, configFile, configOf, exit, homeOf } from './cli.ts'
import { daemonTable } from './daemon.ts'
import { runTable } from './journal.ts'
import { pluginTable } from './plugin.ts'
import { reachRunning } from './reach.ts'
import { runtimeTable } from './runtime.ts'
import { clock, listing, table } from './text.ts'

/**
 * Asks the running controller. Where none runs, nothing is opened and nothing resumed: what lies on the disk is shown, and
 * the exit code says that nobody looks after it.
 */
export const status: Command<[]> = async (cli) => {
  const home = await homeOf(cli)
  const client = await reachRunning(cli, home)
  if (client === undefined) return stopped(cli, home)
  await using controller = client
  const { pid, version } = controller.controller
  const { url, runtimes, daemons, plugins, apps, runs, notices, failure } = await controller.perform('status', {}, cli)
  const document = { home, controller: { pid, version, url, failure }, runtimes, daemons, plugins, apps, runs, notices }
  await cli.output.document(document, () =>
    [
      listing([
        ['home', home],
        ['controller', `${version}, pid ${pid}`],
        ['address', url ?? undefined],
        ['failure', failure?.message],
      ]),
      section(runtimeTable(runtimes)),
      section(daemonTable(daemons)),
      section(pluginTable(plugins)),
      section(appTable(apps)),
      section(runTable(runs)),
      section(
        table(
          ['AT', 'NOTICE'],
          notices.map(({ at, type }) => [clock(at), type]),
        ),
      ),
    ].join(''),
  )
  return exit.done
}

async function stopped(cli: Cli, home: string): Promise<number> {
  const { inspectHome } = await import('../home.ts')
  const condition = await inspectHome(home)
  if (condition.state === 'refused') throw condition.error
  const config = await configOf(cli)
  const [{ readPointer }, { nextLaunchVersion }] = await Promise.all([
    import('../releases/pointer.ts'),
    import('../runtime/launch-order.ts'),
  ])
  const runtimes = await Promise.all(
    Object.entries(config.runtimes).map(async ([name, runtime]) => {
      const { banned = [], ...pointers } = await readPointer(home, 'runtime', name)
      const { current, previous } = pointers
      const versionOf = (release: { readonly version: string } | null) => release && { version: release.version }
      return {
        name,
        package: runtime.package,
        channel: runtime.channel,
        current: versionOf(current),
        previous: versionOf(previous),
        bundled: runtime.bundled ? { version: runtime.bundled.version } : null,
        nextLaunch: nextLaunchVersion(pointers, { banned, bundled: runtime.bundled?.version ?? null }),
        running: null,
      }
    }),
  )
  const daemons = await daemonsHere(cli, condition)
  const file = await configFile(cli)
  const document = { home, controller: null, condition: condition.state, config: file, runtimes, daemons }
  await cli.output.document(document, () =>
    [
      listing([
        ['home', condition.state === 'ours' ? home : `${home} (not used yet)`],
        ['controller', 'does not run'],
        ['configuration', document.config ?? 'none'],
      ]),
      section(runtimeTable(runtimes)),
      section(daemonTable(daemons)),
    ].join(''),
  )
  cli.output.note('No controller runs. Start one with: instar up')
  return exit.notRunning
}

/** Daemons need no controller to be asked. Where none was ever started, nothing is loaded to ask. */
async function daemonsHere(cli: Cli, { state, path: home }: HomeCondition): Promise<DaemonStatus[]> {
  if (state !== 'ours' || !(await exists(join(home, 'sessions')))) return []
  const [{ daemonStatus }, { packageVersion: version }] = await Promise.all([
    import('../managed-daemon.ts'),
    import('../package-info.ts'),
  ])
  const { daemons } = (await configOf(cli)).sessions
  return Promise.all(daemons.map((name) => daemonStatus({ home, version }, name, cli.signal)))
}

const section = (text: string) => (text === '' ? '' : `\n${text}`)
