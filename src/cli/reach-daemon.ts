import { InstarError } from '../errors.ts'
import type { DaemonClient } from '../sessions/client.ts'
import { type Cli, configOf, homeOf } from './cli.ts'

interface Reaching {
  /** The name of the daemon; default: the first of the configuration. */
  readonly daemon?: string
  /** Where none runs, start one. */
  readonly start?: boolean
}

const startMs = 15_000
const lookAgainMs = 20

/**
 * The running daemon of this name; where none runs and `start` is asked for, a new one, which outlives this command.
 *
 * @throws {InstarError} `DAEMON_NOT_RUNNING`; `DAEMON_UNKNOWN` where one would have to be started that the configuration
 *   does not list; what starting or connecting can fail with.
 */
export async function reachDaemon(cli: Cli, { daemon, start = false }: Reaching = {}): Promise<DaemonClient> {
  const home = await homeOf(cli)
  const { sessions } = await configOf(cli)
  const name = daemon ?? sessions.daemons[0]!
  const { daemonDirectory } = await import('../sessions/daemon-place.ts')
  const directory = daemonDirectory(home, name)
  const running = await connectRunning(cli, directory)
  if (running !== undefined) return running
  if (!start) throw new InstarError('DAEMON_NOT_RUNNING', `no daemon ${name} runs on ${home}`)
  if (!sessions.daemons.includes(name))
    throw new InstarError('DAEMON_UNKNOWN', `the configuration lists no daemon ${name}`)
  cli.output.detail(`starting the daemon ${name}`)
  await startHere(cli, home, name)
  return connectStarted(cli, directory)
}

/** One that somebody else has begun to start holds its place before it answers. */
async function connectStarted(cli: Cli, directory: string): Promise<DaemonClient> {
  const { pause } = await import('../runtime/pause.ts')
  const until = performance.now() + startMs
  for (;;) {
    const started = await connectRunning(cli, directory)
    if (started !== undefined) return started
    if (performance.now() > until) throw new InstarError('DAEMON_SILENT', `nobody answers in ${directory}`)
    await pause(lookAgainMs, cli.signal)
  }
}

async function connectRunning({ signal }: Cli, directory: string): Promise<DaemonClient | undefined> {
  const { findDaemon } = await import('../sessions/find-daemon.ts')
  const path = await findDaemon(directory)
  if (path === undefined) return undefined
  const { connectDaemon } = await import('../sessions/client.ts')
  return connectDaemon({ path, signal }).catch((error) => {
    // A socket that was left behind by one that is gone.
    if (!(error instanceof InstarError) || error.code !== 'DAEMON_NOT_RUNNING') throw error
    return undefined
  })
}

async function startHere(cli: Cli, home: string, name: string): Promise<void> {
  const [{ openHome }, { daemonDirectory }, { startDaemon }, { findKeeper }] = await Promise.all([
    import('../home.ts'),
    import('../sessions/daemon-place.ts'),
    import('../sessions/start-daemon.ts'),
    import('../sessions/keeper.ts'),
  ])
  const { command, shell, scrollbackBytes } = (await configOf(cli)).sessions
  const { path } = await openHome(home)
  try {
    await startDaemon({
      directory: daemonDirectory(path, name),
      name,
      command,
      shell,
      bufferBytes: scrollbackBytes,
      keeper: findKeeper().path ?? null,
      signal: cli.signal,
    })
  } catch (error) {
    // Somebody else was a moment faster, and theirs is as good.
    if (!(error instanceof InstarError) || error.code !== 'DAEMON_RUNNING') throw error
  }
}
