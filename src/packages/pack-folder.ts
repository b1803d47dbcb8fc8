import { createWriteStream } from 'node:fs'
import { opendir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { InstarError } from '../errors.ts'
import { type TreeLimits, treeLimits } from './limits.ts'

interface PackOptions {
  readonly signal?: AbortSignal
  /** Names at the folder's root that are not packed. */
  readonly leaveOut?: readonly string[] | undefined
  readonly limits?: TreeLimits
}

/**
 * Packs a folder into a gzipped tar archive as a registry has them, without its `.git`. What it may hold is looked at
 * first, so that one that is too large, or no package at all, costs no disk and no time; the archive is judged as any other.
 *
 * @throws {InstarError} `TREE_TOO_LARGE`, `TREE_TOO_MANY_FILES`, `TREE_UNSAFE`; `ABORTED`.
 */
export async function packFolder(
  folder: string,
  file: string,
  { signal, leaveOut = [], limits = treeLimits }: PackOptions = {},
): Promise<void> {
  const names = new Set(['.git', ...leaveOut])
  const filter = (path: string) => !names.has(path.replace(/^\.\//, '').split('/')[0]!)
  await inspect(folder, filter, limits, signal)
  const { create } = await import('tar')
  // Nothing is saved by packing well what is unpacked at once.
  const archive = create({ cwd: folder, gzip: { level: 1 }, portable: true, prefix: 'package', strict: true, filter }, [
    '.',
  ])
  await pipeline(archive as unknown as AsyncIterable<Buffer>, createWriteStream(file), { signal })
}

async function inspect(
  folder: string,
  filter: (path: string) => boolean,
  limits: TreeLimits,
  signal: AbortSignal | undefined,
): Promise<void> {
  let entries = 0
  let bytes = 0
  const look = async (directory: string): Promise<void> => {
    for await (const entry of await opendir(join(folder, directory))) {
      signal?.throwIfAborted()
      const path = join(directory, entry.name)
      if (!filter(path)) continue
      entries += 1
      if (entries > limits.entries)
        throw new InstarError('TREE_TOO_MANY_FILES', `${folder} holds more than ${limits.entries} files and folders`)
      if (entry.isDirectory()) await look(path)
      else if (!entry.isFile()) throw new InstarError('TREE_UNSAFE', `${path} is neither a file nor a folder`)
      else bytes += (await stat(join(folder, path))).size
      if (bytes > limits.bytes)
        throw new InstarError('TREE_TOO_LARGE', `${folder} holds more than ${limits.bytes} bytes`)
    }
  }
  await look('')
}
