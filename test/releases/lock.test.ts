import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Disk, realDisk } from '../../src/disk.ts'
import { acquire, tryAcquire } from '../../src/releases/lock.ts'
import { kill, saysHeld, start } from './children.ts'
import { newHome, openStore, publish } from './home.ts'

test('scenario runtime 9: one procedure per name runs at a time, and names do not wait for each other', async () => {
  const home = await newHome()
  const [one, other] = [await openStore(home), await openStore(home)]
  let running = 0
  let most = 0
  const work = async () => {
    running += 1
    most = Math.max(most, running)
    await new Promise((resolve) => setTimeout(resolve, 5))
    running -= 1
  }
  await Promise.all(Array.from({ length: 10 }, (_, at) => (at % 2 ? one : other).withLock('kanban', work)))
  expect(most).toBe(1)
  await one.withLock('kanban', () => other.withLock('another', async () => {}, { waitMs: 0 }))
})

test('a procedure may use every other method while it holds the lock', async () => {
  const store = await openStore(await newHome())
  await store.withLock('kanban', async () => store.activate('kanban', await publish(store, 'kanban', '1.0.0')))
  expect((await store.pointer('kanban')).current).toMatchObject({ version: '1.0.0' })
})

test('who waits too long learns who holds the lock; a killed holder’s lock is free at once', async () => {
  const home = await newHome()
  const holder = start('hold-lock', [home, 'kanban'])
  await saysHeld(holder)
  const store = await openStore(home)
  await expect(store.withLock('kanban', async () => {}, { waitMs: 30 })).rejects.toMatchObject({
    code: 'RELEASE_LOCKED',
    details: { pid: holder.pid, doing: 'fetching', since: expect.any(String) },
  })
  await kill(holder)
  expect(await store.withLock('kanban', async () => 'free', { waitMs: 0 })).toBe('free')
})

test('waiting ends when it is aborted', async () => {
  const store = await openStore(await newHome())
  const abort = new AbortController()
  await store.withLock('kanban', async () => {
    const waiting = store.withLock('kanban', async () => {}, { signal: abort.signal })
    setTimeout(() => abort.abort(new Error('enough')), 10)
    await expect(waiting).rejects.toThrow('enough')
  })
})

test('work that fails gives the lock back', async () => {
  const store = await openStore(await newHome())
  await expect(store.withLock('kanban', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await store.withLock('kanban', async () => 'free', { waitMs: 0 })).toBe('free')
})

test('a lock on a file that its last holder retired is never held by two', async () => {
  const path = join(await newHome(), 'lock')
  const options = { disk: realDisk, waitMs: 20_000, doing: 'testing', lasting: false }
  let holders = 0
  const contend = async () => {
    for (let round = 0; round < 15; round += 1) {
      const lock = await acquire(path, options)
      holders += 1
      expect(holders).toBe(1)
      await new Promise((resolve) => setImmediate(resolve))
      holders -= 1
      await lock.retire()
    }
  }
  await Promise.all(Array.from({ length: 4 }, contend))
})

test('a file that was removed between being opened and being locked is not taken for the lock', async () => {
  const path = join(await newHome(), 'lock')
  let attempts = 0
  const disk: Disk = {
    ...realDisk,
    async tryLock(path) {
      const lock = await realDisk.tryLock(path)
      attempts += 1
      if (attempts === 1) await rm(path)
      return lock
    },
  }
  const lock = await tryAcquire(path, { disk, doing: 'testing', lasting: false })
  expect(attempts).toBe(2)
  expect(await tryAcquire(path, { disk: realDisk, doing: 'testing', lasting: false })).toBeNull()
  await lock!.retire()
})

test('a lasting lock is to be had on a full disk, though it cannot be signed', async () => {
  const full = () => {
    throw Object.assign(new Error('full'), { code: 'ENOSPC' })
  }
  const disk = {
    ...realDisk,
    tryLock: async (path: string) => {
      const lock = await realDisk.tryLock(path)
      return lock && { describe: full, release: () => lock.release() }
    },
  }
  const path = join(await newHome(), 'lock')
  await expect(tryAcquire(path, { disk, doing: 'testing', lasting: false })).rejects.toMatchObject({ code: 'ENOSPC' })
  const lock = await tryAcquire(path, { disk, doing: 'testing', lasting: true })
  expect(lock).not.toBeNull()
  expect(await tryAcquire(path, { disk, doing: 'testing', lasting: true })).toBeNull()
  lock!.release()
})
