// The program that the crash tests of apps kill: a controller that upgrades one app everywhere.
//
//   node app-program.js HOME CONFIG-AS-JSON
import { writeSync } from 'node:fs'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import { Interpreter } from '../../src/run/interpreter.ts'
import { mortal } from '../../src/testing/mortal.ts'

mortal()
const [home, config] = process.argv.slice(2) as [string, string]
const staysAlive = setInterval(() => {}, 60_000) // nothing else of a controller keeps its host alive

const openInterpreter = Interpreter.open
Interpreter.open = async (options) => {
  const interpreter = await openInterpreter.call(Interpreter, options)
  interpreter.subscribe((change) => {
    if (change.type !== 'record') return
    const { seq, digest } = change.record
    writeSync(1, `${JSON.stringify({ seq, digest })}\n`)
  })
  return interpreter
}

const controller = await openController({ home, config: parseConfig(JSON.parse(config), '/'), schedule: false })
const result = await controller.apps.upgrade('notes', { to: '2.0.0' })
writeSync(1, `${JSON.stringify(result)}\n`)
await controller.close()
clearInterval(staysAlive)
