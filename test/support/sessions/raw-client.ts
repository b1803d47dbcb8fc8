import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import {
  ErrorBody,
  type Frame,
  FrameReader,
  frameTypes,
  jsonFrame,
  limits,
  numberedFrame,
  readJson,
  splitNumbered,
} from '../../../src/sessions/protocol.ts'

export const hello = jsonFrame(frameTypes.hello, { protocols: [1], client: 'raw', capabilities: [] })

/** A client that says what no well-behaved one would. */
export class RawClient implements Disposable {
  readonly frames: Frame[] = []
  readonly socket: Socket

  /** @param first What it begins with. */
  constructor(path: string, first: Buffer = hello) {
    this.socket = connect(path)
    this.socket.on('error', () => {}) // 'close' follows
    const reader = new FrameReader(limits.answerBytesMax)
    this.socket.on('data', (bytes) => {
      for (const { type, payload } of reader.push(bytes)) this.frames.push({ type, payload: Buffer.from(payload) })
    })
    this.socket.write(first)
  }

  /** The codes that requests were refused with, by their number; 0: the connection. */
  get refusals(): Record<number, string> {
    const errors = this.frames.filter(({ type }) => type === frameTypes.error)
    return Object.fromEntries(
      errors.map(({ payload }) => {
        const { number, body } = splitNumbered(payload)
        return [number, readJson(ErrorBody, body, 'an error').code]
      }),
    )
  }

  /** Resolves when the daemon has closed the connection. */
  async ended(): Promise<void> {
    if (!this.socket.closed) await once(this.socket, 'close')
  }

  /** Sends requests in one piece, numbered from `first`. */
  ask(first: number, ...requests: (readonly [method: string, params: object])[]): void {
    const frames = requests.map(([method, params], index) =>
      numberedFrame(frameTypes.request, first + index, { method, params }),
    )
    this.socket.write(Buffer.concat(frames))
  }

  /** The type of the answer to a request, once it is there. */
  async answer(number: number): Promise<number> {
    for (;;) {
      const answer = this.frames.find(
        ({ type, payload }) =>
          (type === frameTypes.result || type === frameTypes.error) && splitNumbered(payload).number === number,
      )
      if (answer !== undefined) return answer.type
      await once(this.socket, 'data')
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}
