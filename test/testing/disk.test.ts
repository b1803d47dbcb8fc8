import { describe, expect, test } from 'vitest'
import { makeDirectories, replaceFile } from '../../src/disk.ts'
import { SimulatedDisk } from '../../src/testing/disk.ts'

const text = async (disk: SimulatedDisk, path: string) =>
  (await disk.exists(path)) ? (await disk.read(path)).toString() : undefined

/** What `path` holds after a power cut, over many seeds. */
async function fatesOf(path: string, write: (disk: SimulatedDisk) => Promise<void>): Promise<Set<string | undefined>> {
  const fates = new Set<string | undefined>()
  for (let seed = 0; seed < 300; seed += 1) {
    const disk = new SimulatedDisk()
    await disk.makeDirectory('/home')
    await disk.flushDirectory('/')
    await write(disk)
    fates.add(await text(disk.crash(seed), path))
  }
  return fates
}

describe('a power cut on the simulated disk', () => {
  test('keeps what was flushed and named in a flushed directory', async () => {
    const fates = await fatesOf('/home/file', async (disk) => {
      await disk.write('/home/file', Buffer.from('whole'))
      await disk.flush('/home/file')
      await disk.flushDirectory('/home')
    })
    expect([...fates]).toEqual(['whole'])
  })

  test('may take the name of a flushed file whose directory was not flushed', async () => {
    const fates = await fatesOf('/home/file', async (disk) => {
      await disk.write('/home/file', Buffer.from('whole'))
      await disk.flush('/home/file')
    })
    expect([...fates].sort()).toEqual(['whole', undefined])
  })

  test('keeps, loses, shortens, empties or garbles what was not flushed', async () => {
    const fates = await fatesOf('/home/file', async (disk) => {
      await disk.write('/home/file', Buffer.from('unflushed'))
      await disk.flushDirectory('/home')
    })
    expect(fates).toContain('unflushed')
    expect(fates).toContain('')
    expect([...fates].some((fate) => fate !== '' && 'unflushed'.startsWith(fate!) && fate !== 'unflushed')).toBe(true)
    expect([...fates].some((fate) => fate!.includes('\0'))).toBe(true)
    expect(fates.size).toBeGreaterThan(50)
  })

  test('garbles flushed bytes only on a disk that was asked to', async () => {
    for (const garblesSharedSectors of [false, true]) {
      let garbled = false
      for (let seed = 0; seed < 300; seed += 1) {
        const disk = new SimulatedDisk({ garblesSharedSectors })
        const file = await disk.open('/file')
        await file.write(Buffer.from('acknowledged'), 0)
        await disk.flushDirectory('/')
        disk.inject({ at: disk.operations + 2, code: 'POWER' })
        await Promise.race([file.write(Buffer.from('in flight'), 12), disk.end])
        const bytes = await disk.crash(seed).read('/file')
        if (!bytes.toString('latin1').startsWith('acknowledged')) garbled = true
      }
      expect(garbled).toBe(garblesSharedSectors)
    }
  })

  test('finds the old content or the new after replaceFile, and the new once it has resolved', async () => {
    const old = async (disk: SimulatedDisk) => replaceFile('/home/file', Buffer.from('old'), disk)
    for (let at = 1; at <= 6; at += 1) {
      const fates = await fatesOf('/home/file', async (disk) => {
        await old(disk)
        disk.inject({ at: disk.operations + at, code: 'POWER' })
        await Promise.race([replaceFile('/home/file', Buffer.from('new'), disk), disk.end])
      })
      for (const fate of fates) expect(fate).toBeOneOf(at > 5 ? ['new'] : ['old', 'new'])
    }
  })

  test('takes no directory that makeDirectories has resolved for, wherever an earlier attempt was killed', async () => {
    for (let at = 1; at <= 12; at += 1) {
      for (let seed = 0; seed < 20; seed += 1) {
        const disk = new SimulatedDisk()
        disk.inject({ at, code: 'POWER' })
        await Promise.race([makeDirectories('/a/b/c', disk), disk.end])
        const next = disk.restart()
        await makeDirectories('/a/b/c', next)
        expect(await next.crash(seed).exists('/a/b/c')).toBe(true)
      }
    }
  })
})

describe('a fault on the simulated disk', () => {
  test('fails the operation it names, once, and a failed write leaves any part behind', async () => {
    const lengths = new Set<number>()
    for (let seed = 0; seed < 50; seed += 1) {
      const disk = new SimulatedDisk({ seed })
      disk.inject({ at: 2, code: 'ENOSPC' })
      await expect(disk.write('/file', Buffer.from('12345'))).rejects.toMatchObject({ code: 'ENOSPC' })
      lengths.add((await disk.read('/file')).length)
      await disk.write('/file', Buffer.from('12345'))
      expect(await text(disk, '/file')).toBe('12345')
    }
    expect([...lengths].sort()).toEqual([0, 1, 2, 3, 4, 5])
  })

  test.each([
    ['visible', 'lost'],
    ['reverted', ''],
  ] as const)(
    'in a flush loses the pages for good (%s), though the next flush succeeds',
    async (afterFailedFlush, shown) => {
      const disk = new SimulatedDisk({ afterFailedFlush })
      await disk.write('/file', Buffer.from('lost'))
      await disk.flushDirectory('/')
      disk.inject({ at: disk.operations + 1, code: 'EIO' })
      await expect(disk.flush('/file')).rejects.toMatchObject({ code: 'EIO' })
      expect(await text(disk, '/file')).toBe(shown)
      await disk.flush('/file')
      for (let seed = 0; seed < 20; seed += 1) expect(await text(disk.crash(seed), '/file')).toBe('')
    },
  )
})

describe('a restart of the process', () => {
  test('shows all that was written, flushed or not, and frees the locks', async () => {
    const disk = new SimulatedDisk()
    await disk.write('/file', Buffer.from('in the page cache'))
    expect(await disk.tryLock('/lock')).not.toBeNull()
    expect(await disk.tryLock('/lock')).toBeNull()
    const next = disk.restart()
    expect(await text(next, '/file')).toBe('in the page cache')
    expect(await next.tryLock('/lock')).not.toBeNull()
  })

  test('leaves the operations of the process that ended without an answer', async () => {
    const disk = new SimulatedDisk()
    const writing = disk.write('/file', Buffer.from('late')).then(() => 'written')
    const next = disk.restart()
    expect(await Promise.race([writing, disk.end.then(() => 'ended')])).toBe('ended')
    expect(await next.exists('/file')).toBe(false)
  })

  test('is the same for the same seed', async () => {
    const survivor = async (seed: number) => {
      const disk = new SimulatedDisk({ seed: 3 })
      await disk.write('/file', Buffer.alloc(3000, 'x'))
      await disk.flushDirectory('/')
      return disk.crash(seed).read('/file')
    }
    expect(await survivor(5)).toEqual(await survivor(5))
    expect(await survivor(5)).not.toEqual(await survivor(6))
  })
})
