import { InstarError } from '../errors.ts'
import type { Delta } from './snapshot.ts'

/*
 * Bytes stand still for as long as it takes to say what the successor has to know. So most of it is said before: the delta as
 * it is a moment earlier, the *draft*. What has changed by the time of the freeze are a few numbers a session, as a rule, and
 * then nothing else is said; where anything else has changed, the whole delta is.
 */

/** The numbers of a delta that change while bytes flow, in the order in which they stand in it. */
export function numbersOf({ sessions, connections }: Delta): number[] {
  const numbers: number[] = []
  for (const { offset, hash, historyStart } of sessions) numbers.push(offset, hash.crc32, historyStart)
  for (const { received, unsent, attachments } of connections) {
    numbers.push(received.at, received.length, unsent.at, unsent.length)
    for (const { cursor } of attachments) numbers.push(cursor)
  }
  return numbers
}

/** Whether the numbers are all that a delta has not in common with its draft. Both are made by one process, of one state. */
export function differInNumbersAlone(draft: Delta, delta: Delta): boolean {
  return (
    draft.nextHandle === delta.nextHandle &&
    eachLike(draft.gone, delta.gone, isSame) &&
    eachLike(
      draft.ended,
      delta.ended,
      (one, other) => one.exit === other.exit && one.historyStart === other.historyStart,
    ) &&
    eachLike(draft.sessions, delta.sessions, isSessionLike) &&
    eachLike(draft.connections, delta.connections, isConnectionLike)
  )
}

type SessionDelta = Delta['sessions'][number]
type ConnectionDelta = Delta['connections'][number]

// What is no number is looked at by its identity: whatever changes one of these puts another in its place.
const isSame = (one: unknown, other: unknown) => one === other
const isSessionLike = (one: SessionDelta, other: SessionDelta) =>
  one.handle === other.handle &&
  one.hash.from === other.hash.from &&
  one.size === other.size &&
  one.doubt === other.doubt &&
  one.status === other.status &&
  one.input.length === 0 &&
  other.input.length === 0
const isConnectionLike = (one: ConnectionDelta, other: ConnectionDelta) =>
  one.number === other.number &&
  one.client === other.client &&
  eachLike(one.pending, other.pending, isSame) &&
  eachLike(one.attachments, other.attachments, (before, after) => before.handle === after.handle)

function eachLike<Item>(some: readonly Item[], others: readonly Item[], isLike: (one: Item, other: Item) => boolean) {
  return some.length === others.length && some.every((one, at) => isLike(one, others[at]!))
}

/** The delta that a draft becomes by these numbers. @throws {InstarError} `SNAPSHOT_INVALID` where they are those of another. */
export function withNumbers(draft: Delta, frozenAtMs: number, numbers: readonly number[]): Delta {
  let at = 0
  const next = () => {
    at += 1
    return numbers[at - 1] ?? Number.NaN
  }
  const slice = () => ({ at: next(), length: next() })
  const sessions = draft.sessions.map((session) => {
    const [offset, crc32, historyStart] = [next(), next(), next()]
    return { ...session, offset, hash: { from: session.hash.from, crc32 }, historyStart, input: nothing }
  })
  const connections = draft.connections.map((connection) => ({
    ...connection,
    received: slice(),
    unsent: slice(),
    attachments: connection.attachments.map(({ handle }) => ({ handle, cursor: next() })),
  }))
  if (at !== numbers.length || sessions.some(({ hash }) => hash.crc32 > 0xffff_ffff))
    throw new InstarError(
      'SNAPSHOT_INVALID',
      `${numbers.length} numbers came that are not those of the ${at} in the draft`,
    )
  return { ...draft, frozenAtMs, sessions, connections }
}

const nothing = { at: 0, length: 0 }
