import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  AttachmentDelta,
  Delta,
  isUsualAttachment,
  isUsualSession,
  readState,
  SessionDelta,
} from '../../src/sessions/snapshot.ts'

const session = {
  handle: 7,
  offset: 5_000_000_000,
  hash: { from: 0, crc32: 0xffff_ffff },
  size: { columns: 80, rows: 24 },
  historyStart: 4_999_000_000,
  doubt: null,
  input: { at: 0, length: 12 },
  status: null,
}
const attachment = { handle: 7, cursor: 5_000_000_000 }

const odd = fc.oneof(
  fc.constantFrom(-1, 0, 1.5, 10_001, 2 ** 32, 2 ** 53, Number.NaN, '1', null, undefined, true, [], {}),
  fc.record({ from: fc.nat(), crc32: fc.nat() }),
  fc.record({ columns: fc.nat(), rows: fc.nat(), more: fc.nat() }),
)

/** The value with one thing in it replaced, taken out, or added. */
const changed = (value: object): fc.Arbitrary<unknown> => {
  const names = Object.keys(value)
  const within = names.filter((name) => isObject(value[name as never]))
  return fc.oneof(
    fc.tuple(fc.constantFrom(...names), odd).map(([name, other]) => ({ ...value, [name]: other })),
    fc
      .constantFrom(...names)
      .map((gone) => Object.fromEntries(Object.entries(value).filter(([name]) => name !== gone))),
    odd.map((other) => ({ ...value, more: other })),
    ...(within.length === 0
      ? []
      : [
          fc
            .constantFrom(...within)
            .chain((name) => changed(value[name as never]).map((other) => ({ ...value, [name]: other }))),
        ]),
  )
}
const isObject = (value: unknown) => typeof value === 'object' && value !== null

// Seen caught: a field of which nothing is asked, and a count of fields that is not looked at (`snapshot.ts`).
describe('what a predecessor says in the freeze', () => {
  test('goes through no schema where it is as usual', () => {
    expect(isUsualSession(session)).toBe(true)
    expect(isUsualAttachment(attachment)).toBe(true)
  })

  test('is never believed where the schema does not', () => {
    let refused = 0
    const compare = (value: unknown, isUsual: boolean, isRight: boolean) => {
      if (!isRight) refused += 1
      expect(isUsual && !isRight, JSON.stringify(value)).toBe(false)
    }
    fc.assert(
      fc.property(changed(session), (value) =>
        compare(value, isUsualSession(value), SessionDelta.safeParse(value).success),
      ),
      { numRuns: 3000 },
    )
    fc.assert(
      fc.property(changed(attachment), (value) =>
        compare(value, isUsualAttachment(value), AttachmentDelta.safeParse(value).success),
      ),
      { numRuns: 500 },
    )
    expect(refused).toBeGreaterThan(1000)
  })

  test('is taken also where it is not as usual, and refused with the place of the fault', () => {
    const delta = (...sessions: unknown[]) => ({
      type: 'delta',
      frozenAtMs: 1.5,
      nextHandle: 9,
      predecessor: 100,
      sessions,
      gone: [],
      ended: [],
      connections: [],
    })
    const unusual = { ...session, doubt: { known: 1, to: 2 }, status: { code: null, signal: 'SIGHUP' } }
    expect(readState(Delta, delta(session, unusual), 'the delta').sessions).toEqual([session, unusual])
    const wrong = { ...session, hash: { from: 0, crc32: -1 } }
    expect(() => readState(Delta, delta(session, wrong), 'the delta')).toThrow(/sessions\[1\]\.hash\.crc32/)
  })
})
