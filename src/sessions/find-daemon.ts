import { createHash } from 'node:crypto'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { InstarError } from '../errors.ts'
import { bindDirectory, socketName } from './daemon-place.ts'

/**
 * Where the daemon of a directory is connected to, or undefined where there is no socket. Whether somebody answers there
 * is not known.
 *
 * @throws {InstarError} `DAEMON_DENIED` where what is there belongs to another user.
 */
export async function findDaemon(directory: string): Promise<string | undefined> {
  if (process.platform === 'win32') return pipeName(directory)
  const path = join(directory, socketName)
  const stats = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EACCES')
      throw new InstarError('DAEMON_DENIED', `you may not look into ${directory}`, { cause: error })
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error
  })
  if (stats === undefined || !stats.isSocket()) return undefined
  if (stats.uid !== process.getuid?.())
    throw new InstarError('DAEMON_DENIED', `${path} belongs to user ${stats.uid}, not to you`)
  return join(await bindDirectory(directory), socketName)
}

function pipeName(directory: string): string {
  const digest = createHash('sha256').update(directory.toLowerCase()).digest('hex').slice(0, 32)
  return `\\\\.\\pipe\\instar-sessions-${digest}`
}
