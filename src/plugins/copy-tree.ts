import { createHash } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { InstarError } from '../errors.ts'
import { inParallel } from '../in-parallel.ts'
import { decodeListing, filesAtOnce, type ListedEntry } from '../releases/tree.ts'

const chunkBytes = 256 * 1024

/**
 * Makes a folder that holds what a listing says, from one that should. Not flushed. What was made when it throws is the
 * caller's to remove.
 *
 * @throws {InstarError} `PLUGIN_DAMAGED` where a file is missing or is not what the listing says; `ABORTED`.
 */
export async function copyTree(from: string, to: string, listing: string, signal: AbortSignal): Promise<void> {
  const entries = decodeListing(listing)
  await mkdir(to, { mode: 0o755 })
  // A folder comes before what is in it.
  for (const { mark, path } of entries) if (mark === 'd') await mkdir(join(to, path), { mode: 0o755 })
  const files = entries.filter(({ mark }) => mark !== 'd')
  const spare: Buffer[] = []
  await inParallel(filesAtOnce, files, async (file) => {
    signal.throwIfAborted()
    const buffer = spare.pop() ?? Buffer.allocUnsafe(chunkBytes)
    await copyFile(from, to, file, buffer)
    spare.push(buffer)
  })
}

async function copyFile(from: string, to: string, { mark, path, hash }: ListedEntry, buffer: Buffer): Promise<void> {
  const source = await open(join(from, path), 'r').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') throw damaged(path, cause)
    throw cause
  })
  try {
    const target = await open(join(to, path), 'wx', mark === 'x' ? 0o755 : 0o644)
    try {
      const found = createHash('sha256')
      for (;;) {
        const { bytesRead } = await source.read(buffer, 0, buffer.length, null)
        if (bytesRead === 0) break
        const bytes = buffer.subarray(0, bytesRead)
        found.update(bytes)
        await target.writeFile(bytes)
        if (bytesRead < buffer.length) break
      }
      if (found.digest('hex') !== hash) throw damaged(path)
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

const damaged = (path: string, cause?: unknown) =>
  new InstarError('PLUGIN_DAMAGED', `${path} is not what was sealed`, { cause })
