import { setImmediate } from 'node:timers/promises'
import { InstarError } from '../errors.ts'
import type { Replayed } from '../run/interpreter.ts'
import type { NewestRecords } from './newest-records.ts'
import { recordText } from './record-text.ts'

/** How many records a page is told that does not say which it wants. */
const recordsAtFirst = 200
const charactersAtOnce = 65_536

type History = (range: { readonly from: number }) => AsyncGenerator<Replayed, void, void>

/**
 * Where one page is in the journal: first in the past, which is replayed, then among the newest, which are shared by all
 * pages. Each record once, in order. One that falls behind the newest again is too slow, and an error.
 */
export class RecordReader {
  private next: number
  private past: ReturnType<History> | null = null
  private isInTime = false

  /** @param from Null for a few. */
  constructor(
    from: number | null,
    private readonly newest: NewestRecords,
    private readonly history: History,
  ) {
    const isThere = from !== null && from <= newest.lastSeq + 1
    this.next = isThere ? Math.max(1, from) : this.first
  }

  /** Some of what follows; empty where there is nothing more now. */
  async more(): Promise<string> {
    if (this.past !== null) return this.ofThePast(this.past)
    const found = this.newest.from(this.next)
    if (found !== null) this.next = found.next
    const isAtEnd = this.next > this.newest.lastSeq
    if (!isAtEnd && this.isInTime) throw new InstarError('ABORTED', 'a page was too slow')
    this.isInTime = isAtEnd
    if (isAtEnd) return found?.text ?? ''
    this.past = this.history({ from: this.next })
    return this.ofThePast(this.past)
  }

  async close(): Promise<void> {
    await this.past?.return()
  }

  private get first(): number {
    return Math.max(1, this.newest.lastSeq - recordsAtFirst + 1)
  }

  private async ofThePast(past: ReturnType<History>): Promise<string> {
    let text = ''
    try {
      while (text.length < charactersAtOnce) {
        const { done, value } = await past.next()
        if (done) {
          this.past = null
          break
        }
        text += recordText(value.record, value.state)
        this.next = value.record.seq + 1
      }
    } catch (error) {
      const isGone = error instanceof InstarError && error.code === 'JOURNAL_COMPACTED'
      if (!isGone || this.next >= this.first) throw error
      this.past = null
      this.next = this.first
    }
    if (text !== '') return text
    // What is durable is told in a moment, and must be let happen.
    await setImmediate()
    return this.more()
  }
}
