import type { Chunk, Session } from './client.ts'
import type { Gap } from './protocol.ts'

/** What a session printed up to some moment. */
export interface History {
  /** Of the first byte; more than was asked for where the first are gone. */
  readonly from: number
  readonly to: number
  readonly pieces: readonly Uint8Array[]
  readonly gaps: readonly Gap[]
  /** What came with it but was printed later. */
  readonly rest: Uint8Array
}

const nothing = new Uint8Array()

/**
 * Takes from `parts`, the output of a session from `from` on, what was printed before `until`, and leaves the later ones
 * to be taken. Where bytes are gone, what was before them is not part of it.
 */
export async function takeHistory(
  parts: AsyncIterator<Chunk | Gap>,
  { from, until }: { readonly from: number; readonly until: number },
): Promise<History> {
  let pieces: Uint8Array[] = []
  const gaps: Gap[] = []
  let begin = from
  let at = from
  let rest: Uint8Array = nothing
  while (at < until) {
    const { done, value } = await parts.next()
    if (done) break
    if ('bytes' in value) {
      const within = Math.max(0, until - value.offset)
      pieces.push(value.bytes.subarray(0, within))
      rest = value.bytes.subarray(within)
      at = value.offset + value.bytes.length
    } else {
      gaps.push(value)
      pieces = []
      begin = value.to
      at = value.to
    }
  }
  return { from: begin, to: Math.min(at, Math.max(begin, until)), pieces, gaps, rest }
}

/** What a session has printed so far, from `from` on. */
export async function historyOf(session: Session, from = session.info.start): Promise<History> {
  const parts = session.output({ from })[Symbol.asyncIterator]()
  try {
    return await takeHistory(parts, { from, until: session.info.offset })
  } finally {
    await parts.return?.()
  }
}
