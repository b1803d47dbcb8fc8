import type { Installed } from '../../machines/plugin.ts'
import type { PluginSeal } from './seal.ts'

/** A tree on a shelf, by its name there, and what its seal says; null where it has none. */
export interface Shelved {
  readonly folder: string
  readonly seal: PluginSeal | null
}

/** What is there of one plugin. Its seals were read, its trees were not. */
export interface Shelf {
  /** The folder that the live symlink names. */
  readonly live: string | null
  /** Where a reader of the live path ends up instead; null where it finds that folder, or nothing is live. */
  readonly astray: string | null
  readonly previous: string | null
  readonly trees: readonly Shelved[]
}

/** What lies in one tree, byte for byte. */
export interface Read {
  readonly folder: string
  readonly seal: PluginSeal | null
  /** Of what lies there now, whatever the seal says; empty where it is no tree that could be sealed. */
  readonly digest: string
  /** What the digest is made of. */
  readonly listing: string
  /** The text of its `package.json`; null where there is none, or one that nobody would read. */
  readonly manifest: string | null
  /** What differs from the seal, at most ten sentences. */
  readonly problems: readonly string[]
}

/** What there is to know of a plugin on a target, or what is in the way of knowing it. */
export type Surveyed = { readonly plugin: string } & ({ readonly shelf: Shelf } | { readonly problem: Error })

export interface Putting {
  readonly plugin: string
  readonly version: string
  readonly digest: string
  /** Absolute path of the tree on this machine, and what its digest is made of. */
  readonly content: string
  readonly listing: string
  /** Names the attempt: the same after a crash. */
  readonly key: string
  readonly signal: AbortSignal
  readonly progress: (data: object) => void
}

/**
 * A place where plugins are installed. Small on purpose: what happens in which order, and what follows from a failure, is
 * decided by the machines alone. Every method may be called again after a crash and finds what the first call did; each
 * is one step on the target, so that one far away is asked as seldom as can be.
 *
 * @throws {InstarError} besides what is named below: `TARGET_UNREACHABLE`, `TARGET_HOST_KEY`, `TARGET_DENIED`,
 *   `TARGET_UNSUPPORTED`, `TARGET_FAILED`, `DISK_FULL`, `DISK_FAILED`; `ABORTED` where a signal was given.
 */
export interface Target {
  /** Names the home that installs; letters and digits. Trees of another one are neither taken nor removed unasked. */
  readonly owner: string
  /** Everything that has a shelf, in the order of the names. */
  survey(signal?: AbortSignal): Promise<Surveyed[]>
  /** What is there, read now. @throws {InstarError} `PLUGIN_FOREIGN` where something else has the plugin's place. */
  shelf(plugin: string, signal?: AbortSignal): Promise<Shelf>
  /** What lies in these trees, in their order. One that is not there has that for a problem. */
  read(plugin: string, folders: readonly string[], signal?: AbortSignal): Promise<Read[]>
  /**
   * Puts a tree on the shelf and seals it, its seal last. A whole one that this owner has there is taken. What earlier
   * attempts of this owner have left there is removed.
   *
   * @throws {InstarError} `PLUGIN_DAMAGED` where what has arrived is not what `listing` says.
   */
  put(putting: Putting): Promise<Installed>
  /** In one step, makes the live symlink (or what a rollback leads to) another one; null removes it. */
  point(plugin: string, link: 'live' | 'previous', folder: string | null): Promise<void>
  /** Removes trees. Answers with what was removed. */
  remove(plugin: string, folders: readonly string[], signal?: AbortSignal): Promise<string[]>
  /** Removes what interrupted attempts of this owner have left, while none is under way. Answers with what was removed. */
  sweep(plugin: string, signal?: AbortSignal): Promise<string[]>
  /** Lets go of what was opened on the way. */
  close(): Promise<void>
}
