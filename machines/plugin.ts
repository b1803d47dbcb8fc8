/** Words that the plugin machines share. Plain data only: all of it is journaled. */

/** A tree on a target, by the name of its folder there, and as its seal says; empty texts where it has none. */
export interface Installed {
  readonly folder: string
  readonly version: string
  readonly digest: string
}

/** What a target has of one plugin, as it was read there. */
export interface Found {
  readonly live: Installed | null
  /** Whether its bytes are those that were sealed. They are read only where it may be the very version that is wanted. */
  readonly isWhole: boolean
  /** The folder that a rollback leads to. */
  readonly previous: string | null
}

/**
 * What whoever has a plugin loaded has to do when its tree is another: nothing (only generated files differ), read its
 * words again (only documentation differs, or what `package.json` says beside what is run), or start anew.
 */
export type PluginChange = 'none' | 'reload' | 'restart'
