// A process of its own for the home of a million records: it fills it, or opens it, and then ends as a crash would, so that
// every opening finds the same.
//
//   node home.mjs fill HOME RECORDS      node home.mjs open HOME      prints the milliseconds that the opening took
import { writeSync } from 'node:fs'
import { parseConfig } from '../dist/src/config.js'
import { openController } from '../dist/src/index.js'
import { timed } from './measure.mjs'

const [verb, home, records] = process.argv.slice(2)
let controller
const ms = await timed(async () => {
  controller = await openController({ home, config: parseConfig({}, home), schedule: false })
})
if (verb === 'open') writeSync(1, `${ms}\n`)
else {
  // Refusals: runs of a real machine that nothing has to be made ready for.
  let left = Number(records) - controller.journal.lastSeq
  const asker = async () => {
    while (left-- > 0) await controller.access.authorise('none', { action: 'upgrade' }).catch(() => {})
  }
  await Promise.all(Array.from({ length: 1024 }, asker))
}
process.kill(process.pid, 'SIGKILL')
