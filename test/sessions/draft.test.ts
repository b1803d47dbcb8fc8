import { describe, expect, test } from 'vitest'
import { differInNumbersAlone, numbersOf, withNumbers } from '../../src/sessions/draft.ts'
import type { Delta } from '../../src/sessions/snapshot.ts'

const size = { columns: 80, rows: 24 }
const nothing = { at: 0, length: 0 }
const pending = { request: 3, method: 'wait', params: {} }
const exit = { code: 0, signal: null, lost: false, offset: 9, hash: { from: 0, crc32: 1 }, at: 1 }
const identity = { id: 'x', handle: 4, pid: 1, command: [], cwd: '/', createdAt: 0, ptsName: '', size }

const session = (handle: number, offset: number): Delta['sessions'][number] => ({
  handle,
  offset,
  hash: { from: 5, crc32: offset * 3 },
  size,
  historyStart: 5,
  doubt: null,
  input: nothing,
  status: null,
})
const draft: Delta = {
  type: 'delta',
  frozenAtMs: 0,
  nextHandle: 9,
  predecessor: 100,
  sessions: [session(1, 10), session(2, 20)],
  gone: [3],
  ended: [{ identity, exit, historyStart: 0 }],
  connections: [
    {
      number: 1,
      client: 'a',
      received: nothing,
      unsent: { at: 0, length: 7 },
      attachments: [
        { handle: 1, cursor: 9 },
        { handle: 2, cursor: 20 },
      ],
      pending: [pending],
    },
    { number: 2, client: null, received: nothing, unsent: nothing, attachments: [], pending: [] },
  ],
}
const [first, second] = draft.sessions as [Delta['sessions'][number], Delta['sessions'][number]]
const [typist, stranger] = draft.connections as [Delta['connections'][number], Delta['connections'][number]]

/** All that flows has flowed on. */
const later: Delta = {
  ...draft,
  frozenAtMs: 4.5,
  sessions: [
    { ...first, offset: 4_000_000_000_000, hash: { from: 5, crc32: 0xffff_ffff } },
    { ...second, historyStart: 6 },
  ],
  connections: [
    {
      ...typist,
      received: { at: 0, length: 2 },
      unsent: { at: 2, length: 1 },
      attachments: [
        { handle: 1, cursor: 3_999_999_999_999 },
        { handle: 2, cursor: 20 },
      ],
    },
    { ...stranger, received: { at: 3, length: 4 } },
  ],
}

test('a draft becomes the delta by its numbers, however far it has flowed on', () => {
  expect(differInNumbersAlone(draft, later)).toBe(true)
  expect(withNumbers(draft, 4.5, JSON.parse(JSON.stringify(numbersOf(later))))).toEqual(later)
})

describe('the whole delta is said where more than numbers has changed', () => {
  const of = (changes: Partial<Delta>): Delta => ({ ...draft, ...changes })
  const sessions = (changes: object) => of({ sessions: [first, { ...second, ...changes } as typeof second] })
  const connections = (changes: object) => of({ connections: [typist, { ...stranger, ...changes } as typeof stranger] })
  test.each([
    ['a session was opened meanwhile', of({ nextHandle: 10 })],
    ['a program has ended', of({ sessions: [first] })],
    ['one was reported', of({ gone: [3, 2] })],
    ['another was', of({ gone: [2] })],
    ['one that had ended was forgotten', of({ ended: [] })],
    ['and another ended', of({ ended: [{ identity, exit: { ...exit }, historyStart: 0 }] })],
    ['what it had printed was dropped', of({ ended: [{ identity, exit, historyStart: 1 }] })],
    ['another session', sessions({ handle: 7 })],
    ['its size', sessions({ size: { columns: 81, rows: 24 } })],
    ['what is in doubt', sessions({ doubt: { known: 1, to: 2 } })],
    ['how it ended', sessions({ status: { code: 1, signal: null } })],
    ['where its hash begins', sessions({ hash: { from: 0, crc32: 1 } })],
    ['input that was not taken', sessions({ input: { at: 0, length: 1 } })],
    ['a client has left', of({ connections: [typist] })],
    ['another came', connections({ number: 3 })],
    ['it has said its name', connections({ client: 'b' })],
    ['it follows a session', connections({ attachments: [{ handle: 1, cursor: 0 }] })],
    [
      'another follows another',
      of({ connections: [{ ...typist, attachments: [...typist.attachments].reverse() }, stranger] }),
    ],
    ['it has asked for something', connections({ pending: [pending] })],
    ['another was answered', of({ connections: [{ ...typist, pending: [] }, stranger] })],
  ])('%s', (_, delta) => {
    expect(differInNumbersAlone(draft, delta)).toBe(false)
  })

  test('input that was not taken before', () => {
    const before = of({ sessions: [first, { ...second, input: { at: 0, length: 1 } }] })
    expect(differInNumbersAlone(before, draft)).toBe(false)
  })
})

test.each([
  ['too few', numbersOf(draft).slice(1)],
  ['too many', [...numbersOf(draft), 0]],
  ['none', []],
  ['a CRC-32 that is none', numbersOf(draft).with(1, 2 ** 32)],
])('%s: refused', (_, numbers) => {
  expect(() => withNumbers(draft, 1, numbers)).toThrow(expect.objectContaining({ code: 'SNAPSHOT_INVALID' }))
})
