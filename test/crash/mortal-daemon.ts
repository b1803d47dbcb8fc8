// A session daemon that the crash tests kill or spoil: the real one, under an order that is for one process alone.
//
//   node mortal-daemon.js ORDERS MODE …
//
// A successor has its predecessor's environment, so an order in there would reach both. It lies in the folder ORDERS
// instead, under the mode that its process is begun in; the first such process takes it, and leaves its pid there.
import { ChildProcess } from 'node:child_process'
import { readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { errorRecord } from '../../src/errors.ts'
import type { Effect } from '../../src/run/flow.ts'
import { Interpreter } from '../../src/run/interpreter.ts'
import { runDaemon } from '../../src/sessions/run-daemon.ts'
import { StateStream } from '../../src/sessions/state-stream.ts'
import { type Mortal, mortal, orderVariable } from '../../src/testing/mortal.ts'
import { type DaemonOrder, type Spoil, takenName } from './daemon-order.ts'

const [orders, ...args] = process.argv.slice(2) as [string, ...string[]]
const order = takeOrder(args[0]!)
if (order !== null) {
  process.env[orderVariable] = JSON.stringify(order.life)
  watchMessages(mortal())
  spoilEffects(order)
}
try {
  await runDaemon(args)
} catch (error) {
  process.stderr.write(`${JSON.stringify(errorRecord(error))}\n`)
  process.exit(1)
}

function takeOrder(mode: string): DaemonOrder | null {
  const taken = join(orders, String(process.pid))
  try {
    renameSync(join(orders, mode), taken)
  } catch {
    return null // there is none, or it was another's
  }
  const order = JSON.parse(readFileSync(taken, 'utf8')) as DaemonOrder
  renameSync(taken, join(orders, takenName(order.role, process.pid)))
  return order
}

/** What a predecessor and its successor do to each other. */
function watchMessages(life: Mortal): void {
  const { send } = StateStream.prototype
  StateStream.prototype.send = function (json, bytes) {
    return life.change(`say ${(json as { type: string }).type}`, () => send.call(this, json, bytes))
  }
  // A channel gives each process a `send` of its own.
  const prototype = ChildProcess.prototype as unknown as { spawn(options: object): number }
  const { spawn } = prototype
  prototype.spawn = function (this: ChildProcess, options) {
    const result = spawn.call(this, options)
    const give = this.send?.bind(this) as (...given: unknown[]) => boolean
    this.send = (...given: unknown[]) => life.change('give a connection', () => give(...given))
    return result
  }
}

/** Each once: what comes after is to go well. */
function spoilEffects({ spoils, prepareTimeoutMs }: DaemonOrder): void {
  const { open } = Interpreter
  Interpreter.open = (options) => {
    const flows = options.flows.map((flow) => {
      const effects = Object.entries(flow.effects).map(([name, effect]) => [name, spoiled(spoils[name], effect)])
      return { ...flow, effects: Object.fromEntries(effects) }
    })
    return open.call(Interpreter, { ...options, flows })
  }
  const { start } = Interpreter.prototype
  Interpreter.prototype.start = function (machine, options) {
    if (machine !== 'daemon-handoff') return start.call(this, machine, options)
    Interpreter.prototype.start = start
    const input = { ...(options.input as object), ...(prepareTimeoutMs !== undefined && { prepareTimeoutMs }) }
    return start.call(this, machine, { ...options, input })
  }
}

function spoiled(spoil: Spoil | undefined, effect: Effect<any, any>): Effect<any, any> {
  let isDue = spoil !== undefined
  return async (input, context) => {
    if (!isDue) return effect(input, context)
    isDue = false
    if (spoil === 'hangs') await new Promise((resolve) => process.once('disconnect', resolve))
    if (spoil === 'performs and fails') await effect(input, context)
    throw new Error('the order says so')
  }
}
