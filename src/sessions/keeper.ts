import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { isBundled, shippedFile } from '../package-info.ts'

/** The keeper's program, or why there is none: a sentence for a person. */
export type KeeperSearch =
  | { readonly path: string; readonly reason: null }
  | { readonly path: undefined; readonly reason: string }

/** Where `scripts/build-native.mjs` puts it, or a host beside its bundle. */
export const builtKeeper = shippedFile('dist/native/keeper')

/**
 * Finds a keeper that runs here. Without one sessions survive every upgrade of their daemon, but not its crash. Starts
 * the program once, to ask for its version.
 *
 * @param options.path The one to use instead of the one that belongs to this package.
 */
export function findKeeper({
  path = builtKeeper,
  platform = process.platform,
}: {
  path?: string
  platform?: NodeJS.Platform
} = {}): KeeperSearch {
  const missing = (reason: string): KeeperSearch => ({ path: undefined, reason })
  if (platform !== 'linux')
    return missing(
      'The keeper is built and used on Linux only: no other system lets a process adopt the shells of a daemon that ends.',
    )
  if (!isAbsolute(path)) return missing(`The keeper's path ${path} is not absolute.`)
  if (!existsSync(path))
    return missing(
      path === builtKeeper && !isBundled
        ? `The keeper has not been built. It needs a C compiler (on Debian: apt-get install gcc libc6-dev); then run: node ${shippedFile('scripts/build-native.mjs')}`
        : `There is no keeper at ${path}.`,
    )
  const { error, stdout, status } = spawnSync(path, ['--version'], { encoding: 'latin1', timeout: 5_000 })
  if (error !== undefined) return missing(`The keeper at ${path} does not run here: ${error.message}.`)
  // Its protocol never changes; another number would be another program's.
  if (status !== 0 || stdout !== 'keeper 1\n') return missing(`What lies at ${path} is not a keeper.`)
  return { path, reason: null }
}
