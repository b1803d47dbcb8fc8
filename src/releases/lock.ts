import { randomUUID } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import * as z from 'zod'
import type { Disk } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { absent } from './absent.ts'

/** A lock that this process holds on a file, until it lets go or dies. */
export interface Lock {
  release(): void
  /** Removes the file as well: for locks on things that are gone. Whoever was about to lock it starts over. */
  retire(): Promise<void>
}

export interface LockOptions {
  readonly disk: Disk
  /** How long to wait for another holder; 0 tries once. */
  readonly waitMs: number
  /** What the holder does, for whoever has to wait: "fetching", "changing the state". */
  readonly doing: string
  /** True for a file that nobody ever retires. Such a lock is to be had on a full disk too, only unsigned. */
  readonly lasting: boolean
  readonly signal?: AbortSignal | undefined
}

/**
 * Waits until this process alone holds the lock on `path`. A second `acquire` waits in the same process too.
 *
 * @throws {InstarError} `RELEASE_LOCKED` after `waitMs`, with the holder's `pid`, `since` and `doing` as details.
 */
export async function acquire(path: string, options: LockOptions): Promise<Lock> {
  const { waitMs, signal } = options
  const deadline = performance.now() + waitMs
  for (let delayMs = 1; ; delayMs = Math.min(delayMs * 2, delayMsMax)) {
    signal?.throwIfAborted()
    const lock = await tryAcquire(path, options)
    if (lock !== null) return lock
    if (performance.now() >= deadline) throw await lockedError(path)
    // Uneven, so that two who wait do not meet again and again.
    await sleep(delayMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {}) // aborted: thrown above
  }
}

const delayMsMax = 50

/** Takes the lock if nobody has it, else answers null. */
export async function tryAcquire(
  path: string,
  { disk, doing, lasting }: Pick<LockOptions, 'disk' | 'doing' | 'lasting'>,
): Promise<Lock | null> {
  for (;;) {
    const lock = await disk.tryLock(path)
    if (lock === null) return null
    const signature = JSON.stringify({ pid: process.pid, since: new Date().toISOString(), doing, id: randomUUID() })
    try {
      lock.describe(signature)
      if (lasting || (await readFile(path, 'utf8').catch(absent)) === signature) return lockOn(path, lock)
    } catch (error) {
      if (lasting) return lockOn(path, lock)
      lock.release()
      throw error
    }
    // A holder retired the file between our opening and our locking it: what we locked has no name any more.
    lock.release()
  }
}

function lockOn(path: string, lock: { release(): void }): Lock {
  let held = true
  const release = () => {
    if (held) lock.release()
    held = false
  }
  return {
    release,
    async retire() {
      if (held) await rm(path, { force: true })
      release()
    },
  }
}

const Holder = z.object({ pid: z.int().positive(), since: z.string(), doing: z.string() })

async function lockedError(path: string): Promise<InstarError> {
  const holder = await readHolder(path)
  const who = holder === null ? 'another process' : `process ${holder.pid} (${holder.doing} since ${holder.since})`
  return new InstarError('RELEASE_LOCKED', `${path} is locked by ${who}`, { details: { path, ...holder } })
}

async function readHolder(path: string): Promise<z.infer<typeof Holder> | null> {
  try {
    return Holder.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch {
    return null // between locking and signing, or gone by now; the error says "another process"
  }
}
