import { join } from 'node:path'
import valid from 'semver/functions/valid.js'
import { InstarError } from '../errors.ts'

/** What a release is of. Nothing in the store depends on it; it keeps things of one name apart. */
export type Kind = 'runtime' | 'app' | 'plugin'

export const kinds = ['runtime', 'app', 'plugin'] as const satisfies readonly Kind[]

/** One exact release: `digest` is the SHA-256 of its tree listing, in hex (see tree.ts). */
export interface ReleaseRef {
  readonly version: string
  readonly digest: string
}

/**
 * Where the releases and the state of one name are, below a home.
 *
 *   releases/<kind>/<name>/                            one folder per name, the name encoded
 *     <version>-<first 12 of digest>/                  one sealed release, immutable
 *       release.json                                   the seal, see seal.ts
 *       tree                                           the listing that the digest is made of, see tree.ts
 *       content/                                       what was released
 *     .staging-<hash of key>/  .staging-<…>.lock       a draft, and the lock that its holder has
 *     .trash-<uuid>/                                   on its way out
 *   state/<kind>/
 *     <name>.json                                      the read model, see state.ts
 *     <name>.json.damaged-<time>                       what was found in its place and could not be read
 *     <name>.guard                                     lock: one writer of the read model at a time, for milliseconds
 *     <name>.lock                                      lock: one procedure at a time, for as long as it takes
 */
export interface Place {
  readonly kind: Kind
  readonly name: string
  readonly releases: string
  readonly states: string
  readonly state: string
  readonly guard: string
  readonly lock: string
}

/**
 * @param home Absolute and free of symlinks (`realpath`), since paths below it are compared with what the disk says.
 * @throws {InstarError} `NAME_INVALID`.
 */
export function placeOf(home: string, kind: Kind, name: string): Place {
  const folder = encodeName(name)
  const states = join(home, 'state', kind)
  return {
    kind,
    name,
    releases: join(home, 'releases', kind, folder),
    states,
    state: join(states, `${folder}.json`),
    guard: join(states, `${folder}.guard`),
    lock: join(states, `${folder}.lock`),
  }
}

export const stagingPrefix = '.staging-'
export const trashPrefix = '.trash-'

/** Room for the suffixes above within the 255 bytes that file systems give a name. */
const longestName = 180

/**
 * A name as one path component. Different names never give the same folder, also where the file system ignores case.
 *
 *   a-z 0-9 . _ - @      stand for themselves, except a dot at either end
 *   /                    becomes +
 *   anything else        becomes =xx, the hex of each of its UTF-8 bytes
 *
 * @throws {InstarError} `NAME_INVALID` when it is empty, too long or not well-formed text.
 */
export function encodeName(name: string): string {
  const folder = name.replace(/^\.|\.$|[^a-z0-9._@/-]/gu, escapeBytes).replaceAll('/', '+')
  const safe = reservedOnWindows.test(folder) ? escapeBytes(folder[0]!) + folder.slice(1) : folder
  if (name === '' || safe.length > longestName || loneSurrogate.test(name))
    throw new InstarError('NAME_INVALID', `${JSON.stringify(name.slice(0, 60))} cannot name a release`)
  return safe
}

/** The name that `encodeName` made this folder of, or null for a folder that it never made. */
export function decodeName(folder: string): string | null {
  const bytes = folder.replaceAll('+', '/').replace(/=([0-9a-f]{2})/g, '%$1')
  try {
    const name = decodeURIComponent(bytes)
    return encodeName(name) === folder ? name : null
  } catch {
    return null // not ours, which is the answer
  }
}

// Half a character has no UTF-8, so two such names could not be told apart.
const loneSurrogate = /\p{Surrogate}/u

const reservedOnWindows = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/

const escapeBytes = (text: string) => Buffer.from(text).toString('hex').replace(/../g, '=$&')

/** A version that is exactly what semver would print: no `v`, no blanks, no build metadata, not too long for a folder. */
export function isCanonical(version: string): boolean {
  return version.length <= longestName && valid(version) === version
}

/** @throws {InstarError} `VERSION_INVALID`. */
export function assertCanonical(version: string): void {
  if (!isCanonical(version))
    throw new InstarError('VERSION_INVALID', `${JSON.stringify(version)} is not an exact version`)
}

export const isDigest = (digest: string) => /^[0-9a-f]{64}$/.test(digest)

const digestLength = 12

/** The folder of a release, by name alone. Callers have made sure that version and digest are canonical. */
export const folderOf = ({ version, digest }: ReleaseRef) => `${version}-${digest.slice(0, digestLength)}`

/** True for a folder name that `folderOf` can have made. */
export function isReleaseFolder(folder: string): boolean {
  const match = /^(.+)-([0-9a-f]{12})$/.exec(folder)
  return match !== null && isCanonical(match[1]!)
}

/** The absolute path of a release, or null where version or digest cannot name one. */
export function pathOf(place: Place, { version, digest }: ReleaseRef): string | null {
  return isCanonical(version) && isDigest(digest) ? join(place.releases, folderOf({ version, digest })) : null
}

export const sealFile = 'release.json'
export const treeFile = 'tree'
const contentFolder = 'content'
export const scratchFolder = 'scratch'

/** What was released: the folder that runs. */
export const contentOf = ({ path }: { readonly path: string }) => join(path, contentFolder)

export const sameRef = (a: ReleaseRef | null, b: ReleaseRef | null) =>
  a === b || (a !== null && b !== null && a.version === b.version && a.digest === b.digest)
