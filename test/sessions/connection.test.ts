import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Connection } from '../../src/sessions/connection.ts'
import { FrameReader, frameTypes, splitOutput } from '../../src/sessions/protocol.ts'
import { Ring } from '../../src/sessions/ring.ts'
import type { Session } from '../../src/sessions/session.ts'
import { eventually } from '../support/sessions/eventually.ts'

const fullRead = 4095
/** The first blocks of a ring are small, and a frame never holds more than the rest of one. */
const smallBlocksBytes = 127 * 1024

/** A daemon's connection that looks at a session, and how many bytes are in each output frame that its client gets. */
async function attached() {
  const folder = await mkdtemp(join(tmpdir(), 'instar-connection-'))
  const ring = new Ring(1024 * 1024)
  ring.append(Buffer.alloc(smallBlocksBytes))
  const server = createServer()
  server.listen(join(folder, 'socket'))
  await once(server, 'listening')
  const client = connect(server.address() as string)
  const [socket] = (await once(server, 'connection')) as [Socket]
  const connection = new Connection(1, socket, { frame() {}, closed() {} })
  const session = { handle: 1, ring, exit: null, attachments: new Set(), gapBefore: () => null, regulate() {} }
  connection.attach(session as unknown as Session, ring.end)
  const frames: number[] = []
  const reader = new FrameReader()
  client.on('data', (bytes) => {
    for (const { type, payload } of reader.push(bytes))
      if (type === frameTypes.output) frames.push(splitOutput(payload).bytes.length)
  })
  return {
    frames,
    print(bytes: number, moreFollows: boolean) {
      ring.append(Buffer.alloc(bytes, 'x'))
      connection.wake(connection.attachments.get(1)!, moreFollows)
    },
    async [Symbol.asyncDispose]() {
      client.destroy()
      socket.destroy()
      await new Promise((resolve) => server.close(resolve))
      await rm(folder, { recursive: true })
    },
  }
}

test('what is printed without a pause goes out in one frame as soon as there is a pause, or enough', async () => {
  await using trial = await attached()
  for (let count = 0; count < 3; count += 1) trial.print(fullRead, true)
  trial.print(10, false)
  trial.print(1, false)
  for (let count = 0; count < 9; count += 1) trial.print(fullRead, true)
  trial.print(1, false)
  await eventually(() => trial.frames.length === 4)
  expect(trial.frames).toEqual([3 * fullRead + 10, 1, 9 * fullRead, 1])
})

test('what a program printed last goes out, whatever it seemed to be going to print', async () => {
  await using trial = await attached()
  trial.print(fullRead, true)
  await eventually(() => trial.frames.length === 1)
  expect(trial.frames).toEqual([fullRead])
})
