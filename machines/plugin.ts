/** Words that the plugin machines share. Plain data only: all of it is journaled. */

/** Where the bytes of a plugin come from. */
export type PluginSource =
  | {
      readonly kind: 'registry'
      readonly tarball: string
      readonly registry: string
      readonly signatures: readonly { readonly keyid: string; readonly sig: string }[]
    }
  /** Absolute path of a gzipped tar archive, or of a folder, on the controller's machine. */
  | { readonly kind: 'tarball' | 'folder'; readonly path: string }
  /** What git is given to find the repository, and the whole name of the commit. */
  | { readonly kind: 'git'; readonly url: string; readonly commit: string }

/** One exact version of a plugin. */
export interface PluginOffer {
  readonly name: string
  readonly version: string
  /** SSRI text; null where it is learned from the bytes: only a registry says it before. */
  readonly integrity: string | null
  readonly source: PluginSource
}

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
