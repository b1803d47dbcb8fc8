import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { SessionExit } from './protocol.ts'

const ExitRecord = z.object({ id: z.string(), exit: SessionExit })

const keptMax = 200

/**
 * How sessions ended, one file each, so that it can be asked after the daemon that saw it is gone. Written before any
 * client hears of it. Not flushed: what a power cut takes, it takes together with the sessions.
 */
export class ExitRecords {
  constructor(private readonly directory: string) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  }

  write(id: string, exit: SessionExit): void {
    const path = this.pathOf(id)
    const draft = `${path}.new`
    try {
      writeFileSync(draft, `${JSON.stringify({ id, exit })}\n`, { mode: 0o600 })
      renameSync(draft, path)
    } catch (error) {
      rmSync(draft, { force: true })
      throw error
    }
    this.prune()
  }

  read(id: string): SessionExit | null {
    try {
      return ExitRecord.parse(JSON.parse(readFileSync(this.pathOf(id), 'utf8'))).exit
    } catch {
      return null // none, or one that a crash cut short: how it ended is not known
    }
  }

  /** A new session of this id begins. */
  forget(id: string): void {
    rmSync(this.pathOf(id), { force: true })
  }

  private prune(): void {
    const names = readdirSync(this.directory)
    if (names.length <= keptMax) return
    const byAge = names
      .map((name) => ({ name, at: statSync(join(this.directory, name)).mtimeMs }))
      .sort((a, b) => a.at - b.at)
    for (const { name } of byAge.slice(0, names.length - keptMax)) rmSync(join(this.directory, name), { force: true })
  }

  private pathOf(id: string): string {
    return join(this.directory, `${id}.json`)
  }
}
