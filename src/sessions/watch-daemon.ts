import { connect, type Socket } from 'node:net'
import { z } from 'zod'
import { InstarError } from '../errors.ts'
import { abortable, pause } from '../runtime/pause.ts'
import { findDaemon } from './daemon-place.ts'
import { DaemonEvent, FrameReader, frameTypes, jsonFrame, protocolVersion, readJson, Welcome } from './protocol.ts'

/** How the watch over one daemon process ended: it died, or another process serves in its place. */
export interface WatchEnd {
  readonly end: 'lost' | 'handed-over'
}

const helloMs = 10_000

/**
 * Keeps a connection to the daemon with this pid for as long as it serves. Costs nothing while nothing happens, and does
 * not keep this process alive.
 *
 * @throws {InstarError} `DAEMON_SILENT`, `DAEMON_DENIED`, `PROTOCOL_INVALID`.
 */
export async function watchDaemon(directory: string, pid: number, signal: AbortSignal): Promise<WatchEnd> {
  const path = await findDaemon(directory)
  if (path === undefined) return { end: 'lost' }
  signal.throwIfAborted()
  const socket = connect(path)
  const over = new AbortController()
  try {
    const silent = pause(helloMs, over.signal, true).then(() => {
      throw new InstarError('DAEMON_SILENT', `the daemon in ${directory} did not say hello within ${helloMs} ms`)
    })
    return await abortable(watch(socket, pid, silent), signal)
  } finally {
    over.abort()
    socket.destroy()
  }
}

function watch(socket: Socket, pid: number, silent: Promise<never>): Promise<WatchEnd> {
  const reader = new FrameReader()
  let isGreeted = false
  return new Promise((resolve, reject) => {
    silent.catch((error) => {
      if (!isGreeted) reject(error)
    })
    socket.once('connect', () => {
      socket.unref()
      socket.write(
        jsonFrame(frameTypes.hello, { protocols: [protocolVersion], client: 'instar supervision', capabilities: [] }),
      )
    })
    socket.on('data', (bytes) => {
      try {
        for (const { type, payload } of reader.push(bytes)) {
          if (type === frameTypes.welcome) {
            isGreeted = true
            if (readJson(Welcome, payload, 'the welcome').pid !== pid) resolve({ end: 'handed-over' })
          }
          if (type === frameTypes.event && isHandover(payload)) resolve({ end: 'handed-over' })
        }
      } catch (error) {
        reject(error)
      }
    })
    // Nobody listening, a reset and an end in good order say the same: that process serves no more.
    socket.once('error', () => resolve({ end: 'lost' }))
    socket.once('close', () => resolve({ end: 'lost' }))
  })
}

/** Events of a later protocol are none of ours. */
function isHandover(payload: Buffer): boolean {
  const event = DaemonEvent.safeParse(readJson(z.unknown(), payload, 'an event'))
  return event.success && event.data.type === 'handed-over'
}
