/** Words that the machines share whose work is with packages. Plain data only: all of it is journaled. */

/** Where the bytes of a package come from. */
export type PackageSource =
  | {
      readonly kind: 'registry'
      readonly tarball: string
      readonly registry: string
      readonly signatures: readonly { readonly keyid: string; readonly sig: string }[]
    }
  /** Absolute path of a gzipped tar archive, of a folder, or of an MCP bundle, on the controller's machine. */
  | { readonly kind: 'tarball' | 'folder' | 'bundle'; readonly path: string }
  /** What git is given to find the repository, and the whole name of the commit. */
  | { readonly kind: 'git'; readonly url: string; readonly commit: string }

/** One exact version of a package. */
export interface PackageOffer {
  readonly name: string
  readonly version: string
  /** SSRI text; null where it is learned from the bytes: only a registry says it before. */
  readonly integrity: string | null
  readonly source: PackageSource
}
