import { once } from 'node:events'
import WebSocket from 'ws'
import { eventually } from '../sessions/eventually.ts'

/** A terminal as a page has it: that no byte is missing or comes twice is checked in all that follows. */
export class TerminalPage {
  text = ''
  readonly said: any[] = []
  /** Of the next byte. */
  offset = -1
  closed: { code: number; reason: string } | null = null

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) {
        this.text += data.toString('latin1')
        this.offset += data.length
      } else this.hear(JSON.parse(String(data)))
    })
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: String(reason) }
    })
    socket.on('error', () => {}) // a close follows
  }

  /** Rejects with the status of a refusal. */
  static async open(url: string, headers: Readonly<Record<string, string>>): Promise<TerminalPage> {
    const socket = new WebSocket(url, { headers })
    const page = new TerminalPage(socket)
    await new Promise<void>((resolve, reject) => {
      socket.once('open', () => resolve())
      socket.once('unexpected-response', (_, response) => {
        socket.terminate()
        reject(new Error(String(response.statusCode)))
      })
    })
    return page
  }

  tell(what: object): void {
    this.socket.send(JSON.stringify(what))
  }

  async says(text: string | RegExp): Promise<void> {
    const said = () => (typeof text === 'string' ? this.text.includes(text) : text.test(this.text))
    await eventually(said, `"${text}" in ${JSON.stringify(this.text.slice(-300))}`)
  }

  async ends(): Promise<{ code: number; reason: string }> {
    await eventually(() => this.closed !== null, 'its end')
    return this.closed!
  }

  async close(): Promise<void> {
    if (this.closed !== null) return
    this.socket.terminate()
    await once(this.socket, 'close')
  }

  private hear(what: any): void {
    this.said.push(what)
    if (what.attached) this.offset = what.attached.offset
    if (!what.gap) return
    if (what.gap.from !== this.offset) throw new Error(`a gap from ${what.gap.from}, where ${this.offset} was expected`)
    this.offset = what.gap.to
  }
}
