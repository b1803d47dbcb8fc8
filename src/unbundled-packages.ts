import { realpathSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Where packages are looked for that no bundler can take in, because they have compiled parts or are read by a thread of
 * their own: from this module on, then from the main script on, beside which they are where a bundler moved this module
 * elsewhere.
 */
export function packagePlaces(): string[] {
  // Empty in what bundlers make of a module for CommonJS.
  const own = import.meta.url as string | undefined
  return [...(own?.startsWith('file:') ? [fileURLToPath(own)] : []), ...(process.argv[1] ? [process.argv[1]] : [])]
}

/** What a module at `place`, a file or a directory, would have as its `require`. */
export function requireFrom(place: string): NodeJS.Require {
  // Node 20 and 22 take what was looked at last for a part of the path: after a socket they do not follow the links of which
  // package managers make `node_modules`.
  statSync(place)
  // A name below it serves for files and directories alike. A link may stand outside the tree with the packages.
  return createRequire(join(realpathSync(place), 'from'))
}
