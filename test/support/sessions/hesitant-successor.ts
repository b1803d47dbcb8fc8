// A session daemon that, as a successor, says that it has read the draft no sooner than a file has been removed that it makes
// beside its folder: what the tests do meanwhile happens between the draft and the freeze.
import { existsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runDaemon } from '../../../src/sessions/run-daemon.ts'
import { StateStream } from '../../../src/sessions/state-stream.ts'

export const hesitates = 'hesitates'

const args = process.argv.slice(2)
const file = join(dirname(args[args.indexOf('--directory') + 1]!), hesitates)
const { send } = StateStream.prototype
let prepared = 0
StateStream.prototype.send = async function (json, bytes) {
  if ((json as { type: string }).type === 'prepared') prepared += 1
  if (prepared === 2) {
    prepared += 1
    writeFileSync(file, '')
    while (existsSync(file)) await sleep(5)
  }
  return send.call(this, json, bytes)
}
await runDaemon(args)
