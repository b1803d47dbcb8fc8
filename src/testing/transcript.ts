import type { AnyStateMachine, InputFrom } from 'xstate'
import { type ErrorRecord, errorRecord } from '../errors.ts'
import { apply, type Notice } from '../run/apply.ts'
import { PureMachine } from '../run/pure-machine.ts'
import type { RunEvent } from '../run/record.ts'
import type { Run, WantedTimer } from '../run/run.ts'

/** The effect with this invoke id answers. */
export const done = (id: string, output?: unknown): RunEvent => ({
  type: `xstate.done.actor.${id}`,
  output,
  actorId: id,
})

/** The effect with this invoke id fails; the machine sees what the journal would keep of the error. */
export const failed = (id: string, error: Error | ErrorRecord | string = 'failed'): RunEvent => ({
  type: `xstate.error.actor.${id}`,
  error: typeof error === 'object' && !(error instanceof Error) ? error : errorRecord(error),
  actorId: id,
})

/** Time passes: every timer that comes due fires, in due order, each with a line of its own. */
export const elapse = (ms: number): RunEvent => ({ type: '$elapse', ms })

/**
 * A machine's story as text, one line per cause: what happened, the state it led to, the effects it began, what it
 * emitted. Nothing runs; answers are given by {@link done} and {@link failed}, time by {@link elapse}.
 *
 *     start -> staging, do stage
 *     stage error -> blocked, tell blocked
 *
 * @throws when an answer is given to an effect that is not running, or when nothing comes due in an `elapse`.
 */
export function transcript<Machine extends AnyStateMachine>(
  machine: Machine,
  input: InputFrom<Machine>,
  events: readonly RunEvent[],
): string {
  const pure = new PureMachine(machine)
  const lines: string[] = []
  let run: Run | undefined
  let seq = 0
  let at = 0

  const step = (label: string, event: RunEvent, answers?: string) => {
    seq += 1
    const before = run
    const plain = JSON.parse(JSON.stringify(event))
    const cause = { seq, at, run: 'transcript', event: plain, ...(answers !== undefined && { answers }) }
    const [next, notices] = apply(pure, before, cause)
    run = next
    lines.push(`${label} -> ${line(before, next, notices)}`)
  }

  step('start', { type: 'xstate.init', machine: pure.ref, key: '', input })
  for (const event of events) {
    const answered = /^xstate\.(done|error)\.actor\.(.+)$/.exec(event.type)
    if (run!.snapshot.status !== 'active') throw new Error(`'${event.type}' comes after the end`)
    if (event.type === '$elapse') {
      const until = at + event.ms
      const count = lines.length
      for (let timer = nextDue(run!, until); timer !== undefined; timer = nextDue(run!, until)) {
        at = timer.due
        step(timerLabel(timer), timer.event, timer.key)
      }
      if (lines.length === count) throw new Error(`nothing comes due within ${event.ms} ms`)
      at = until
    } else if (answered !== null) {
      const [, how, id] = answered
      const effect = run!.effects.find((wanted) => wanted.id === id)
      if (effect === undefined) throw new Error(`no effect '${id}' is running in ${path(run!.snapshot.value)}`)
      step(`${id} ${how}`, event, effect.key)
    } else step(event.type, event)
  }
  return lines.join('\n')
}

function line(before: Run | undefined, { snapshot, effects }: Run, notices: readonly Notice[]): string {
  const begun = effects.filter((effect) => !before?.effects.some((other) => other.key === effect.key))
  return [
    snapshot.status === 'error' ? 'error' : path(snapshot.value),
    ...begun.map((effect) => `do ${effect.id}`),
    ...notices.map((notice) => `tell ${notice.type}`),
  ].join(', ')
}

/** `a.b` for a state in a state, `{a.b, c}` for parallel ones. */
function path(value: unknown): string {
  if (typeof value === 'string') return value
  const parts = Object.entries(value as Record<string, unknown>).map(([key, inner]) => {
    const rest = path(inner)
    return rest === '{}' ? key : `${key}.${rest}`
  })
  return parts.length === 1 ? parts[0]! : `{${parts.join(', ')}}`
}

function timerLabel({ event }: WantedTimer): string {
  const after = /^xstate\.after\.([^.]+)\./.exec(event.type)
  return after === null ? `${event.type} (delayed)` : `after ${after[1]}`
}

function nextDue(run: Run, until: number): WantedTimer | undefined {
  const due = run.timers.filter((timer) => timer.due <= until)
  return due.reduce<WantedTimer | undefined>(
    (first, timer) => (first && first.due <= timer.due ? first : timer),
    undefined,
  )
}
