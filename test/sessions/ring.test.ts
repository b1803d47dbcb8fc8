import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Ring } from '../../src/sessions/ring.ts'

const blockBytes = 64 * 1024

/** What a program prints: byte n depends on n alone. */
function printed(from: number, to: number): Buffer {
  const bytes = Buffer.alloc(to - from)
  for (let at = from; at < to; at += 1) bytes[at - from] = (at * 31 + (at >>> 8) * 7 + (at >>> 16)) & 0xff
  return bytes
}

/** Everything from `from` on that can be read now. */
function readFrom(ring: Ring, from: number, maxBytes = 5000): Buffer {
  const pieces: Buffer[] = []
  for (let at = from; ; ) {
    const piece = ring.read(at, maxBytes)
    expect(piece.length).toBeLessThanOrEqual(maxBytes)
    if (piece.length === 0) return Buffer.concat(pieces)
    pieces.push(piece)
    at += piece.length
  }
}

const capacity = fc.integer({ min: 1, max: 300_000 })
const pieceBytes = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 90_000 }))

test('holds at least its capacity of the newest bytes, and less than a block more', () => {
  fc.assert(
    fc.property(capacity, fc.array(pieceBytes, { maxLength: 30 }), fc.nat(), (capacityBytes, pieces, pick) => {
      const ring = new Ring(capacityBytes)
      let end = 0
      for (const length of pieces) {
        ring.append(printed(end, end + length))
        end += length
        expect(ring.end).toBe(end)
        expect(end - ring.start).toBeGreaterThanOrEqual(Math.min(end, capacityBytes))
        expect(end - ring.start).toBeLessThan(capacityBytes + blockBytes)
      }
      const from = ring.start + (pick % (end - ring.start + 1))
      expect(readFrom(ring, from).equals(printed(from, end))).toBe(true)
      expect(Buffer.concat(ring.history()).equals(printed(ring.start, end))).toBe(true)
      expect(ring.hash).toEqual({ from: 0, crc32: crc32(printed(0, end)) })
    }),
    { numRuns: 60 },
  )
})

test('a ring that goes on for another has its offsets and its hash', () => {
  const before = randomBytes(1000)
  const after = randomBytes(70_000)
  const ring = new Ring(1_000_000, { offset: 5000, hash: { from: 4000, crc32: crc32(before) } })
  expect([ring.start, ring.end]).toEqual([5000, 5000])
  ring.append(after)
  expect([ring.start, ring.end]).toEqual([5000, 75_000])
  expect(ring.hash).toEqual({ from: 4000, crc32: crc32(Buffer.concat([before, after])) })
})

test('history that comes in pieces, while more is printed, is read as if it had always been there', () => {
  const plan = fc.record({
    capacityBytes: capacity,
    past: fc.integer({ min: 1, max: 200_000 }),
    // Pieces of history and of new output, in any order.
    steps: fc.array(fc.tuple(fc.boolean(), pieceBytes), { maxLength: 25 }),
  })
  fc.assert(
    fc.property(plan, ({ capacityBytes, past, steps }) => {
      const began = 1000 + past
      const ring = new Ring(capacityBytes, { offset: began, hash: { from: 0, crc32: crc32(printed(0, began)) } })
      ring.expectHistory(1000)
      let come = 1000
      let end = began
      const check = () => {
        expect(ring.end).toBe(end)
        const pending = ring.historyPending
        const read = readFrom(ring, ring.start)
        if (!pending) expect(read.equals(printed(ring.start, end))).toBe(true)
        else {
          expect(read.equals(printed(ring.start, come))).toBe(true)
          expect(readFrom(ring, began).equals(printed(began, end))).toBe(true)
          expect(() => ring.history()).toThrow(RangeError)
        }
        if (pending && come <= end - capacityBytes) expect(ring.start).toBe(come)
        else expect(end - ring.start).toBeLessThan(capacityBytes + blockBytes)
        expect(ring.start).toBeLessThanOrEqual(Math.max(1000, end - capacityBytes, pending ? come : 0))
      }
      check()
      for (const [isHistory, length] of [...steps, [true, began] as const]) {
        if (isHistory) {
          const next = Math.min(come + length, began)
          ring.prepend(printed(come, next))
          come = next
        } else {
          ring.append(printed(end, end + length))
          end += length
        }
        check()
      }
      expect(ring.historyPending).toBe(false)
      expect(end - ring.start).toBeGreaterThanOrEqual(Math.min(end - 1000, capacityBytes))
      expect(Buffer.concat(ring.history()).equals(printed(ring.start, end))).toBe(true)
      expect(ring.hash.crc32).toBe(crc32(printed(0, end)))
    }),
    { numRuns: 60 },
  )
})

test('history that does not come is gone, with what came of it', () => {
  const ring = new Ring(100_000, { offset: 500, hash: { from: 0, crc32: 0 } })
  ring.expectHistory(100)
  ring.append(printed(500, 600))
  ring.prepend(printed(100, 300))
  expect([ring.start, ring.historyPending]).toEqual([100, true])
  expect(readFrom(ring, 150).equals(printed(150, 300))).toBe(true)
  expect(ring.read(300, 10)).toHaveLength(0)
  expect(ring.read(499, 10)).toHaveLength(0)
  ring.historyFailed()
  expect([ring.start, ring.historyPending]).toEqual([500, false])
  expect(readFrom(ring, 500).equals(printed(500, 600))).toBe(true)
  ring.prepend(printed(300, 500)) // too late
  expect(ring.start).toBe(500)
})

test('history is not pending where there is none', () => {
  const ring = new Ring(1000, { offset: 500, hash: { from: 0, crc32: 0 } })
  ring.expectHistory(500)
  expect(ring.historyPending).toBe(false)
})

test('history beyond where the ring began is refused', () => {
  const ring = new Ring(1000, { offset: 500, hash: { from: 0, crc32: 0 } })
  expect(() => ring.expectHistory(501)).toThrow(RangeError)
  ring.expectHistory(400)
  expect(() => ring.prepend(Buffer.alloc(101))).toThrow(RangeError)
})

test('a view never changes, and bytes that were appended are the caller’s again', () => {
  const ring = new Ring(3 * blockBytes)
  const views: { view: Buffer; from: number }[] = []
  const scratch = Buffer.alloc(3001)
  for (let end = 0; end < 20 * blockBytes; end += scratch.length) {
    printed(end, end + scratch.length).copy(scratch)
    ring.append(scratch)
    views.push({ view: ring.read(end, scratch.length), from: end })
    scratch.fill(0xee)
  }
  for (const { view, from } of views) expect(view.equals(printed(from, from + view.length))).toBe(true)
})

test('a byte that is not there cannot be read', () => {
  const ring = new Ring(10)
  ring.append(printed(0, 5 * blockBytes))
  expect(() => ring.read(ring.start - 1, 1)).toThrow(RangeError)
  expect(() => ring.read(ring.end + 1, 1)).toThrow(RangeError)
  expect(ring.read(ring.end, 1)).toHaveLength(0)
})

test('what a program prints little takes little memory', () => {
  const rings = Array.from({ length: 1000 }, () => new Ring(4 * 1024 * 1024))
  const before = process.memoryUsage().arrayBuffers
  for (const ring of rings) ring.append(Buffer.from('$ '))
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1000 * 2048)
})
