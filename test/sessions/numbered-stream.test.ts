import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { NumberedCheck, numbered, offsetIn } from '../support/sessions/numbered-stream.ts'
import { TerminalProgram } from '../support/sessions/terminal-program.ts'

// What looks for lost bytes must find them; else it proves nothing.

const length = 10_000

test('the stream that a program prints is the one that is compared with', async () => {
  await using programs = await TerminalProgram.build()
  const [file, ...args] = programs.stream({ bytes: 300_001 })
  const printed = execFileSync(file!, args, { maxBuffer: 1e6 })
  expect(printed.equals(numbered(0, 300_001))).toBe(true)
  expect(printed.subarray(123_456, 123_460).equals(numbered(123_456, 4))).toBe(true)
})

test('it is taken in pieces of any size, from any offset', () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 9_000 }), { minLength: 1, maxLength: 20 })
  fc.assert(
    fc.property(fc.nat(2 ** 40), cuts, (from, pieces) => {
      const check = new NumberedCheck(from)
      for (const size of pieces) check.take(numbered(check.offset, size))
      expect(check.offset).toBe(from + pieces.reduce((sum, size) => sum + size, 0))
    }),
  )
})

test('a byte that is lost, doubled, changed or moved is found', () => {
  const stream = numbered(0, length)
  const damages: Record<string, (at: number, size: number) => Buffer> = {
    lost: (at, size) => Buffer.concat([stream.subarray(0, at), stream.subarray(at + size)]),
    doubled: (at, size) => Buffer.concat([stream.subarray(0, at + size), stream.subarray(at)]),
    changed: (at) => Buffer.concat([stream.subarray(0, at), Buffer.from('?'), stream.subarray(at + 1)]),
    moved: (at, size) =>
      Buffer.concat([
        stream.subarray(0, at),
        stream.subarray(at + size, at + 2 * size),
        stream.subarray(at, at + size),
        stream.subarray(at + 2 * size),
      ]),
  }
  const anywhere = fc.integer({ min: 0, max: length / 2 })
  for (const [name, damage] of Object.entries(damages))
    fc.assert(
      // As large as a line, so that what is moved differs.
      fc.property(anywhere, fc.integer({ min: 16, max: 500 }), (at, size) => {
        expect(() => new NumberedCheck().take(damage(at, size)), name).toThrow(/differs/)
      }),
    )
})

test('where it goes on after a gap is read from it', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 40), (from) => {
      expect(offsetIn(numbered(from, 48))).toBe(from)
    }),
  )
  expect(offsetIn(numbered(5, 15))).toBeNull()
})
