import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { InstarError } from '../errors.ts'

/**
 * The absolute path of a release's entry.
 *
 * @throws {InstarError} `ENTRY_MISSING` unless it is a plain file inside the release that is reached without a link.
 */
export async function entryPath(release: string, entry: string): Promise<string> {
  const names = entry.split('/').filter((name) => name !== '' && name !== '.')
  const refuse = (why: string, cause?: unknown) =>
    new InstarError('ENTRY_MISSING', `${entry} ${why}`, { cause, details: { release, entry } })
  if (names.length === 0 || names.includes('..')) throw refuse('is not a path inside the release')

  let path = release
  for (const [index, name] of names.entries()) {
    path = join(path, name)
    const stats = await lstat(path).catch((cause) => {
      throw refuse('is not in the release', cause)
    })
    const isRight = index === names.length - 1 ? stats.isFile() : stats.isDirectory()
    if (!isRight) throw refuse('is not a plain file of the release')
  }
  return path
}
