// A session daemon that is stopped right after it has told its successor all, as a machine may stop any process for a while:
// the deadline passes, and what the successor answered is not heard before it.
import { runDaemon } from '../../../src/sessions/run-daemon.ts'
import { StateStream } from '../../../src/sessions/state-stream.ts'

const { send } = StateStream.prototype
StateStream.prototype.send = function (json, bytes) {
  const sent = send.call(this, json, bytes)
  if (['delta', 'numbers'].includes((json as { type: string }).type)) process.kill(process.pid, 'SIGSTOP')
  return sent
}
await runDaemon(process.argv.slice(2))
