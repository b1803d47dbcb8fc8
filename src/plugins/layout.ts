import { InstarError } from '../errors.ts'
import { encodeName } from '../releases/layout.ts'

/**
 * Where things are on a target, below the directory that loaders read:
 *
 *   <name>  or  @scope/<name>              the live plugin: a relative symlink to one of the trees below
 *   .instar/<name, encoded>/               the shelf of one plugin
 *     <version>-<first 12 of digest>/      one tree, sealed (`seal.ts`), immutable; with a suffix where that name is taken
 *     previous                             a symlink to the tree that a rollback leads to
 *     .staging-<owner>-<address>-<key>/    a tree that is being put there, or removed
 *     .link-<owner>-<address>-<which>      a symlink on its way to its place
 *
 * An owner is a home: several may install into one directory, and each cleans up after itself only.
 */
export const shelves = '.instar'
export const previousName = 'previous'
export const stagingPrefix = '.staging-'
export const linkPrefix = '.link-'

/** @throws {InstarError} `PLUGIN_NAME_INVALID` */
export function assertPluginName(name: string): void {
  if (!/^(@[a-z0-9~][a-z0-9._~-]*\/)?[a-z0-9~][a-z0-9._~-]*$/.test(name) || name.length > 128)
    throw new InstarError('PLUGIN_NAME_INVALID', `${JSON.stringify(name.slice(0, 100))} cannot name a plugin`)
}

export const shelfOf = (name: string) => `${shelves}/${encodeName(name)}`

/** Something that Instar did not make has the place. */
export const foreign = (path: string) => new InstarError('PLUGIN_FOREIGN', `${path} is none of Instar's`)

/** What the live symlink of a plugin holds. */
export function liveTarget(name: string, folder: string): string {
  const up = name.includes('/') ? '../' : ''
  return `${up}${shelfOf(name)}/${folder}`
}

/** The folder that a live symlink leads to; null where it leads elsewhere. */
export function folderIn(name: string, text: string): string | null {
  const prefix = liveTarget(name, '')
  const folder = text.startsWith(prefix) ? text.slice(prefix.length) : ''
  return isTreeFolder(folder) ? folder : null
}

/** True for a folder on a shelf that holds a tree. */
export const isTreeFolder = (folder: string) => /^[0-9][0-9A-Za-z.-]*-[0-9a-f]{12}(\.[0-9]{1,4})?$/.test(folder)
