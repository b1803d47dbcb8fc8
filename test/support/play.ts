import type { AnyStateMachine, InputFrom } from 'xstate'
import { apply } from '../../src/run/apply.ts'
import { PureMachine } from '../../src/run/pure-machine.ts'
import type { RunEvent } from '../../src/run/record.ts'
import { type Run, type RunState, stateOf } from '../../src/run/run.ts'

/** Where a machine is after these events: what a transcript leaves out, its context and its output. */
export function play<Machine extends AnyStateMachine>(
  machine: Machine,
  input: InputFrom<Machine>,
  events: readonly RunEvent[],
): RunState {
  const pure = new PureMachine(machine)
  const init = { type: 'xstate.init', machine: pure.ref, key: '', input }
  let run: Run | undefined
  for (const [seq, event] of [init, ...events].entries()) {
    const id = /^xstate\.(?:done|error)\.actor\.(.+)$/.exec(event.type)?.[1]
    const answers = run?.effects.find((effect) => effect.id === id)?.key
    const cause = { seq: seq + 1, at: 0, run: 'play', event: JSON.parse(JSON.stringify(event)) }
    run = apply(pure, run, { ...cause, ...(answers !== undefined && { answers }) })[0]
  }
  return stateOf(run!)
}
