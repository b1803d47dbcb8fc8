import { join } from 'node:path'
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
