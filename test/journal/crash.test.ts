import { basename, dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Disk, DiskFile } from '../../src/disk.ts'
import type { SimulatedDisk } from '../../src/testing/disk.ts'
import { live, type World, world } from './lives.ts'

/** How the first world in which `mutate` breaks a promise ends; undefined where it breaks none. */
async function brokenBy(
  worlds: fc.Arbitrary<World>,
  mutate: ((disk: SimulatedDisk) => Disk) | undefined,
  numRuns: number,
): Promise<string | undefined> {
  const details = await fc.check(
    fc.asyncProperty(worlds, async (each) => {
      await live(each, mutate)
    }),
    { numRuns, seed: 20, endOnFailure: true },
  )
  return details.failed ? (details.errorInstance as NodeJS.ErrnoException).code : undefined
}

/** A claim of `live` failed, or a journal that was only crashed upon did not open. */
const broken = /^(ERR_ASSERTION|JOURNAL_DAMAGED|JOURNAL_LOST_RECORDS)$/

test('through thousands of crashes and disk faults no acknowledged record is lost, none invented, and order is kept', async () => {
  let lives = 0
  let acknowledged = 0
  await fc.assert(
    fc.asyncProperty(world(), async (each) => {
      acknowledged += await live(each)
      lives += each.lives.length + 1
    }),
    { numRuns: 600 },
  )
  expect(lives).toBeGreaterThan(2000)
  expect(acknowledged).toBeGreaterThan(8000)
}, 180_000)

/** A disk that does all as `disk` does, except what is given. */
const altered = (disk: SimulatedDisk, changes: Partial<Disk>): Disk =>
  Object.assign(
    {
      open: (path) => disk.open(path),
      openForReading: (path) => disk.openForReading(path),
      read: (path) => disk.read(path),
      write: (path, bytes) => disk.write(path, bytes),
      flush: (path) => disk.flush(path),
      flushDirectory: (path) => disk.flushDirectory(path),
      rename: (from, to) => disk.rename(from, to),
      remove: (path) => disk.remove(path),
      makeDirectory: (path) => disk.makeDirectory(path),
      list: (path) => disk.list(path),
      exists: (path) => disk.exists(path),
      tryLock: (path) => disk.tryLock(path),
    } satisfies Disk,
    changes,
  )

const mutants: Record<string, (disk: SimulatedDisk) => Disk> = {
  'a commit that is acknowledged before it is flushed': (disk) =>
    altered(disk, {
      open: async (path) => {
        const file = await disk.open(path)
        const write: DiskFile['write'] = async (...given) => void file.write(...given).catch(() => {})
        return { ...file, write }
      },
    }),

  'a flush that failed and is tried again': (disk) =>
    altered(disk, {
      open: async (path) => {
        const file = await disk.open(path)
        const write: DiskFile['write'] = (...given) => file.write(...given).catch(() => file.flush())
        return { ...file, write }
      },
    }),

  'a new segment whose directory is not flushed': (disk) => {
    let renamed = ''
    return altered(disk, {
      rename: (from, to) => {
        renamed = to
        return disk.rename(from, to)
      },
      flushDirectory: async (path) => {
        if (!renamed.endsWith('.segment')) await disk.flushDirectory(path)
      },
    })
  },

  'a snapshot that is written in place': (disk) =>
    altered(disk, {
      rename: async (from, to) => {
        if (!to.endsWith('.snapshot')) return disk.rename(from, to)
        await disk.write(to, await disk.read(from))
        await disk.flush(to)
        await disk.remove(from)
      },
    }),

  'an old segment that is removed before the new state is durable': (disk) =>
    altered(disk, {
      rename: async (from, to) => {
        if (to.endsWith('.snapshot')) {
          const directory = dirname(to)
          const segments = (await disk.list(directory)).filter((name) => name.endsWith('.segment')).sort()
          const saved = basename(to, '.snapshot')
          for (const [at, name] of segments.entries()) {
            const next = segments[at + 1]
            if (next !== undefined && basename(next, '.segment') <= saved) await disk.remove(join(directory, name))
          }
          await disk.flushDirectory(directory)
        }
        await disk.rename(from, to)
      },
    }),

  'an opening that believes the page cache and only flushes it': (disk) =>
    altered(disk, {
      rename: async (from, to) => {
        const shown = await disk.read(to).catch(() => undefined)
        const same = shown?.equals(await disk.read(from))
        if (!to.endsWith('.segment') || !same) return disk.rename(from, to)
        await disk.flush(to)
        await disk.remove(from)
      },
    }),
}

describe('the search for broken promises finds', () => {
  test.each(Object.entries(mutants))('%s', async (_, mutate) => {
    expect(await brokenBy(world(), mutate, 2000)).toMatch(broken)
  })
})

describe('on a disk that garbles the sectors it was writing', () => {
  const disk = { garblesSharedSectors: true }

  test('an unpadded journal loses acknowledged records', async () => {
    expect(await brokenBy(world({ disk, padBytes: 0 }), undefined, 500)).toMatch(broken)
  })

  test('a padded one loses none', async () => {
    expect(await brokenBy(world({ disk, padBytes: 512 }), undefined, 300)).toBeUndefined()
  })
})
