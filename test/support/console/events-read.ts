import { type IncomingMessage, request } from 'node:http'
import { eventually } from '../sessions/eventually.ts'

export interface EventRead {
  readonly name: string
  readonly id: number | null
  readonly data: any
}

/** A page's events, as they come. */
export class EventsRead {
  readonly events: EventRead[] = []
  isOver = false
  private text = ''

  private constructor(readonly response: IncomingMessage) {
    response.setEncoding('utf8').on('data', (part: string) => this.take(part))
    response.on('close', () => {
      this.isOver = true
    })
    response.on('error', () => {}) // a close follows
  }

  /** Rejects with the status of a refusal. */
  static open(url: URL, headers: Readonly<Record<string, string>>): Promise<EventsRead> {
    return new Promise((resolve, reject) => {
      const asking = request(url, { agent: false, headers }, (response) => {
        if (response.statusCode === 200) resolve(new EventsRead(response))
        else {
          response.resume()
          reject(new Error(String(response.statusCode)))
        }
      })
      asking.on('error', reject)
      asking.end()
    })
  }

  named(name: string): EventRead[] {
    return this.events.filter((event) => event.name === name)
  }

  get records(): any[] {
    return this.named('record').map(({ data }) => data)
  }

  get lastId(): number | null {
    return this.events.findLast(({ id }) => id !== null)?.id ?? null
  }

  /** Resolves once record `seq` was told. */
  async reaches(seq: number): Promise<void> {
    await eventually(() => (this.lastId ?? 0) >= seq, `record ${seq}`)
  }

  close(): void {
    this.response.destroy()
  }

  private take(part: string): void {
    this.text += part
    const blocks = this.text.split('\n\n')
    this.text = blocks.pop()!
    for (const block of blocks) {
      const fields = new Map(
        block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      )
      const name = fields.get('event')
      if (name === undefined) continue // how soon to come again
      const id = fields.get('id')
      this.events.push({ name, id: id === undefined ? null : Number(id), data: JSON.parse(fields.get('data')!) })
    }
  }
}
