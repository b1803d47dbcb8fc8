import { InstarError } from '../errors.ts'
import { abortable } from '../runtime/pause.ts'
import { connectRunning } from './ask-daemon.ts'

/** How the watch over one daemon process ended: it died, or another process serves in its place. */
export interface WatchEnd {
  readonly end: 'lost' | 'handed-over'
}

/**
 * Keeps a connection to the daemon with this pid for as long as it serves. Costs nothing while nothing happens, and does
 * not keep this process alive.
 *
 * @throws {InstarError} `DAEMON_SILENT`, `DAEMON_DENIED`, `PROTOCOL_INVALID`, `PROTOCOL_UNSUPPORTED`.
 */
export async function watchDaemon(directory: string, pid: number, signal: AbortSignal): Promise<WatchEnd> {
  const client = await connectRunning(directory, signal).catch((error) => {
    if (!(error instanceof InstarError) || error.code !== 'DAEMON_GONE') throw error
    return undefined
  })
  if (client === undefined) return { end: 'lost' }
  try {
    const ended = new Promise<WatchEnd>((resolve) => {
      client.onEvent(({ type }) => {
        if (type === 'handed-over') resolve({ end: 'handed-over' })
        if (type === 'gone') resolve({ end: 'lost' })
      })
    })
    if (client.daemon.pid !== pid) return { end: 'handed-over' }
    return await abortable(ended, signal)
  } finally {
    await client.close()
  }
}
