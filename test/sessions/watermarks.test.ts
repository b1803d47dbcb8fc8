import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Watermarks } from '../../src/sessions/watermarks.ts'

let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'instar-watermarks-'))
  path = join(folder, 'offsets')
})
afterEach(() => rmSync(folder, { recursive: true }))

/** What a daemon finds that starts now. */
function found(): Map<number, { settled: number; reserved: number }> {
  const marks = Watermarks.open(path)
  const all = new Map(marks.all())
  marks.close()
  return all
}

test('what was set is found by the next daemon, though this one never closed the file', () => {
  const marks = Watermarks.open(path)
  marks.set(1, { settled: 0, reserved: 65_536 })
  marks.set(4_294_967_295, { settled: 2 ** 40, reserved: 2 ** 53 - 1 })
  expect(found()).toEqual(
    new Map([
      [1, { settled: 0, reserved: 65_536 }],
      [4_294_967_295, { settled: 2 ** 40, reserved: 2 ** 53 - 1 }],
    ]),
  )
  expect(statSync(path).mode & 0o777).toBe(0o600)
  marks.close()
  marks.close()
})

test('any row of changes is found as it was left, and the file grows with the sessions at one time alone', () => {
  const handle = fc.integer({ min: 1, max: 6 })
  const change = fc.oneof(
    fc.record({ handle, settled: fc.nat(), more: fc.nat() }),
    fc.record({ handle, remove: fc.constant(true) }),
    fc.constant('reopen' as const),
  )
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      rmSync(path, { force: true })
      let marks = Watermarks.open(path)
      const expected = new Map<number, { settled: number; reserved: number }>()
      for (const change of changes) {
        if (change === 'reopen') {
          marks.close()
          marks = Watermarks.open(path)
        } else if ('remove' in change) {
          marks.remove(change.handle)
          expected.delete(change.handle)
        } else {
          const mark = { settled: change.settled, reserved: change.settled + change.more }
          marks.set(change.handle, mark)
          expected.set(change.handle, mark)
        }
        expect(new Map(marks.all())).toEqual(expected)
        for (let each = 1; each <= 6; each += 1) expect(marks.get(each)).toEqual(expected.get(each))
      }
      expect(found()).toEqual(expected)
      expect(statSync(path).size).toBeLessThanOrEqual(7 * 32)
      marks.close()
    }),
    { numRuns: 100 },
  )
})

test('the place of a session that has ended is used again', () => {
  const marks = Watermarks.open(path)
  for (let handle = 1; handle <= 1000; handle += 1) {
    marks.set(handle, { settled: 0, reserved: handle })
    marks.remove(handle - 1)
  }
  expect(statSync(path).size).toBeLessThanOrEqual(3 * 32)
  marks.close()
})

test('a file that is none of these is begun anew', () => {
  for (const content of ['', 'watermarks 1', 'watermarks 2\n'.padEnd(64, '\0'), 'x'.repeat(500)]) {
    writeFileSync(path, content)
    expect(found()).toEqual(new Map())
    expect(readFileSync(path, 'latin1')).toBe('watermarks 1\n'.padEnd(32, '\0'))
  }
})

test('a file that was cut at any byte, or changed at any byte, holds nothing that was never set', () => {
  const set = new Map([
    [7, { settled: 100, reserved: 200 }],
    [8, { settled: 300, reserved: 400 }],
  ])
  const marks = Watermarks.open(path)
  for (const [handle, mark] of set) marks.set(handle, mark)
  marks.close()
  const whole = readFileSync(path)
  const check = (bytes: Buffer, atLeast: number) => {
    writeFileSync(path, bytes)
    const left = found()
    expect(left.size).toBeGreaterThanOrEqual(atLeast)
    for (const [handle, mark] of left) expect(mark).toEqual(set.get(handle))
    const reused = Watermarks.open(path)
    reused.set(9, { settled: 1, reserved: 2 })
    reused.close()
    expect(found()).toEqual(new Map([...left, [9, { settled: 1, reserved: 2 }]]))
  }
  for (let length = 0; length <= whole.length; length += 1)
    check(whole.subarray(0, length), Math.max(0, Math.floor(length / 32) - 1))
  for (let at = 0; at < whole.length; at += 1) {
    const changed = Buffer.from(whole)
    changed[at]! ^= 0x40
    check(changed, at < 32 ? 0 : 1)
  }
})

test('a slot with a right checksum and impossible numbers holds nothing', () => {
  const marks = Watermarks.open(path)
  marks.set(7, { settled: 200, reserved: 100 })
  marks.close()
  expect(found()).toEqual(new Map())
})
