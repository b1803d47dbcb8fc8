// A host that embeds the controller: it launches its runtime, shows where it is, and keeps it up to date.
//
//   node examples/host/host.mjs        Ctrl-C ends it, and the runtime with it
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openController } from 'instar'
import { bundle } from './bundle.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const interrupted = new AbortController()
const { signal } = interrupted
process.once('SIGINT', () => interrupted.abort()).once('SIGTERM', () => interrupted.abort())
// A host lives by its window or its server. Nothing of a controller keeps a process alive by itself.
const window = setInterval(() => {}, 1_000_000)

let controller
try {
  await bundle(signal)
  controller = await openController({
    home: process.env.INSTAR_HOME ?? join(here, '.home'),
    config: join(here, 'instar.config.json'),
    signal,
  })
  controller.subscribe(({ type, version }) => console.log(type, version ?? ''))

  // What this host would put on the PATH: `.bin/kanban` runs the version in use, without a controller.
  await controller.runtime('kanban').writeLauncher({ directory: join(here, '.bin') })

  // The host is usable at once, with the best version it has; the update comes behind it.
  const kanban = await controller.runtime('kanban').launch({ signal })
  console.log(`kanban ${kanban.version} (${kanban.arm}), pid ${kanban.pid}, at ${kanban.url}`)
  const { outcome, version } = await controller.runtime('kanban').check({ signal })
  console.log(outcome === 'staged' ? `${version} is used at the next start` : outcome)

  if (!signal.aborted) await Promise.race([once(signal, 'abort'), kanban.exited])
} catch (error) {
  if (!signal.aborted) throw error
} finally {
  await controller?.close()
  clearInterval(window)
}
