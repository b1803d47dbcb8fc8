// The program that the crash tests kill: a controller with one run, steered by a plan (see `plan.ts`).
//
//   node program.js HOME PLAN-AS-JSON
import { existsSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import { InstarError, type InstarErrorCode } from '../../src/errors.ts'
import { readJournal } from '../../src/journal/read.ts'
import type { AnyFlow, Effect, EffectContext } from '../../src/run/flow.ts'
import { Interpreter } from '../../src/run/interpreter.ts'
import type { RunState } from '../../src/run/run.ts'
import { type Clock, systemClock } from '../../src/run/timers.ts'
import { until } from '../../src/run/until.ts'
import { askDaemon } from '../../src/sessions/ask-daemon.ts'
import { daemonDirectory } from '../../src/sessions/daemon-place.ts'
import { mortal } from '../../src/testing/mortal.ts'
import { type Plan, placed, type Rule } from './plan.ts'

mortal()
const [home, text] = process.argv.slice(2) as [string, string]
const plan = JSON.parse(placed(text, home)) as Plan
const staysAlive = setInterval(() => {}, 60_000) // nothing else of a controller keeps its host alive

/** Minutes of the machine's delays are seconds here. */
const fastClock: Clock = {
  now: () => plan.since + (Date.now() - plan.since) * plan.pace,
  setTimeout: (ring, ms) => systemClock.setTimeout(ring, ms / plan.pace),
  clearTimeout: systemClock.clearTimeout,
}

// The controller opens its interpreter itself; here it gets another clock, and effects that the plan may spoil.
let open: (interpreter: Interpreter) => void
const opened = new Promise<Interpreter>((resolve) => {
  open = resolve
})
const openInterpreter = Interpreter.open
Interpreter.open = async (options) => {
  const flows = options.flows.map(spoiled)
  const interpreter = await openInterpreter.call(Interpreter, { ...options, flows, clock: fastClock })
  interpreter.subscribe((change) => {
    if (change.type !== 'record') return
    const { seq, digest } = change.record
    writeSync(1, `${JSON.stringify({ seq, digest })}\n`)
    if (plan.machine === 'runtime-launch') tellRuntimes(change.state)
    void sendWhatIsDue(interpreter, change.state)
  })
  open(interpreter)
  return interpreter
}

function spoiled(flow: AnyFlow): AnyFlow {
  const effects = Object.entries(flow.effects).map(([name, effect]) => [name, spoil(name, effect)] as const)
  return { ...flow, effects: Object.fromEntries(effects) }
}

function spoil(name: string, effect: Effect<any, any>): Effect<any, any> {
  const rules = plan.rules.filter((rule) => rule.effect === name)
  if (rules.length === 0) return effect
  return async (input, context) => {
    const interpreter = await opened
    const asking = interpreter.list().find(({ effects }) => effects.some(({ key }) => key === context.key))!
    const state = stateName(asking)
    const rule = rules.find((each) => each.in === undefined || state.startsWith(each.in))
    const tooLate = rule?.first && (await answersOf('spawn', 'done')) > 1
    return rule === undefined || tooLate ? effect(input, context) : follow(rule, () => effect(input, context), context)
  }
}

async function follow(rule: Rule, perform: () => Promise<unknown>, { signal }: EffectContext): Promise<unknown> {
  const { effect, performs = true, waits, fails, times = Number.POSITIVE_INFINITY, answers } = rule
  const failsNow = fails !== undefined && (await answersOf(effect, 'error')) < times
  const result = performs || !failsNow ? await perform() : undefined
  const interpreter = await opened
  const stopWanted = () =>
    interpreter.list().some(({ context }) => (context as { stopWanted?: boolean }).stopWanted === true)
  if (waits === true) while (!stopWanted()) await sleep(5, undefined, { signal })
  if (typeof waits === 'number') while (scenesOver < waits) await sleep(5, undefined, { signal })
  if (!failsNow) return answers ?? result
  const { code, fault } = fails
  throw new InstarError(code as InstarErrorCode, 'the plan says so', { details: { fault } })
}

/** How often an effect has answered so. */
async function answersOf(effect: string, how: 'done' | 'error'): Promise<number> {
  let count = 0
  for await (const { event } of readJournal(join(home, 'journal')))
    if ((event as { type: string }).type === `xstate.${how}.actor.${effect}`) count += 1
  return count
}

/** See `scripts` in stage.ts. */
function tellRuntimes(state: RunState): void {
  if (state.status === 'active') writeFileSync(join(dirname(home), `in-${stateName(state).split('.')[0]}`), '')
}

function stateName({ value }: RunState): string {
  if (typeof value === 'string') return value
  const [[outer, inner]] = Object.entries(value as Record<string, string>) as [[string, string]]
  return `${outer}.${inner}`
}

async function sendWhatIsDue(interpreter: Interpreter, state: RunState): Promise<void> {
  if (state.status !== 'active') return
  for (const [at, { event, when, processes }] of plan.sends.entries()) {
    if (!stateName(state).startsWith(when)) continue
    if (processes !== undefined && (await answersOf('spawn', 'done')) < processes) continue
    // The id makes it one command, however often it is sent. The run may have ended meanwhile.
    interpreter.send(state.run, { type: event }, { id: `send-${at}` }).catch(() => {})
  }
}

// ---- scenes

let scenesOver = 0

async function playScenes(interpreter: Interpreter, run: string): Promise<void> {
  const played = new Set<string | undefined>()
  for await (const { id } of readJournal(join(home, 'journal'))) played.add((id as string | undefined) ?? undefined)
  for (const [at, { when, event, befalls }] of (plan.script ?? []).entries()) {
    const id = `scene-${at}`
    const mark = join(dirname(home), id)
    if (!played.has(id) && !existsSync(mark)) {
      const state = await until(interpreter, run, (state) => stateName(state).startsWith(when))
      if (event !== undefined) await interpreter.send(run, event, { id })
      if (befalls !== undefined) {
        const noticed = until(interpreter, run, ({ seq }) => seq > state.seq)
        await (befalls === 'it is killed' ? killDaemon() : updateDaemon())
        await noticed
        writeFileSync(mark, '')
      }
    }
    scenesOver = at + 1
  }
}

const daemon = daemonDirectory(home, 'main')
const { signal } = new AbortController()

async function killDaemon(): Promise<void> {
  const info = await askDaemon(daemon, (client) => client.info(), signal)
  process.kill(info!.pid, 'SIGKILL')
}

async function updateDaemon(): Promise<void> {
  await askDaemon(daemon, (client) => client.upgrade(), signal)
}

const { machine, input, key = 'tool', daemons: sessions } = plan
const controller = await openController({
  home,
  config: parseConfig(plan.config, '/'),
  schedule: false,
  ...(sessions !== undefined && { sessions }),
})
void controller.failed.then((error) => writeSync(2, `the controller has failed: ${error.message}\n`))
const interpreter = await opened
const begun = interpreter.list().find((run) => run.machine.startsWith(`${machine}@`))
const { run } = begun ?? (await interpreter.start(machine, { key, input, busy: 'join' }))
void sendWhatIsDue(interpreter, interpreter.get(run)!)
void playScenes(interpreter, run)
const { output } = await interpreter.ended(run)
writeSync(1, `${JSON.stringify(output)}\n`)
await controller.close()
clearInterval(staysAlive)
