import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Disk } from '../disk.ts'
import { absent } from './absent.ts'
import { type Place, stagingPrefix, trashPrefix } from './layout.ts'
import { tryAcquire } from './lock.ts'
import { empty, toTrash } from './trash.ts'

/** Removes trash, and drafts whose holder is gone. Trash goes first: it may be what makes room to work in. */
export async function sweepReleases(place: Place, disk: Disk): Promise<string[]> {
  const entries = (await readdir(place.releases).catch(absent)) ?? []
  const trash = entries.filter((entry) => entry.startsWith(trashPrefix)).map((entry) => join(place.releases, entry))
  await empty(trash)
  // A draft and its lock are one thing; a crash can leave either without the other.
  const staging = entries
    .filter((entry) => entry.startsWith(stagingPrefix))
    .map((entry) => entry.replace(/\.lock$/, ''))
  const swept = [...trash]
  for (const entry of new Set(staging)) {
    const draft = join(place.releases, entry)
    if (await sweepDraft(place, draft, disk)) swept.push(draft)
  }
  return swept
}

async function sweepDraft(place: Place, draft: string, disk: Disk): Promise<boolean> {
  const lock = await tryAcquire(`${draft}.lock`, { disk, doing: 'sweeping', lasting: false })
  if (lock === null) return false
  try {
    if ((await lstat(draft).catch(absent)) !== null) await empty([await toTrash(place, draft, disk)])
    await lock.retire()
    return true
  } finally {
    lock.release()
  }
}
