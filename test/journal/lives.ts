import { ok as assert } from 'node:assert'
import fc from 'fast-check'
import type { Disk } from '../../src/disk.ts'
import type { InstarError } from '../../src/errors.ts'
import { type Journal, openJournal } from '../../src/journal/index.ts'
import { SimulatedDisk, type SimulatedDiskOptions } from '../../src/testing/disk.ts'

/** What a process does before it ends: batches of so many records, or a snapshot while the next batch is under way. */
export type Step = number | 'snapshot'

export interface Life {
  readonly steps: readonly Step[]
  /** The disk fails at this operation of this life; beyond the last one: never. */
  readonly faultAt: number
  readonly fault: 'POWER' | 'EIO' | 'ENOSPC'
  /** How the life ends where no fault ended it. */
  readonly end: 'close' | 'kill' | 'power cut'
  readonly seed: number
}

export interface World {
  readonly lives: readonly Life[]
  readonly disk: SimulatedDiskOptions
  readonly padBytes: 0 | 512 | 4096
  readonly roomBytes: number
  readonly retainRecords: number
}

export const life: fc.Arbitrary<Life> = fc.record({
  steps: fc.array(fc.oneof({ arbitrary: fc.integer({ min: 1, max: 4 }), weight: 4 }, fc.constant<Step>('snapshot')), {
    maxLength: 12,
  }),
  faultAt: fc.integer({ min: 1, max: 120 }),
  fault: fc.constantFrom('POWER', 'POWER', 'EIO', 'ENOSPC'),
  end: fc.constantFrom('close', 'kill', 'power cut'),
  seed: fc.nat(),
})

export const world = ({ padBytes, disk }: Partial<Pick<World, 'padBytes' | 'disk'>> = {}): fc.Arbitrary<World> =>
  fc.record({
    lives: fc.array(life, { minLength: 1, maxLength: 8 }),
    disk: disk ? fc.constant(disk) : fc.record({ afterFailedFlush: fc.constantFrom('visible', 'reverted') }),
    padBytes: padBytes === undefined ? fc.constantFrom(0, 512) : fc.constant(padBytes),
    roomBytes: fc.constantFrom(0, 60, 1000),
    retainRecords: fc.constantFrom(0, 5, Number.POSITIVE_INFINITY),
  })

/** The state that a reader of the journal keeps: which records it has seen, in which order. */
interface State {
  readonly count: number
  readonly digest: number
}

const fold = (state: State, id: number): State => ({
  count: state.count + 1,
  digest: (Math.imul(state.digest, 31) + id) >>> 0,
})
const nothing: State = { count: 0, digest: 7 }

/** The process saw the disk fail and stopped, or the power went: nothing is broken by that. */
class Died extends Error {}

/**
 * Lives them all, on one disk, and throws where a promise is broken: every record that was acknowledged, or that an
 * opening has shown, is there in every later life, in its place; what was never acknowledged is there as a whole batch or
 * not at all; nothing else is; and a journal that only crashes have hurt always opens.
 *
 * Returns the number of records that were acknowledged.
 */
export async function live(world: World, mutate: (disk: SimulatedDisk) => Disk = (disk) => disk): Promise<number> {
  let disk = new SimulatedDisk(world.disk)
  let id = 0
  let acknowledged = 0
  /** The ids of the records that must be there, by seq - 1. */
  const believed: number[] = []
  let inFlight: number[] = []

  const check = async (journal: Journal) => {
    assert(journal.repaired === null || journal.repaired.bytes > 0)
    const extra = journal.lastSeq - believed.length
    assert(extra >= 0, `record ${journal.lastSeq + 1} is gone`)
    assert(extra === 0 || extra === inFlight.length, `${extra} of ${inFlight.length} unacknowledged records are there`)
    if (extra > 0) believed.push(...inFlight)
    inFlight = []

    let next = journal.firstSeq
    for await (const record of journal.read()) {
      assert(record.seq === next, `record ${record.seq} is read in place of ${next}`)
      assert(record.id === believed[next - 1], `record ${next} is another one than was acknowledged`)
      next += 1
    }
    assert(next === journal.lastSeq + 1, `record ${next} cannot be read`)

    const { seq, state } = journal.snapshot ?? { seq: 0, state: nothing }
    let folded = state as State
    for await (const record of journal.read({ from: seq + 1 })) folded = fold(folded, record.id as number)
    assert(JSON.stringify(folded) === JSON.stringify(believed.reduce(fold, nothing)), 'snapshot and tail differ')
  }

  const act = async (journal: Journal, steps: readonly Step[]) => {
    let saving: Promise<void> = Promise.resolve()
    for (const step of steps) {
      if (step === 'snapshot') {
        await saving
        // Not awaited: the next batch is appended meanwhile.
        if (believed.length > 0) saving = journal.saveSnapshot(believed.length, believed.reduce(fold, nothing))
        saving.catch(() => {})
        continue
      }
      inFlight = Array.from({ length: step }, () => ++id)
      await journal.append(inFlight.map((id) => ({ id })))
      believed.push(...inFlight)
      acknowledged += inFlight.length
      inFlight = []
    }
    await saving
  }

  const names = (current: SimulatedDisk) =>
    current.list('/home/journal').catch(() => {
      throw new Died()
    })

  const run = async ({ steps, end }: Life, current: SimulatedDisk) => {
    try {
      const journal = await openJournal({
        directory: '/home/journal',
        disk: mutate(current),
        segmentBytes: world.padBytes === 0 ? 200 : 2048,
        padBytes: world.padBytes,
        roomBytes: world.roomBytes,
        retainRecords: world.retainRecords,
        witnessEveryMs: 0,
      })
      for (const name of await names(current)) assert(!name.startsWith('.draft-'), `${name} is left`)
      await check(journal)
      await act(journal, steps)
      if (end === 'close') await journal.close()
    } catch (error) {
      if (error instanceof Died) throw error
      const { code } = error as InstarError
      if (code === 'JOURNAL_WRITE_FAILED' || code === 'DISK_FAILED' || code === 'DISK_FULL') throw new Died()
      throw error
    }
  }

  for (const each of [...world.lives, epilogue]) {
    disk.inject({ at: disk.operations + each.faultAt, code: each.fault })
    try {
      await Promise.race([run(each, disk), disk.end.then(() => Promise.reject(new Died()))])
    } catch (error) {
      if (!(error instanceof Died)) throw error
    }
    disk = each.end === 'power cut' || each.fault === 'POWER' ? disk.crash(each.seed) : disk.restart()
  }
  return acknowledged
}

/** The last life looks whether all is there, after a power cut that ends the one before. */
const epilogue: Life = { steps: [1], faultAt: Number.POSITIVE_INFINITY, fault: 'EIO', end: 'close', seed: 0 }
