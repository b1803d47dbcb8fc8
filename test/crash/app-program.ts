// The program that the crash tests of apps kill: a controller that is asked for one thing.
//
//   node app-program.js HOME CONFIG-AS-JSON ORDER
import { writeSync } from 'node:fs'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import { errorRecord } from '../../src/errors.ts'
import { Interpreter } from '../../src/run/interpreter.ts'
import { mortal } from '../../src/testing/mortal.ts'
import { type OrderName, orders } from './app-orders.ts'

mortal()
const [home, config, order] = process.argv.slice(2) as [string, string, OrderName]
const staysAlive = setInterval(() => {}, 60_000) // nothing else of a controller keeps its host alive

let interpreter!: Interpreter
const openInterpreter = Interpreter.open
Interpreter.open = async (options) => {
  interpreter = await openInterpreter.call(Interpreter, options)
  interpreter.subscribe((change) => {
    if (change.type !== 'record') return
    const { seq, digest } = change.record
    writeSync(1, `${JSON.stringify({ seq, digest })}\n`)
  })
  return interpreter
}

const controller = await openController({ home, config: parseConfig(JSON.parse(config), '/'), schedule: false })
// What was begun before a crash comes to its end first, but for the apps themselves.
const begun = interpreter
  .list()
  .filter(({ machine, status }) => status === 'active' && !machine.startsWith('app-instance@'))
await Promise.all(begun.map(({ run }) => interpreter.ended(run)))
const result = await orders[order](controller).catch(errorRecord)
writeSync(1, `${JSON.stringify(result ?? null)}\n`)
await controller.close()
clearInterval(staysAlive)
