import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { findChild, recordPath, stopChild } from './child.ts'

const named = z.looseObject({ start: z.looseObject({ key: z.string() }) })

/**
 * Ends the processes that a crashed controller started and nobody will ask for again, and removes what is left of their
 * records, output and trial folders.
 *
 * @param wanted Keys that somebody will come back for.
 */
export async function sweepChildren(recordDirectory: string, wanted: ReadonlySet<string>): Promise<void> {
  const entries = await readdir(recordDirectory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return []
  })
  for (const entry of entries.filter((name) => name.endsWith('.json'))) {
    const key = await keyOf(join(recordDirectory, entry))
    if (key === undefined || wanted.has(key)) continue
    const child = await findChild({ key, recordDirectory })
    if (child !== undefined) await stopChild(child, { everything: true })
  }
  const kept = [...wanted].map((key) => recordPath({ key, recordDirectory }).replace(/\.json$/, ''))
  for (const entry of entries) {
    const path = join(recordDirectory, entry)
    if (!kept.some((stem) => path.startsWith(`${stem}.`))) await rm(path, { recursive: true, force: true })
  }
}

/** The key of a record; undefined for half of one, which a power cut left of a process that went with it. */
async function keyOf(path: string): Promise<string | undefined> {
  try {
    return named.parse(JSON.parse(await readFile(path, 'utf8'))).start.key
  } catch {
    return undefined
  }
}
