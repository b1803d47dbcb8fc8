import type { PluginChange } from '../../machines/plugin.ts'
import { decodeListing } from '../releases/tree.ts'

export interface ComparedTree {
  /** As `src/releases/tree.ts` writes it. */
  readonly listing: string
  /** The text of its `package.json`; null where it has none that can be read. */
  readonly manifest: string | null
}

export function classifyChange(before: ComparedTree, after: ComparedTree): PluginChange {
  const paths = changedPaths(before.listing, after.listing).filter((path) => !isGenerated(path))
  if (paths.length === 0) return 'none'
  const isWords = (path: string) =>
    isDocumentation(path) || (path === 'package.json' && behaviourOf(before.manifest) === behaviourOf(after.manifest))
  return paths.every(isWords) ? 'reload' : 'restart'
}

function changedPaths(before: string, after: string): string[] {
  const [old, young] = [contentsOf(before), contentsOf(after)]
  return [...new Set([...old.keys(), ...young.keys()])].filter((path) => old.get(path) !== young.get(path))
}

/** Files and symlinks by path: a folder is what is in it. */
const contentsOf = (listing: string) =>
  new Map(
    decodeListing(listing)
      .filter(({ mark }) => mark !== 'd')
      .map(({ mark, hash, path }) => [path, `${mark} ${hash}`] as const),
  )

/** What tools write beside what they are given: it is new in each version, and nobody runs it. */
const isGenerated = (path: string) =>
  /(^|\/)(\.DS_Store|Thumbs\.db|[^/]+\.(map|tsbuildinfo|log))$|(^|\/)(\.cache|\.nyc_output|coverage)\//.test(path)

const isDocumentation = (path: string) =>
  /^(docs?|man)\/|(^|\/)(readme|changelog|changes|history|licen[cs]e|notice|authors|contributing|security)(\.[^/]*)?$|\.(md|markdown|rst|adoc)$/i.test(
    path,
  )

/** Fields of `package.json` that only say something. What is new to us counts as something that is run. */
const words = ['version', 'description', 'keywords', 'homepage', 'bugs', 'license', 'author', 'contributors', 'funding']

function behaviourOf(manifest: string | null): string | null {
  try {
    const fields = Object.entries(JSON.parse(manifest ?? '') as object).filter(([name]) => !words.includes(name))
    return JSON.stringify(fields.sort(([a], [b]) => (a < b ? -1 : 1)))
  } catch {
    return null // what cannot be read is equal to nothing but its like
  }
}
