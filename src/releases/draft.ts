import { createHash } from 'node:crypto'
import { lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { assert } from '../assert.ts'
import { type Disk, flushTree, makeDirectories } from '../disk.ts'
import { diskError, InstarError } from '../errors.ts'
import { absent } from './absent.ts'
import {
  assertCanonical,
  contentOf,
  folderOf,
  type Place,
  scratchFolder,
  sealFile,
  stagingPrefix,
  treeFile,
} from './layout.ts'
import { acquire, type Lock } from './lock.ts'
import { encodeSeal, judgeRelease, type Release, readSealed, releaseOf, type Seal } from './seal.ts'
import { empty, toTrash } from './trash.ts'
import { readTree } from './tree.ts'

export interface Sealing {
  readonly version: string
  /** Of what was fetched, as SSRI text. */
  readonly integrity: string
  /** Where it came from, for people. */
  readonly source: string
  /**
   * Whether a registry gave it, under whose versions the bytes never change. What is made here may have others tomorrow, so
   * they are not noted as those that the version has. Default true.
   */
  readonly published?: boolean
  readonly signal?: AbortSignal | undefined
}

export interface DraftWaiting {
  readonly waitMs: number
  readonly signal?: AbortSignal | undefined
}

/** What a draft needs of its store. */
export interface DraftHost {
  readonly place: Place
  readonly disk: Disk
  now(): string
  /** Runs `work` while nobody else changes the releases of this name. */
  guarded<T>(doing: string, work: () => Promise<T>): Promise<T>
  firstSeen(version: string, integrity: string): Promise<string>
  /** The draft is no longer held. */
  left(): void
}

export const draftTag = (key: string) => createHash('sha256').update(key).digest('hex').slice(0, 20)

/**
 * A release in the making, held by this process until it is sealed, discarded or closed. Its folder follows from the
 * key, so the same work done again after a crash finds what the first attempt left. Whoever fills it must not take what
 * is there for complete: `reset` empties it.
 */
export class Draft implements AsyncDisposable {
  /** Fill this with the tree to release. */
  readonly content: string
  /** For downloads and other things that are not to be released. */
  readonly scratch: string
  private sealing: Promise<Release> | null = null
  private held = true

  private constructor(
    private readonly host: DraftHost,
    private readonly tag: string,
    readonly directory: string,
    private readonly lock: Lock,
  ) {
    this.content = contentOf({ path: directory })
    this.scratch = join(directory, scratchFolder)
  }

  /** @throws {InstarError} `RELEASE_LOCKED` when another process holds the draft of this key. */
  static async open(host: DraftHost, key: string, { waitMs, signal }: DraftWaiting): Promise<Draft> {
    const { place, disk } = host
    const tag = draftTag(key)
    const directory = join(place.releases, `${stagingPrefix}${tag}`)
    await makeDirectories(place.releases, disk)
    const lock = await acquire(`${directory}.lock`, {
      disk,
      waitMs,
      doing: `staging ${place.name}`,
      lasting: false,
      signal,
    })
    const draft = new Draft(host, tag, directory, lock)
    try {
      await draft.makeFolders()
      return draft
    } catch (error) {
      lock.release()
      throw error
    }
  }

  /** Empties the draft, for an attempt that starts from nothing. */
  async reset(): Promise<void> {
    await this.drop()
    await this.makeFolders()
  }

  /**
   * Makes the content a release: reads and hashes the tree, writes the seal, flushes everything, and only then gives it
   * its final name. A whole release that is there already is returned and the draft dropped; a damaged one is replaced.
   *
   * Safe to run twice: where the draft is gone because the first run finished, that run's release is returned.
   *
   * @throws {InstarError} `RELEASE_INCOMPLETE` when the content is empty and nothing was sealed from it before;
   *   `RELEASE_UNSAFE`, `VERSION_INVALID`, `DISK_FULL`.
   */
  seal(sealing: Sealing): Promise<Release> {
    this.sealing ??= this.sealOnce(sealing).finally(() => {
      this.sealing = null
    })
    return this.sealing
  }

  /** Removes the draft and everything in it. */
  async discard(): Promise<void> {
    await this.drop()
    await this.leave()
  }

  /** Lets go of the draft and leaves its content for a later attempt, or for a sweep. */
  async close(): Promise<void> {
    if (!this.held) return
    this.held = false
    this.host.left()
    this.lock.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  private async sealOnce({ version, integrity, source, published = true, signal }: Sealing): Promise<Release> {
    assert(this.held, 'a draft is sealed by the process that holds it')
    assertCanonical(version)
    const { place } = this.host
    try {
      if (await this.isEmpty()) return await this.sealedBefore(version, integrity)
      const seal = await this.writeSeal({ version, integrity, source, published, signal })
      const moved = await this.host.guarded(`sealing ${version}`, () => this.moveIn(seal, signal))
      await this.leave()
      await empty(moved.trash)
      return moved.release
    } catch (error) {
      throw diskError(error, `sealing ${place.name} ${version}`)
    }
  }

  private async isEmpty(): Promise<boolean> {
    return ((await readdir(this.content).catch(absent)) ?? []).length === 0
  }

  /** The release that an earlier run made of this draft, or that it found in place and dropped the draft for. */
  private async sealedBefore(version: string, integrity: string): Promise<Release> {
    const { place } = this.host
    const alike = (await readSealed(place)).filter(
      ({ seal }) => seal.version === version && seal.integrity === integrity,
    )
    const likely = [...alike.filter(({ seal }) => seal.draft === this.tag), ...alike]
    for (const { seal } of likely) {
      const verdict = await judgeRelease(place, seal, { full: true })
      if (!verdict.whole) continue
      await this.discard()
      return verdict.release
    }
    const message = `nothing was staged for ${place.name} ${version}`
    throw new InstarError('RELEASE_INCOMPLETE', message, { details: { directory: this.directory } })
  }

  private async writeSeal({
    version,
    integrity,
    source,
    published,
    signal,
  }: Sealing & { readonly published: boolean }): Promise<Seal> {
    const { place, disk } = this.host
    for (const entry of await readdir(this.directory))
      if (join(this.directory, entry) !== this.content)
        await rm(join(this.directory, entry), { recursive: true, force: true })
    const { digest, listing, files, bytes } = await readTree(this.content, signal)
    const seal: Seal = {
      schema: 1,
      kind: place.kind,
      name: place.name,
      version,
      digest,
      integrity,
      source,
      firstSeen: published ? await this.host.firstSeen(version, integrity) : this.host.now(),
      published,
      sealedAt: this.host.now(),
      draft: this.tag,
      files,
      bytes,
    }
    await flushTree(this.content)
    await writeFlushed(join(this.directory, treeFile), Buffer.from(listing), disk)
    await writeFlushed(join(this.directory, sealFile), encodeSeal(seal), disk)
    await disk.flushDirectory(this.directory)
    return seal
  }

  private async moveIn(seal: Seal, signal?: AbortSignal): Promise<{ release: Release; trash: string[] }> {
    const { place, disk } = this.host
    const verdict = await judgeRelease(place, seal, { full: true, signal })
    if (verdict.whole) return { release: verdict.release, trash: [await toTrash(place, this.directory, disk)] }
    const path = join(place.releases, folderOf(seal))
    const occupied = (await lstat(path).catch(absent)) !== null
    const trash = occupied ? [await toTrash(place, path, disk)] : []
    await disk.rename(this.directory, path)
    await disk.flushDirectory(place.releases)
    return { release: releaseOf(seal, path), trash }
  }

  private async makeFolders(): Promise<void> {
    const { disk } = this.host
    for (const folder of [this.directory, this.content, this.scratch]) await disk.makeDirectory(folder)
  }

  private async drop(): Promise<void> {
    const { place, disk } = this.host
    assert(this.held, 'a draft is emptied by the process that holds it')
    // In one step, so that half of the content can never pass for what was downloaded.
    if ((await lstat(this.directory).catch(absent)) !== null) await empty([await toTrash(place, this.directory, disk)])
  }

  private async leave(): Promise<void> {
    this.held = false
    this.host.left()
    await this.lock.retire()
  }
}

async function writeFlushed(path: string, bytes: Buffer, disk: Disk): Promise<void> {
  await disk.write(path, bytes)
  await disk.flush(path)
}
