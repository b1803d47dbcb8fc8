import { lstat, mkdtemp, readlink, rm, rmdir, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'

/** sun_path holds 104 bytes on macOS and 108 on Linux, with the NUL. */
const addressBytesMax = 103

/** Whether a socket can be bound and connected to under this path. */
export function fitsAddress(path: string): boolean {
  return Buffer.byteLength(path) <= addressBytesMax
}

const privatePrefix = 'instar-'

/** A new directory of mode 0700 with a short path, under the system's temporary one. */
export function makePrivateDirectory(): Promise<string> {
  const short = Buffer.byteLength(tmpdir()) + 32 <= addressBytesMax ? tmpdir() : '/tmp'
  return mkdtemp(join(short, privatePrefix))
}

/** Removes one file in a private directory, and that directory; everything else stays. */
export async function removePrivate(path: string): Promise<void> {
  if (!basename(dirname(path)).startsWith(privatePrefix)) return
  await rm(path, { force: true })
  await rmdir(dirname(path)).catch(() => {}) // gone already, or somebody keeps files in it
}

/** The link in a directory to its other, short path. */
const shortName = 'short'

/**
 * A path under which a socket in `directory` can be bound and connected to: `directory` itself or, where that is too
 * long, a link to it in a private directory, which is made where there is none. Its name stands in `directory/short`.
 * Temporary directories are swept, so it is for an address only, and asked for again each time.
 *
 * @param longest The longest name that is put behind it.
 */
export async function shortDirectory(directory: string, longest: string): Promise<string> {
  if (process.platform === 'win32' || fitsAddress(join(directory, longest))) return directory
  const record = join(directory, shortName)
  const known = await readlink(record).catch(() => undefined)
  if (known !== undefined && (await areSame(known, directory))) return known
  const short = join(await makePrivateDirectory(), 'd')
  await symlink(directory, short)
  await rm(record, { force: true })
  try {
    await symlink(short, record)
    return short
  } catch (error) {
    await removePrivate(short)
    // Somebody else was here at the same time, and theirs is as good.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return await readlink(record)
    throw error
  }
}

/** Takes the short path away again; for when nobody serves in `directory` any more. */
export async function removeShortDirectory(directory: string): Promise<void> {
  const record = join(directory, shortName)
  const short = await readlink(record).catch(() => undefined)
  if (short === undefined) return
  const isLink = await lstat(short)
    .then((stats) => stats.isSymbolicLink())
    .catch(() => false) // swept away
  if (isLink) await removePrivate(short)
  await rm(record, { force: true })
}

async function areSame(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([stat(one).catch(() => undefined), stat(other)])
  return a !== undefined && a.ino === b.ino && a.dev === b.dev
}
