// A controller with its console, in a process of its own, so that what it costs can be told from what the bench costs.
import { parseConfig } from '../dist/src/config.js'
import { openController } from '../dist/src/controller.js'
import { HttpServer } from '../dist/src/http/server.js'

const [home] = process.argv.slice(2)
const http = await HttpServer.listen({ port: 0 })
const controller = await openController({ home, config: parseConfig({}, home), schedule: false })
await http.serve(controller)

/** Whole milliseconds are too coarse for what is measured here. */
const now = () => performance.timeOrigin + performance.now()

const commands = {
  /** Writes records one at a time, and says of each when it was durable. */
  async write({ count, everyMs }) {
    const written = []
    const start = performance.now()
    for (let made = 0; made < count; made += 1) {
      await controller.access.refuse(null, { action: `try ${made}` })
      written.push([controller.journal.lastSeq, now()])
      await rest(start + (made + 1) * everyMs - performance.now())
    }
    return written
  },
  /** Writes many at once. */
  async fill({ count }) {
    const refuse = (made) => controller.access.refuse(null, { action: `try ${made}` })
    for (let made = 0; made < count; made += 500)
      await Promise.all(Array.from({ length: 500 }, (_, more) => refuse(made + more)))
    return controller.journal.lastSeq
  },
  /** Processor time so far, and what is held, in milliseconds and megabytes. */
  usage() {
    const { user, system } = process.cpuUsage()
    return { cpuMs: (user + system) / 1000, megabytes: process.memoryUsage.rss() / 1e6 }
  },
}

const rest = (ms) => (ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined)

process.on('message', async ({ name, options }) => process.send(await commands[name](options)))
process.on('disconnect', () => controller.close())
process.send(controller.consoleLink)
