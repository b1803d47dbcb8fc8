import { InstarError } from '../errors.ts'

interface Remembered {
  readonly about: string
  readonly answer: Promise<string>
  isUnderWay: boolean
}

/** Answered requests are remembered this many at a time: a page that asks again does so soon. */
const answeredMax = 64
/** A longer answer is not kept for somebody who may never ask again. */
const keptLengthMax = 65_536

/** Does what is asked for under one id once, however often it is asked for. */
export class RequestsOnce {
  private readonly underWay = new Set<Promise<string>>()
  /** By id, the oldest first. */
  private readonly remembered = new Map<string, Remembered>()

  /** @param underWayMax How much may be done at a time. */
  constructor(private readonly underWayMax: number) {}

  /**
   * @param id Null for what is done each time.
   * @param about What is asked for; the same under one id.
   * @throws {InstarError} `CONTROLLER_BUSY`; `PARAMETERS_INVALID` for an id that was something else's; what `work` throws.
   */
  once(id: string | null, about: string, work: () => Promise<string>): Promise<string> {
    const known = id === null ? undefined : this.remembered.get(id)
    if (known === undefined) return this.begin(id, about, work)
    if (known.about === about) return known.answer
    throw new InstarError('PARAMETERS_INVALID', 'this X-Request-Id was that of another request')
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.underWay)
  }

  private begin(id: string | null, about: string, work: () => Promise<string>): Promise<string> {
    if (this.underWay.size >= this.underWayMax)
      throw new InstarError('CONTROLLER_BUSY', `${this.underWayMax} things are being done already`)
    const answer = work()
    this.underWay.add(answer)
    const entry = { about, answer, isUnderWay: true }
    if (id !== null) this.remembered.set(id, entry)
    const over = (length: number) => {
      this.underWay.delete(answer)
      entry.isUnderWay = false
      if (id !== null && length > keptLengthMax) this.remembered.delete(id)
      this.forget()
    }
    answer.then(
      ({ length }) => over(length),
      () => over(0),
    )
    return answer
  }

  private forget(): void {
    const answered = [...this.remembered].filter(([, { isUnderWay }]) => !isUnderWay)
    for (const [id] of answered.slice(0, -answeredMax)) this.remembered.delete(id)
  }
}
