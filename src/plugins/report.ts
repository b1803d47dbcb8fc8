import { decodeListing, encodeListing, type ListedEntry } from '../releases/tree.ts'

/**
 * What a shell on a target reports of a tree: one line for each file, as `sha256sum` prints it, `x PATH` for each file that
 * its owner may execute, `d PATH` for each folder, `o PATH` for anything else; paths begin with `./`; in the order of the
 * lines' bytes.
 */
export function reportOf(listing: string): string {
  const lines = decodeListing(listing).flatMap(({ mark, hash, path }) => {
    if (mark === 'd') return [`d ./${path}`]
    if (mark === 'l') return [`o ./${path}`]
    return mark === 'x' ? [`${hash}  ./${path}`, `x ./${path}`] : [`${hash}  ./${path}`]
  })
  const sorted = lines.map((line) => Buffer.from(`${line}\n`)).sort(Buffer.compare)
  return Buffer.concat(sorted).toString('utf8')
}

/** The listing of a tree that was reported, or why it cannot be one. */
export function listingOf(lines: readonly string[]): string | { readonly problem: string } {
  const executable = new Set(lines.filter((line) => line.startsWith('x ./')).map((line) => line.slice(4)))
  const entries: ListedEntry[] = []
  for (const line of lines) {
    const [, kind = '', path = ''] = /^(x|d|o|[0-9a-f]{64} ) \.\/(.+)$/s.exec(line) ?? []
    if (kind === 'd') entries.push({ mark: 'd', hash: '-', path })
    else if (kind.length > 1) entries.push({ mark: executable.has(path) ? 'x' : '-', hash: kind.trim(), path })
    else if (kind !== 'x') return { problem: `${path || JSON.stringify(line)} is neither a file nor a folder` }
  }
  return encodeListing(entries)
}
