import { Socket } from 'node:net'
import { setInterval } from 'node:timers'
import { descriptors } from '../../../src/sessions/handoff.ts'
import { snapshotFormats } from '../../../src/sessions/snapshot.ts'
import { StateStream } from '../../../src/sessions/state-stream.ts'

/**
 * A program that is no good as a successor, in the way that its first argument says. It speaks as one does until then:
 * `booted`, then `prepared` to the plan and to the draft; the acknowledgement of the delta is never given.
 */
export type Misbehaviour = keyof typeof misbehaviours

const misbehaviours = {
  'never says anything': wait,
  'ends at once': () => process.exit(3),
  'throws at once': () => {
    throw new Error('a defect of the successor')
  },
  'says what nobody understands': () => void state().write(Buffer.alloc(100_000, 0xff)),
  'reads another format': () => speak({ formats: [77] }, wait),
  'never is prepared': () => speak({}, wait),
  'says nak to the plan': () => speak({}, () => nak()),
  'ends while it prepares': () => speak({}, () => process.exit(4)),
  'closes its channel': () => speak({}, (stream) => stream.close()),
  'never acks': () => speak({}, prepared(wait)),
  'ends before the ack': () =>
    speak(
      {},
      prepared(() => process.exit(5)),
    ),
  'is killed before the ack': () =>
    speak(
      {},
      prepared(() => process.kill(process.pid, 'SIGKILL')),
    ),
  'throws before the ack': () =>
    speak(
      {},
      prepared(() => {
        throw new Error('a defect of the successor')
      }),
    ),
  'says nak to the draft': () => speak({}, draftRefused),
  'says nak to the delta': () =>
    speak(
      {},
      prepared(() => nak()),
    ),
  'closes its channel before the ack': () =>
    speak(
      {},
      prepared((stream) => stream.close()),
    ),
}

let opened: Socket | undefined
const state = () => {
  opened ??= new Socket({ fd: descriptors.state })
  return opened
}

/** Says `booted`, hears the plan, and goes on with `next`. */
async function speak({ formats = snapshotFormats }: { formats?: readonly number[] }, next: Step): Promise<void> {
  const stream = new StateStream(state())
  said = stream
  await stream.send({ type: 'booted', formats, version: '0.0.0', node: process.versions.node, pid: process.pid })
  await stream.next()
  await next(stream)
  wait()
}

type Step = (stream: StateStream) => unknown
let said: StateStream

const prepared =
  (next: Step): Step =>
  async (stream) => {
    // To the plan and to the draft; then comes the delta.
    for (let times = 0; times < 2; times += 1) {
      await stream.send({ type: 'prepared' })
      await stream.next()
    }
    await next(stream)
  }

const draftRefused: Step = async (stream) => {
  await stream.send({ type: 'prepared' })
  await stream.next()
  await nak()
}

const nak = () =>
  said.send({ type: 'nak', code: 'SNAPSHOT_INVALID', message: 'the successor does not like it', handles: [] })

/** Lives on until it is killed. */
function wait(): void {
  setInterval(() => {}, 1000)
}

// Connections come beside; each is answered, or the predecessor would wait for it.
process.on('message', ({ connection }: { connection?: number }) => process.send?.({ taken: connection }))
void misbehaviours[process.argv[2] as Misbehaviour]()
