import { createWriteStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import type { HeaderData } from 'tar'
import { InstarError } from '../errors.ts'
import { manifestBytes, type TreeLimits, treeLimits } from './limits.ts'
import { identityIn } from './read-manifest.ts'
import { readZip, type ZipEntry } from './zip.ts'

/** Where a bundle's files lie in the unpacked tree, so that nothing of them is taken for what an npm package has at its root. */
export const bundleFolder = 'bundle'

export const bundleManifest = 'manifest.json'

/** Whether a file is an MCP bundle: it is called as they are, or a zip archive. */
export async function isBundle(file: string): Promise<boolean> {
  if (/\.(mcpb|dxt)$/i.test(file)) return true
  await using handle = await open(file, 'r')
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(2), 0, 2, 0)
  return bytesRead === 2 && buffer.toString('latin1') === 'PK'
}

/**
 * What a bundle calls itself.
 *
 * @throws {InstarError} `APP_MANIFEST_INVALID`; what the archive is refused for.
 */
export async function bundleIdentity(file: string): Promise<{ name: string; version: string }> {
  // Awaited here: the archive is open only for as long.
  for await (const entry of readZip(file, treeLimits))
    if (entry.path === bundleManifest) return await identityOfEntry(entry)
  throw new InstarError('APP_MANIFEST_INVALID', `the bundle has no ${bundleManifest}`)
}

async function identityOfEntry({ path, size, read }: ZipEntry): Promise<{ name: string; version: string }> {
  const refused = (message: string, cause?: unknown) => new InstarError('APP_MANIFEST_INVALID', message, { cause })
  if (size > manifestBytes) throw refused(`${path} has ${size} bytes, at most ${manifestBytes} are read`)
  const parts: Buffer[] = []
  for await (const part of read()) parts.push(part)
  try {
    return await identityIn(Buffer.concat(parts).toString('utf8'))
  } catch (cause) {
    throw refused(`${path} names no app in a version`, cause)
  }
}

/**
 * Packs what a bundle holds into a gzipped tar archive as a registry has them, its files below `bundle/`, so that the rules
 * for what may be in a package judge it as any other. The same bundle gives the same bytes.
 *
 * @throws {InstarError} what `readZip` throws.
 */
export async function packBundle(
  bundle: string,
  archive: string,
  signal?: AbortSignal,
  limits: TreeLimits = treeLimits,
): Promise<void> {
  // Nothing is saved by packing well what is unpacked at once.
  await pipeline(tarOf(readZip(bundle, limits, signal)), createGzip({ level: 1 }), createWriteStream(archive), {
    signal,
  })
}

const blockBytes = 512

async function* tarOf(entries: AsyncIterable<ZipEntry>): AsyncGenerator<Buffer> {
  for await (const { path, isFolder, executable, size, read } of entries) {
    yield await headerOf({
      path: `package/${bundleFolder}/${path}`,
      type: isFolder ? 'Directory' : 'File',
      mode: isFolder || executable ? 0o755 : 0o644,
      size,
    })
    yield* read()
    yield Buffer.alloc(-size & (blockBytes - 1))
  }
  yield Buffer.alloc(2 * blockBytes)
}

async function headerOf(entry: HeaderData): Promise<Buffer> {
  const { Header, Pax } = await import('tar')
  const header = new Header(entry)
  // True where not all of it fits into the old form.
  return header.encode() ? Buffer.concat([new Pax(entry).encode(), header.block!]) : header.block!
}
