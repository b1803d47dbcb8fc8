// `npm start`: the controller in the foreground with this folder's configuration. It is the command line's `up`; what it
// keeps lies in `.home` beside this file, unless --home or INSTAR_HOME says otherwise.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundle } from './bundle.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))

const interrupted = new AbortController()
const interrupt = () => interrupted.abort()
process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
try {
  await bundle(interrupted.signal)
} catch (error) {
  if (interrupted.signal.aborted) process.exit(130)
  // Without a bundled version there is one arm fewer; the controller says what it can do.
  console.error(`The bundled version could not be fetched: ${error.message}`)
}
process.off('SIGINT', interrupt).off('SIGTERM', interrupt)

// The home lies inside a git repository, which is none of the runtime's business.
process.env.GIT_CEILING_DIRECTORIES ??= here
process.env.INSTAR_HOME ??= join(here, '.home')
process.argv.splice(2, 0, '--config', join(here, 'instar.config.json'), 'up')
await import('../../dist/src/cli/main.js')
