import type { Shelf } from './target.ts'

/**
 * The trees of this owner that nobody needs any more: but for what is live and what a rollback leads to, all except the
 * `keep` newest; where nothing is live, all of them.
 */
export function spareTrees({ live, previous, trees }: Shelf, owner: string, keep: number): string[] {
  const own = trees.filter(({ seal }) => seal?.owner === owner)
  const kept = own.filter(({ folder }) => folder === live || folder === previous)
  const byAge = own
    .filter((tree) => !kept.includes(tree))
    .sort((a, b) => b.seal!.sealedAt.localeCompare(a.seal!.sealedAt))
  return (live === null ? own : byAge.slice(keep)).map(({ folder }) => folder)
}
