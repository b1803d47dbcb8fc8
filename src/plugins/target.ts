import type { Installed } from '../../machines/plugin.ts'
import type { PluginSeal } from './seal.ts'

/** A tree on a shelf, by its name there, and what its seal says; null where it has none. */
export interface Shelved {
  readonly folder: string
  readonly seal: PluginSeal | null
}

/** What is there of one plugin. */
export interface Shelf {
  /** The folder that the live symlink leads to. */
  readonly live: string | null
  readonly previous: string | null
  readonly trees: readonly Shelved[]
}

export interface Putting {
  readonly plugin: string
  readonly version: string
  readonly digest: string
  /** Absolute path of the tree on this machine. */
  readonly content: string
  /** Names the attempt: the same after a crash. */
  readonly key: string
  readonly signal: AbortSignal
  readonly progress: (data: object) => void
}

/**
 * A place where plugins are installed. Small on purpose: what happens in which order, and what follows from a failure, is
 * decided by the machines alone. Every method may be called again after a crash and finds what the first call did.
 */
export interface Target {
  /** What is there, read now. @throws {InstarError} `PLUGIN_FOREIGN` where something else has the plugin's place. */
  shelf(plugin: string): Promise<Shelf>
  /** Names of the plugins that have a shelf. */
  plugins(): Promise<string[]>
  /** Puts a tree on the shelf and seals it, its seal last. A whole one that is there already is taken. */
  put(putting: Putting): Promise<Installed>
  /** In one step, makes the live symlink (or what a rollback leads to) another one; null removes it. */
  point(plugin: string, link: 'live' | 'previous', folder: string | null): Promise<void>
  /** The seal and the digest of all bytes of the tree, reached through the live path. Null where nothing is live. */
  readLive(plugin: string): Promise<Read | null>
  /** The same of one tree on the shelf. */
  readTree(plugin: string, folder: string): Promise<Read>
  remove(plugin: string, folders: readonly string[]): Promise<void>
  /** Removes what interrupted attempts of this owner have left, while none is under way. Answers with what was removed. */
  sweep(plugin: string): Promise<string[]>
}

export interface Read {
  readonly folder: string
  readonly seal: PluginSeal | null
  /** Of what lies there now, whatever the seal says. */
  readonly digest: string
  /** What the digest is made of. */
  readonly listing: string
  /** The text of its `package.json`; null where there is none, or one that nobody would read. */
  readonly manifest: string | null
  /** What differs from the seal, at most ten sentences. */
  readonly problems: readonly string[]
}
