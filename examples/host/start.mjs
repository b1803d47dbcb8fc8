// `npm start`: the controller in the foreground with this folder's configuration. It is the command line's `up`; what it
// keeps lies in `.home` beside this file, unless --home or INSTAR_HOME says otherwise.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bundle } from './bundle.mjs'
import { furnish } from './furnish.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))

const { home = process.env.INSTAR_HOME ?? join(here, '.home') } = parseArgs({
  options: { home: { type: 'string' } },
  strict: false,
}).values
const config = join(here, 'instar.config.json')

const interrupted = new AbortController()
const { signal } = interrupted
const interrupt = () => interrupted.abort()
process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
// Without a bundled version there is one arm fewer, and without apps there are none; the controller does what it can.
await prepare('The bundled version could not be fetched', () => bundle(signal))
await prepare('The apps could not be installed', () => furnish({ home, config, signal }))
process.off('SIGINT', interrupt).off('SIGTERM', interrupt)

// The home lies inside a git repository, which is none of the runtime's business.
process.env.GIT_CEILING_DIRECTORIES ??= here
process.env.INSTAR_HOME = home
process.argv.splice(2, 0, '--config', config, 'up')
await import('../../dist/cli.js')

async function prepare(refusal, work) {
  try {
    await work()
  } catch (error) {
    if (signal.aborted) process.exit(130)
    console.error(`${refusal}: ${error.message}`)
  }
}
