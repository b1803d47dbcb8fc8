import type { AnyStateMachine, AnyTransitionDefinition, StateNode } from 'xstate'
import { apply } from '../run/apply.ts'
import { PureMachine } from '../run/pure-machine.ts'
import type { StoredRecord } from '../run/record.ts'
import type { Run } from '../run/run.ts'

/** One transition of a machine by name, for example `fetching: fetch error -> sorting`; several in one step are `always`. */
export type Passage = string

/** What one record did: the transitions that it took, in order, and the state that it led to. */
export interface Taken {
  readonly record: StoredRecord
  readonly passages: readonly Passage[]
  /** Joined by dots; regions in parallel as JSON. */
  readonly state: string
  readonly run: Run
}

const begin: Passage = 'begin'

/** Tells of every transition of its machine by name, and which of them a history took. */
export class Passages {
  readonly all: readonly Passage[]
  private readonly machine: WatchedMachine
  private readonly names = new Map<AnyTransitionDefinition, Passage>()

  constructor(machine: AnyStateMachine) {
    this.machine = new WatchedMachine(machine)
    const visit = (node: StateNode<any, any>) => {
      for (const list of [...node.transitions.values(), node.always ?? []])
        list.forEach((transition, at) => {
          const earlier = list.slice(0, at).some((other) => targetOf(other) === targetOf(transition))
          this.names.set(transition, `${nameOf(node, transition)}${earlier ? ` (${at + 1})` : ''}`)
        })
      Object.values(node.states).forEach(visit)
    }
    visit(this.machine.machine.root)
    this.all = [begin, ...this.names.values()]
  }

  /** What the records of one run did. */
  history(records: readonly StoredRecord[]): Taken[] {
    let run: Run | undefined
    return records.map((record) => {
      const first = run === undefined
      const seen = this.machine.watch(() => {
        ;[run] = apply(this.machine, run, record)
      })
      const passages = seen.flatMap((transition) => this.names.get(transition) ?? [])
      return { record, passages: first ? [begin, ...passages] : passages, state: stateName(run!), run: run! }
    })
  }
}

/** Collects the transitions that XState takes; `apply` shows only where they lead. */
class WatchedMachine extends PureMachine {
  private seen: AnyTransitionDefinition[] = []

  constructor(machine: AnyStateMachine) {
    super(machine)
    this.scope.system.inspect((event) => {
      if (event.type === '@xstate.microstep') this.seen.push(...event._transitions)
    })
  }

  watch(work: () => void): readonly AnyTransitionDefinition[] {
    this.seen = []
    work()
    return this.seen
  }
}

function nameOf(node: StateNode<any, any>, transition: AnyTransitionDefinition): Passage {
  const target = targetOf(transition)
  const guard = typeof transition.guard === 'string' ? ` [${transition.guard}]` : ''
  return `${node.path.join('.')}: ${eventName(transition.eventType)}${guard}${target === '' ? '' : ` -> ${target}`}`
}

const targetOf = ({ target }: AnyTransitionDefinition) => (target ?? []).map(({ path }) => path.join('.')).join(', ')

function eventName(type: string): string {
  if (type === '') return 'always'
  const answer = /^xstate\.(done|error)\.actor\.(.+)$/.exec(type)
  if (answer !== null) return `${answer[2]} ${answer[1]}`
  return type.replace(/^xstate\.after\.([^.]+)\..+$/, 'after $1')
}

function stateName({ snapshot: { value } }: Run): string {
  if (typeof value === 'string') return value
  const [only, ...more] = Object.entries(value as Record<string, unknown>)
  return more.length === 0 && typeof only?.[1] === 'string' ? `${only[0]}.${only[1]}` : JSON.stringify(value)
}
