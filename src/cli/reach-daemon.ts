import { join } from 'node:path'
import type { DaemonClient } from '../sessions/client.ts'
import { type Cli, homeOf } from './cli.ts'

/**
 * The running daemon of this name; where none runs and `start` is asked for, a new one.
 *
 * @throws {InstarError} `DAEMON_NOT_RUNNING`, and what starting or connecting can fail with.
 */
export async function reachDaemon(cli: Cli, name: string, { start = false } = {}): Promise<DaemonClient> {
  const home = await homeOf(cli)
  const { connectDaemon } = await import('../sessions/client.ts')
  return connectDaemon({ path: join(home, 'sessions', name, 'daemon.sock'), signal: cli.signal })
}
