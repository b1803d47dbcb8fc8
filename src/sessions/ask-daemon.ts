import { InstarError } from '../errors.ts'
import { abortable, pause } from '../runtime/pause.ts'
import { connectDaemon, type DaemonClient } from './client.ts'
import { findDaemon } from './find-daemon.ts'

const lookAgainMs = 50

/**
 * A connection to the daemon of a directory, for as long as that one process serves; undefined where none is there.
 *
 * @throws {InstarError} `DAEMON_DENIED`, `DAEMON_SILENT`, `DAEMON_GONE`, `PROTOCOL_UNSUPPORTED`, `PROTOCOL_INVALID`.
 */
export async function connectRunning(directory: string, signal: AbortSignal): Promise<DaemonClient | undefined> {
  const path = await findDaemon(directory)
  if (path === undefined) return undefined
  try {
    return await connectDaemon({ path, reconnect: false, name: 'controller', signal })
  } catch (error) {
    if (error instanceof InstarError && error.code === 'DAEMON_NOT_RUNNING') return undefined
    throw error
  }
}

/**
 * Speaks to the daemon of a directory for as long as `ask` takes; undefined where none is there.
 *
 * @throws {InstarError} what {@link connectRunning} throws, and what `ask` throws.
 */
export async function askDaemon<Answer>(
  directory: string,
  ask: (daemon: DaemonClient) => Promise<Answer>,
  signal: AbortSignal,
): Promise<Answer | undefined> {
  const daemon = await connectRunning(directory, signal)
  if (daemon === undefined) return undefined
  try {
    return await abortable(ask(daemon), signal)
  } finally {
    await daemon.close()
  }
}

/**
 * The same, given time: one that dies before it answers is followed by another where a keeper looks after them.
 *
 * @throws {InstarError} the last of what {@link askDaemon} throws, once `patienceMs` are over.
 */
export async function askPatiently<Answer>(
  directory: string,
  ask: (daemon: DaemonClient) => Promise<Answer>,
  { patienceMs, signal }: { patienceMs: number; signal: AbortSignal },
): Promise<Answer | undefined> {
  const until = performance.now() + patienceMs
  for (;;) {
    try {
      return await askDaemon(directory, ask, signal)
    } catch (error) {
      signal.throwIfAborted()
      const isPassing = error instanceof InstarError && (error.code === 'DAEMON_GONE' || error.code === 'DAEMON_SILENT')
      if (!isPassing || performance.now() > until) throw error
    }
    await pause(lookAgainMs, signal)
  }
}
