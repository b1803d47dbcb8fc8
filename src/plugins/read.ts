import type { PluginSeal } from './seal.ts'
import type { Read, Shelf } from './target.ts'

/** A tree of which nothing is known but why. */
export const unreadable = (folder: string, problem: string): Read => ({
  folder,
  seal: null,
  digest: '',
  listing: '',
  manifest: null,
  problems: [problem],
})

/** What the seal of a tree on a shelf says; null where the tree, or its seal, is not there. */
export const sealOf = ({ trees }: Shelf, folder: string | null): PluginSeal | null =>
  trees.find((tree) => tree.folder === folder)?.seal ?? null

/** What differs between a tree and its seal. */
export function problemsOf(seal: PluginSeal | null, digest: string): string[] {
  if (seal === null) return ['it has no seal']
  return seal.digest === digest ? [] : ['it is not what was sealed']
}
