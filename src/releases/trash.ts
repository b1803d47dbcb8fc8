import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Disk } from '../disk.ts'
import { type Place, trashPrefix } from './layout.ts'

/**
 * Takes a folder out of use by giving it a name that nobody looks for; the caller then removes what it returns. So a
 * crash, or a file that cannot be removed, leaves trash for the next sweep and never half a release.
 */
export async function toTrash(place: Place, path: string, disk: Disk): Promise<string> {
  const trash = join(place.releases, `${trashPrefix}${randomUUID()}`)
  await disk.rename(path, trash)
  return trash
}

/** Removes trash. What cannot be removed now stays for a later sweep. */
export async function empty(trash: readonly string[]): Promise<void> {
  for (const path of trash) await rm(path, { recursive: true, force: true, maxRetries: 3 }).catch(() => {})
}
