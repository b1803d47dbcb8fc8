import { type FSWatcher, watch } from 'node:fs'
import { lstat, readdir, realpath } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { readPluginSeal } from './seal.ts'

/** A plugin that may be loaded. */
export interface LoadablePlugin {
  /** With its scope, as in `@scope/name`. */
  readonly name: string
  /** The folder itself, reached through no symlink: it stays what it is when another version takes its place. */
  readonly path: string
  /** Null where it is loaded without a seal. */
  readonly version: string | null
  readonly digest: string | null
}

/** A folder that looks like a plugin and is left out. */
export interface LeftOut {
  /** Below the directory. */
  readonly entry: string
  readonly code: 'unsealed' | 'dangling' | 'foreign' | 'unreadable'
  readonly reason: string
}

export interface PluginListing {
  readonly plugins: readonly LoadablePlugin[]
  readonly leftOut: readonly LeftOut[]
}

export interface ListOptions {
  /**
   * Until when folders without a seal are loaded too: for those that were there before they were sealed. One in which
   * anything changed within the last minute may be half of one, and is left out all the same. Default: none is loaded.
   */
  readonly unsealedUntil?: Date
}

const settledAfterMs = 60_000

/**
 * The complete plugins of a directory that Instar installs into, in the order of their names, and why others are left
 * out. Reads the seals, not the trees. A directory that is not there has none.
 *
 * Names that begin with a dot are nobody's plugin and are passed over.
 *
 * @throws What the system says where the directory itself cannot be read.
 */
export function listPlugins(directory: string, options: ListOptions = {}): Promise<PluginListing> {
  return list(directory, options, () => {})
}

/** @param turns Is told when one may be judged otherwise though nothing changes. */
async function list(directory: string, options: ListOptions, turns: (at: number) => void): Promise<PluginListing> {
  const plugins: LoadablePlugin[] = []
  const leftOut: LeftOut[] = []
  for (const name of await namesIn(directory)) {
    const found = await look(join(directory, name), name, options, turns)
    if ('path' in found) plugins.push(found)
    else leftOut.push(found)
  }
  return { plugins, leftOut }
}

/**
 * Calls `changed` with the listing there is, and with each new one when plugins have come, gone or been replaced, once for
 * many changes at once, or when time has made one that has no seal loadable or no longer so. Returns what ends it. It does
 * not keep the process alive.
 *
 * @throws What the system says where the directory is missing or cannot be watched.
 */
export function watchPlugins(
  directory: string,
  changed: (listing: PluginListing) => void,
  options: ListOptions & { readonly onError?: (error: unknown) => void } = {},
): () => void {
  let timer: NodeJS.Timeout | undefined
  let alarm: NodeJS.Timeout | undefined
  let looking = Promise.resolve()
  let isOver = false
  let last: string | null = null
  const lookAgain = () => {
    timer ??= setTimeout(async () => {
      // One after the other, or the older of two could be told last. What changes until it begins is seen by it.
      await looking
      timer = undefined
      if (!isOver) looking = lookOnce()
    }, settleMs).unref()
  }
  const lookOnce = async () => {
    let turnsAt = Number.POSITIVE_INFINITY
    try {
      await followScopes()
      const listing = await list(directory, options, (at) => {
        turnsAt = Math.min(turnsAt, at)
      })
      if (isOver) return
      clearTimeout(alarm)
      if (turnsAt < Number.POSITIVE_INFINITY) alarm = setTimeout(lookAgain, delayUntil(turnsAt)).unref()
      const text = JSON.stringify(listing)
      if (text === last) return
      last = text
      changed(listing)
    } catch (error) {
      if (!isOver) options.onError?.(error)
    }
  }
  const watchers = new Map<string, FSWatcher>()
  const follow = (folder: string) => {
    if (isOver || watchers.has(folder)) return
    const watcher = watch(folder, { persistent: false }, lookAgain)
    watcher.on('error', (error) => options.onError?.(error))
    watchers.set(folder, watcher)
  }
  const followScopes = async () => {
    const scopes = (await entriesOf(directory)).filter((entry) => entry.startsWith('@'))
    for (const scope of scopes) follow(join(directory, scope))
    for (const [folder, watcher] of watchers)
      if (folder !== directory && !scopes.includes(basename(folder))) {
        watcher.close()
        watchers.delete(folder)
      }
  }
  follow(directory)
  lookAgain()
  return () => {
    isOver = true
    clearTimeout(timer)
    clearTimeout(alarm)
    for (const watcher of watchers.values()) watcher.close()
  }
}

/** A swap is several changes within a moment. */
const settleMs = 50

/** A timer that is longer than a day may not be one. To look too early is no harm. */
const delayUntil = (at: number) => Math.min(Math.max(at - Date.now(), 0), 86_400_000)

async function namesIn(directory: string): Promise<string[]> {
  const names: string[] = []
  for (const entry of await entriesOf(directory)) {
    if (!entry.startsWith('@')) names.push(entry)
    else for (const inner of await entriesOf(join(directory, entry))) names.push(`${entry}/${inner}`)
  }
  return names.sort()
}

async function entriesOf(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((name) => !name.startsWith('.'))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw error
  }
}

async function look(
  entry: string,
  name: string,
  { unsealedUntil }: ListOptions,
  turns: (at: number) => void,
): Promise<LoadablePlugin | LeftOut> {
  const out = (code: LeftOut['code'], reason: string): LeftOut => ({ entry: name, code, reason })
  try {
    const path = await realpath(entry).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ELOOP') return null
      throw error
    })
    if (path === null) return out('dangling', 'it is a symlink that leads nowhere')
    const stats = await lstat(path)
    if (!stats.isDirectory()) return out('foreign', 'it is not a folder')
    const seal = await readPluginSeal(path)
    if (seal !== null && seal.name !== name) return out('foreign', `it carries the seal of ${seal.name}`)
    if (seal !== null) return { name, path, version: seal.version, digest: seal.digest }
    if (unsealedUntil === undefined || Date.now() >= unsealedUntil.getTime())
      return out('unsealed', 'it has no seal, so nobody says that it is whole')
    const settlesAt = (await lastChange(path)) + settledAfterMs
    const isSettled = settlesAt <= Date.now()
    turns(isSettled ? unsealedUntil.getTime() : Math.min(settlesAt, unsealedUntil.getTime()))
    if (!isSettled) return out('unsealed', 'it has no seal, and has just been changed')
    return { name, path, version: null, digest: null }
  } catch (error) {
    return out('unreadable', (error as Error).message)
  }
}

/** When anything in a folder was last changed, by the time that whoever copies cannot set. */
async function lastChange(path: string): Promise<number> {
  const stats = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (stats === null) return Date.now() // it went away just now
  const names = stats.isDirectory() ? await readdir(path) : []
  const inside = await Promise.all(names.map((name) => lastChange(join(path, name))))
  return inside.reduce((newest, one) => Math.max(newest, one), stats.ctimeMs)
}
