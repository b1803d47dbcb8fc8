import { createHash } from 'node:crypto'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { InstarError } from '../errors.ts'
import { shortDirectory } from '../socket-path.ts'

/**
 * The directory of one daemon, `<home>/sessions/<name>`, mode 0700:
 *
 *   daemon.sock   where it answers, 0600; on Windows a named pipe made of the directory's path
 *   lock          held by the keeper, else by the daemon, as long as it lives
 *   daemon.log    what keeper and daemons print
 *   code          what the engine made of the daemon's program, for the next one
 */
export function daemonDirectory(home: string, name: string): string {
  return join(home, 'sessions', name)
}

export const socketName = 'daemon.sock'
export const logName = 'daemon.log'

/** The longest name that a socket has in there, while it is made. */
const longestName = `${socketName}.new`

/** A path of a daemon's directory under which its socket can be bound; the directory itself where that is short enough. */
export function bindDirectory(directory: string): Promise<string> {
  return shortDirectory(directory, longestName)
}

export function pipeName(directory: string): string {
  const digest = createHash('sha256').update(directory.toLowerCase()).digest('hex').slice(0, 32)
  return `\\\\.\\pipe\\instar-sessions-${digest}`
}

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
