import { hostname } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod'
import { type Disk, realDisk } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { lockName } from './format.ts'

/** Who holds a lock. What the holder added is there too. */
export interface LockHolder {
  readonly pid: number
  readonly host: string
  /** ISO 8601. */
  readonly started: string
  readonly [field: string]: unknown
}

const lockHolder = z.looseObject({ pid: z.int().min(0), host: z.string(), started: z.string() })

export interface DirectoryLock extends Disposable {
  release(): void
}

/**
 * Makes this process the only one that works in `directory`, until `release` or until the process ends, however it
 * ends: the lock is the kernel's, so a killed holder's is free at once and none is ever stale. It binds only those who
 * ask for it, and on a network file system it is as good as the server's locks.
 *
 * @param holder What to tell those who are refused, beside pid, host and time.
 * @throws {InstarError} `HOME_LOCKED`; the message and `details.holder` say who holds it.
 */
export async function acquireLock(
  directory: string,
  holder: Readonly<Record<string, string | number>> = {},
  disk: Disk = realDisk,
): Promise<DirectoryLock> {
  const path = join(directory, lockName)
  const lock = await disk.tryLock(path)
  if (lock === null) throw await refused(directory, path, disk)
  const own: LockHolder = { pid: process.pid, host: hostname(), started: new Date().toISOString(), ...holder }
  try {
    lock.describe(`${JSON.stringify(own)}\n`)
  } catch (error) {
    lock.release()
    throw error
  }
  return {
    release: () => lock.release(),
    [Symbol.dispose]: () => lock.release(),
  }
}

async function refused(directory: string, path: string, disk: Disk): Promise<InstarError> {
  const holder = await readHolder(path, disk)
  // A holder writes its name right after it got the lock, so for a moment there is none, or the last one's.
  if (holder === undefined) return new InstarError('HOME_LOCKED', `${directory} is held by another process`)
  const { pid, host, started } = holder
  return new InstarError('HOME_LOCKED', `${directory} is held by process ${pid} on ${host} since ${started}`, {
    details: { holder },
  })
}

async function readHolder(path: string, disk: Disk): Promise<LockHolder | undefined> {
  try {
    return lockHolder.parse(JSON.parse((await disk.read(path)).toString('utf8')))
  } catch {
    return undefined // the refusal is what matters, not whom it names
  }
}
