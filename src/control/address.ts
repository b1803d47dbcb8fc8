import { createHash } from 'node:crypto'
import { lstat, readlink, rm, symlink } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { InstarError } from '../errors.ts'
import { fitsAddress, makePrivateDirectory, removePrivate } from '../socket-path.ts'

/**
 * Where a home's control socket is found: `control.sock` in it. That is the socket itself or, where the home's path is
 * too long for a socket's address, a link to one in a private directory under the system's temporary one. Windows has
 * named pipes instead; the name is made of the home's path.
 */
export const controlName = 'control.sock'

export function pipeName(home: string): string {
  return `\\\\.\\pipe\\instar-${createHash('sha256').update(home.toLowerCase()).digest('hex').slice(0, 32)}`
}

export interface Draft {
  /** Where the socket is bound. */
  readonly address: string
  /** What becomes `control.sock` when it is renamed: the socket, or a link to it. */
  readonly path: string
}

/**
 * Chooses where to bind. The socket is bound under a draft's name and renamed once its mode is set, so that it is never
 * found half made and a dead controller's is replaced in one step.
 */
export async function draftAddress(home: string): Promise<Draft> {
  const path = join(home, 'control.new')
  await rm(path, { force: true })
  if (fitsAddress(join(home, controlName))) return { address: path, path }
  const address = join(await makePrivateDirectory(), controlName)
  await symlink(address, path)
  return { address, path }
}

/**
 * The address to connect to, or undefined where a home has none.
 *
 * @throws {InstarError} `CONTROL_DENIED` where what is there belongs to another user.
 */
export async function findAddress(home: string): Promise<string | undefined> {
  if (process.platform === 'win32') return pipeName(home)
  const path = join(home, controlName)
  const address = await linkedAddress(path)
  const stats = await lstat(address).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EACCES')
      throw new InstarError('CONTROL_DENIED', `you may not look into ${home}`, { cause: error })
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error
  })
  if (stats === undefined || !stats.isSocket()) return undefined
  if (stats.uid !== process.getuid?.())
    throw new InstarError('CONTROL_DENIED', `${address} belongs to user ${stats.uid}, not to you`)
  return address
}

async function linkedAddress(path: string): Promise<string> {
  return readlink(path).catch(() => path) // not a link: the socket itself, or nothing
}

/** True when somebody accepts connections at `address`. */
export function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Removes the private directory that the `control.sock` of a dead controller points into. */
export async function removeDeadAddress(home: string): Promise<void> {
  const path = join(home, controlName)
  const address = await linkedAddress(path)
  if (address === path) return
  await removePrivate(address)
}
