import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RecordReader } from './record-reader.ts'

/** A page that has not taken so much cannot be told everything; what it misses is in the records, or was only shown. */
const waitingMax = 500
const waitingLengthMax = 1_048_576
/** What happens within this time is told at once, so that a busy journal costs little. */
const togetherMs = 25
/** Where more than this is told, a pause would only make it last. */
const smallLength = 16_384

/** What one page is told. It takes it at its own pace: nothing but a few short texts waits for it here. */
export class EventStream {
  private status: string | null = null
  private readonly waiting: string[] = []
  private waitingLength = 0
  /** Ends what {@link run} waits for. */
  private news: () => void = () => {}
  private room: () => void = () => {}
  private hasNews = true
  private isOver = false

  /** @param records Null for one who is not told of any. */
  constructor(
    private readonly response: ServerResponse,
    private readonly records: RecordReader | null,
    private readonly takeMs: number,
  ) {
    response.on('close', () => this.end())
  }

  /** Resolves when it has ended: by the page, by {@link end}, or because the page took nothing for too long. */
  async run(): Promise<void> {
    try {
      while (!this.isOver) {
        this.hasNews = false
        const text = this.told() + ((await this.records?.more()) ?? '')
        if (text === '') await this.untilNews()
        else await this.write(text)
      }
      this.response.end()
    } catch (error) {
      // It comes again, and goes on where it was.
      this.response.destroy()
      throw error
    } finally {
      await this.records?.close()
    }
  }

  /** Takes the place of a status that is not told yet. */
  tellStatus(text: string): void {
    this.status = text
    this.wake()
  }

  tell(text: string): void {
    const { waiting } = this
    waiting.push(text)
    this.waitingLength += text.length
    while (waiting.length > waitingMax || this.waitingLength > waitingLengthMax)
      this.waitingLength -= waiting.shift()!.length
    this.wake()
  }

  /** There may be more to read. */
  wake(): void {
    this.hasNews = true
    this.news()
  }

  end(): void {
    this.isOver = true
    this.wake()
    this.room()
  }

  private told(): string {
    const text = (this.status ?? '') + this.waiting.join('')
    this.status = null
    this.waiting.length = 0
    this.waitingLength = 0
    return text
  }

  private async untilNews(): Promise<void> {
    if (this.hasNews) return
    await new Promise<void>((resolve) => {
      this.news = resolve
    })
  }

  private async write(text: string): Promise<void> {
    const { response } = this
    if (this.isOver) return
    if (response.write(text)) {
      if (text.length < smallLength) await sleep(togetherMs, undefined, { ref: false })
      return
    }
    const late = setTimeout(() => response.destroy(), this.takeMs)
    await new Promise<void>((resolve) => {
      this.room = resolve
      response.once('drain', resolve)
    })
    response.off('drain', this.room)
    clearTimeout(late)
  }
}
