import { createHash } from 'node:crypto'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { diskError, InstarError } from '../errors.ts'
import { type TransferLimits, tarballLimits } from './limits.ts'
import { accessRegistry, type RegistryAccess, type RegistryChoice } from './registry-access.ts'
import { request } from './request.ts'
import type { Resolved } from './resolve.ts'

export interface Progress {
  readonly bytes: number
  /** What the registry announced; absent where it announced nothing. */
  readonly total?: number
  /** Of late, not on average since the start. */
  readonly bytesPerSecond: number
}

export interface FetchOptions extends Omit<RegistryChoice, 'registry'> {
  /** Where the tarball goes. Created with mode 0600; an older file there is replaced. */
  readonly file: string
  readonly signal?: AbortSignal
  readonly limits?: Partial<TransferLimits>
  /** Called about ten times a second, and once more at the end. */
  readonly onProgress?: (progress: Progress) => void
}

/**
 * Downloads one exact version and checks every byte against the integrity that `resolve` reported. Resolves when the
 * whole file has been written and is what was promised; on any failure there is nothing at `file`.
 *
 * Asks only the registry that resolved the package, other configured registries, and `origins`; a tarball or a redirect
 * that leads anywhere else is refused before it is asked. Does not flush: the file is to be unpacked, not kept.
 *
 * Safe to call twice; the second call downloads again.
 *
 * @throws {InstarError} `INTEGRITY_MISMATCH`, `TARBALL_TOO_LARGE`, `VERSION_NOT_FOUND`, `DISK_FULL`, `DISK_FAILED`,
 *   `ABORTED` and the `REGISTRY_*` codes.
 */
export async function fetchTarball(resolved: Resolved, options: FetchOptions): Promise<void> {
  const { file, signal, onProgress } = options
  const access = await accessRegistry(resolved.name, { ...options, registry: resolved.registry })
  const limits = { ...tarballLimits, ...options.limits }
  const url = tarballUrl(resolved, access)
  const wanted = { access, url, compressed: false, limits, signal, tooLarge: 'TARBALL_TOO_LARGE' } as const
  await request(wanted, async ({ status, announcedBytes, body }) => {
    if (status === 404)
      throw new InstarError('VERSION_NOT_FOUND', `${resolved.name}@${resolved.version} is listed but not there`)
    if (status !== 200)
      throw new InstarError('REGISTRY_ANSWER_INVALID', `${url.origin} answered ${status} for a tarball`)
    const meter = onProgress && new Meter(announcedBytes, onProgress)
    await writing(file, async (handle) => {
      const hash = createHash('sha512')
      for await (const chunk of body) {
        hash.update(chunk)
        await handle.writeFile(chunk)
        meter?.add(chunk.length)
      }
      const integrity = `sha512-${hash.digest('base64')}`
      if (integrity !== resolved.integrity)
        throw new InstarError(
          'INTEGRITY_MISMATCH',
          `${resolved.name}@${resolved.version} has other bytes than promised`,
          {
            details: { expected: resolved.integrity, received: integrity },
          },
        )
      meter?.end()
    })
  })
}

/**
 * A mirror hands out the packuments of npm's public registry unchanged, tarball addresses included. npm then asks the
 * mirror for them (`replace-registry-host`), and so do we.
 */
function tarballUrl({ tarball }: Resolved, access: RegistryAccess): URL {
  const url = new URL(tarball)
  const publicUrl = new URL(access.publicUrl)
  if (url.host !== publicUrl.host || access.url === access.publicUrl) return url
  return new URL(url.pathname.slice(1), access.url)
}

async function writing(file: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  try {
    await rm(file, { force: true })
    // Exclusive: whatever appears there in between is not ours to write into.
    const handle = await open(file, 'wx', 0o600)
    try {
      await write(handle)
    } finally {
      await handle.close()
    }
  } catch (error) {
    await rm(file, { force: true }).catch(() => {}) // the first error is the one to report
    throw diskError(error, `writing ${file}`)
  }
}

const reportEveryMs = 100

class Meter {
  readonly #announced: number | null
  readonly #report: (progress: Progress) => void
  #bytes = 0
  #bytesReported = 0
  #reportedAt = performance.now()
  #bytesPerSecond: number | null = null

  constructor(announced: number | null, report: (progress: Progress) => void) {
    this.#announced = announced
    this.#report = report
  }

  add(bytes: number): void {
    this.#bytes += bytes
    if (performance.now() - this.#reportedAt >= reportEveryMs) this.#tell()
  }

  end(): void {
    this.#tell()
  }

  #tell(): void {
    const now = performance.now()
    const rate = ((this.#bytes - this.#bytesReported) * 1000) / Math.max(now - this.#reportedAt, 1)
    // Half of the old value: a number that people can read while it changes.
    this.#bytesPerSecond = this.#bytesPerSecond === null ? rate : (this.#bytesPerSecond + rate) / 2
    this.#bytesReported = this.#bytes
    this.#reportedAt = now
    this.#report({
      bytes: this.#bytes,
      ...(this.#announced !== null && { total: this.#announced }),
      bytesPerSecond: Math.round(this.#bytesPerSecond),
    })
  }
}
