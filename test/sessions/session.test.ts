import { expect, test } from 'vitest'
import { limits, type SessionInfo } from '../../src/sessions/protocol.ts'
import { Ring } from '../../src/sessions/ring.ts'
import { Session } from '../../src/sessions/session.ts'

const nothing = () => {}
const host = { printed: nothing, ended: nothing, inputDrained: nothing, resize: nothing }
const huge = Number.MAX_SAFE_INTEGER
const exit = { code: 255, signal: null, lost: false, offset: huge, hash: { from: huge, crc32: 0xffff_ffff }, at: huge }

function infoOf(command: string[], cwd: string): SessionInfo {
  const size = { columns: 10_000, rows: 10_000 }
  const identity = { id: 'x'.repeat(64), handle: 1, pid: 1, command, cwd, createdAt: huge, ptsName: '', size }
  return new Session(identity, host, { ring: new Ring(1), exit }).info
}

test('a command and a folder of usual length are told as they are', () => {
  const command = ['sh', '-c', 'echo "é" \u0001 👍', '']
  expect(infoOf(command, '/tmp/é')).toMatchObject({ command, cwd: '/tmp/é' })
})

test.each([
  ['x', 1],
  ['\u0001', 1],
  ['€', 1],
  ['\ud800', 1],
  ['', 1024],
  ['👍', 1024],
])('as many sessions as there can be fit into one list, whatever their commands are: %j', (letter, words) => {
  const info = infoOf(Array(words).fill(letter.repeat(4096)), letter.repeat(4096))
  const endedToo = 1000
  expect(Buffer.byteLength(JSON.stringify(info)) * (limits.sessionsMax + endedToo)).toBeLessThan(limits.answerBytesMax)
  if (letter !== '') expect(info.command.join('').length * info.cwd.length).toBeGreaterThan(1000)
})
