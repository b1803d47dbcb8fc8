import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import {
  type Frame,
  FrameReader,
  frameTypes,
  jsonFrame,
  limits,
  numberedFrame,
  splitNumbered,
} from '../../../src/sessions/protocol.ts'

/** A client that says what no well-behaved one would. It has said hello. */
export class RawClient implements Disposable {
  readonly frames: Frame[] = []
  readonly socket: Socket

  constructor(path: string) {
    this.socket = connect(path)
    const reader = new FrameReader(limits.answerBytesMax)
    this.socket.on('data', (bytes) => {
      for (const { type, payload } of reader.push(bytes)) this.frames.push({ type, payload: Buffer.from(payload) })
    })
    this.socket.write(jsonFrame(frameTypes.hello, { protocols: [1], client: 'raw', capabilities: [] }))
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
