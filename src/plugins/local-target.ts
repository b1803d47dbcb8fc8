import { lstat, readdir, readlink, realpath, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Installed } from '../../machines/plugin.ts'
import { flush, flushDirectory, flushTree, makeDirectories } from '../disk.ts'
import { diskError } from '../errors.ts'
import { manifestText } from '../packages/read-manifest.ts'
import { absent } from '../releases/absent.ts'
import { decodeName, folderOf, type ReleaseRef } from '../releases/layout.ts'
import { readTree } from '../releases/tree.ts'
import { copyTree } from './copy-tree.ts'
import {
  folderIn,
  foreign,
  isTreeFolder,
  linkPrefix,
  liveTarget,
  previousName,
  shelfOf,
  shelves,
  stagingPrefix,
} from './layout.ts'
import { problemsOf, unreadable } from './read.ts'
import { encodePluginSeal, newSeal, readPluginSeal, sealName } from './seal.ts'
import type { Putting, Read, Shelf, Surveyed, Target } from './target.ts'

/** A directory of this machine. */
export class LocalTarget implements Target {
  /** @param tag What names of attempts begin with: this owner's at this address. */
  constructor(
    private readonly root: string,
    readonly owner: string,
    private readonly tag: string,
  ) {}

  async shelf(plugin: string): Promise<Shelf> {
    const live = await this.liveFolder(plugin)
    const folder = this.shelfPath(plugin)
    const previous = await this.previousFolder(plugin)
    const entries = (await readdir(folder, { withFileTypes: true }).catch(absent)) ?? []
    const names = entries
      .flatMap((entry) => (entry.isDirectory() && isTreeFolder(entry.name) ? [entry.name] : []))
      .sort()
    const trees = names.map(async (name) => ({ folder: name, seal: await readPluginSeal(join(folder, name)) }))
    const astray = await this.astray(plugin, live)
    // Another home may have swapped in between; then it is asked again, so that both answers are about one moment.
    if (astray !== null && live !== (await this.liveFolder(plugin))) return this.shelf(plugin)
    return { live, astray, previous, trees: await Promise.all(trees) }
  }

  async survey(): Promise<Surveyed[]> {
    const folders = (await readdir(join(this.root, shelves)).catch(absent)) ?? []
    const plugins = folders.map(decodeName).filter((name) => name !== null)
    const surveyed = plugins.sort().map((plugin) =>
      this.shelf(plugin).then(
        (shelf) => ({ plugin, shelf }),
        (problem: Error) => ({ plugin, problem }),
      ),
    )
    return Promise.all(surveyed)
  }

  async read(plugin: string, folders: readonly string[], signal?: AbortSignal): Promise<Read[]> {
    const reads: Read[] = []
    for (const folder of folders) reads.push(await this.readTree(plugin, folder, signal))
    return reads
  }

  async put(putting: Putting): Promise<Installed> {
    const { plugin, version, digest, content, listing, key, signal } = putting
    const shelf = this.shelfPath(plugin)
    const staging = join(shelf, `${stagingPrefix}${this.tag}-${key}`)
    try {
      await makeDirectories(shelf)
      await this.sweep(plugin)
      const folder = await this.freeFolder(plugin, { version, digest })
      if (folder.isWhole) return { folder: folder.name, version, digest }
      await copyTree(content, staging, listing, signal)
      await flushTree(staging)
      // Last of all, so that a tree which has it is whole.
      const seal = newSeal({ name: plugin, version, digest, owner: this.owner })
      await writeFile(join(staging, sealName), encodePluginSeal(seal), { flag: 'wx', mode: 0o644 })
      await flush(join(staging, sealName))
      await flushDirectory(staging)
      const isPlaced = await rename(staging, join(shelf, folder.name)).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (error.code === 'ENOTEMPTY' || error.code === 'EEXIST') return false
          throw error
        },
      )
      // Another home was faster with the same tree.
      if (!isPlaced) return await this.put(putting)
      await flushDirectory(shelf)
      return { folder: folder.name, version, digest }
    } catch (error) {
      throw diskError(error, `installing ${plugin} ${version}`)
    }
  }

  async point(plugin: string, link: 'live' | 'previous', folder: string | null): Promise<void> {
    const isLive = link === 'live'
    const path = isLive ? this.livePath(plugin) : join(this.shelfPath(plugin), previousName)
    try {
      const there = await lstat(path).catch(absent)
      if (there !== null && !there.isSymbolicLink()) throw foreign(path)
      if (folder === null) await rm(path, { force: true })
      else {
        // On the shelf, where a sweep finds it, and in the same file system.
        const draft = join(this.shelfPath(plugin), `${linkPrefix}${this.tag}-${link}`)
        if (there === null) await makeDirectories(dirname(path))
        await rm(draft, { force: true })
        await symlink(isLive ? liveTarget(plugin, folder) : folder, draft)
        await rename(draft, path)
      }
      await flushDirectory(dirname(path))
    } catch (error) {
      throw diskError(error, `pointing at ${plugin} ${folder ?? ''}`)
    }
  }

  async remove(plugin: string, folders: readonly string[], signal?: AbortSignal): Promise<string[]> {
    const removed: string[] = []
    for (const folder of folders) {
      signal?.throwIfAborted()
      const trash = join(this.shelfPath(plugin), `${stagingPrefix}${this.tag}-trash-${folder}`)
      await rm(trash, { recursive: true, force: true })
      // Another home, or another way to this one, may have made it what is in use.
      if (folder === (await this.liveFolder(plugin)) || folder === (await this.previousFolder(plugin))) continue
      await rename(join(this.shelfPath(plugin), folder), trash).catch(absent)
      await rm(trash, { recursive: true, force: true })
      removed.push(join(this.shelfPath(plugin), folder))
    }
    return removed
  }

  async sweep(plugin: string, signal?: AbortSignal): Promise<string[]> {
    const shelf = this.shelfPath(plugin)
    const own = [`${stagingPrefix}${this.tag}-`, `${linkPrefix}${this.tag}-`]
    const left = ((await readdir(shelf).catch(absent)) ?? []).filter((name) => own.some((one) => name.startsWith(one)))
    for (const name of left) {
      signal?.throwIfAborted()
      await rm(join(shelf, name), { recursive: true, force: true })
    }
    return left.map((name) => join(shelf, name))
  }

  async close(): Promise<void> {}

  private liveFolder(plugin: string): Promise<string | null> {
    return this.linked(this.livePath(plugin), (text) => folderIn(plugin, text))
  }

  private previousFolder(plugin: string): Promise<string | null> {
    return this.linked(join(this.shelfPath(plugin), previousName), (text) => (isTreeFolder(text) ? text : null))
  }

  private async astray(plugin: string, live: string | null): Promise<string | null> {
    if (live === null) return null
    const found = await realpath(this.livePath(plugin)).catch(absent)
    if (found === null) return 'nowhere'
    const shelf = await realpath(this.shelfPath(plugin)).catch(absent)
    return shelf !== null && found === join(shelf, live) ? null : found
  }

  private livePath(plugin: string): string {
    return join(this.root, plugin)
  }

  private shelfPath(plugin: string): string {
    return join(this.root, shelfOf(plugin))
  }

  private async linked(path: string, read: (text: string) => string | null): Promise<string | null> {
    const stats = await lstat(path).catch(absent)
    if (stats === null) return null
    const folder = stats.isSymbolicLink() ? read(await readlink(path)) : null
    if (folder === null) throw foreign(path)
    return folder
  }

  /** The name of a tree's folder, and whether the tree is there already. One that is damaged is never written over. */
  private async freeFolder(plugin: string, release: ReleaseRef) {
    const { digest } = release
    const stem = folderOf(release)
    for (let attempt = 0; ; attempt += 1) {
      const name = attempt === 0 ? stem : `${stem}.${attempt}`
      if ((await lstat(join(this.shelfPath(plugin), name)).catch(absent)) === null) return { name, isWhole: false }
      const { digest: found, seal } = await this.readTree(plugin, name)
      if (found === digest && seal?.digest === digest && seal.owner === this.owner) return { name, isWhole: true }
    }
  }

  private async readTree(plugin: string, folder: string, signal?: AbortSignal): Promise<Read> {
    const path = join(this.shelfPath(plugin), folder)
    const tree = await readTree(path, signal, [sealName]).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'RELEASE_UNSAFE') return error.message
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return 'it is not there'
      throw error
    })
    if (typeof tree === 'string') return unreadable(folder, tree)
    const { digest, listing } = tree
    const seal = await readPluginSeal(path)
    const manifest = await manifestText(path).catch(() => null)
    return { folder, seal, digest, listing, manifest, problems: problemsOf(seal, digest) }
  }
}
