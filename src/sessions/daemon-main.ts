// The program of a session daemon; see `run-daemon.ts` for its arguments.
import { errorRecord } from '../errors.ts'
import { runDaemon } from './run-daemon.ts'

runDaemon(process.argv.slice(2)).catch((error) => {
  const { code, message, hint } = errorRecord(error)
  process.stderr.write(`${code ?? 'INTERNAL'}: ${message}\n${hint === undefined ? '' : `${hint}\n`}`)
  process.exit(1)
})
