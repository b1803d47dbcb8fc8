import {
  type AnyActorScope,
  type AnyEventObject,
  type AnyMachineSnapshot,
  type AnyStateMachine,
  createActor,
  type HistoryValue,
  type StateNode,
} from 'xstate'
import { machineRef } from './record.ts'

/** What XState asks of the one who executes its actions. Wider than XState's own type, which leaves half of them out. */
export interface Action {
  readonly type: string
  readonly params: any
  readonly exec: unknown
  readonly info: { readonly self: unknown }
}

/** A snapshot as plain data, for the disk. `nodes` keeps the order of the active states; see {@link PureMachine.restore}. */
export interface PersistedSnapshot {
  readonly status: string
  readonly value: unknown
  readonly context: unknown
  readonly historyValue?: unknown
  readonly children?: unknown
  readonly nodes?: readonly string[] | undefined
}

/** Where a cycle of `always` and raised events is called a defect of the machine instead of hanging the process. */
const maxMicrosteps = 1_000

const nothing = () => {}

/**
 * One version of one machine as pure functions: no actor is ever started, no effect ever runs.
 *
 * XState's own `transition()` builds a throw-away actor on every call, which costs more than the transition. Here one
 * inert scope is built per machine and used again. `test/run/equivalence.test.ts` holds this to what live XState does.
 */
export class PureMachine {
  readonly name: string
  /** `name@version`: what the journal writes down, so that a run stays with the definition it began with. */
  readonly ref: string
  readonly machine: AnyStateMachine
  protected readonly scope: AnyActorScope
  private readonly nodes = new Map<string, StateNode<any, any>>()

  constructor(machine: AnyStateMachine) {
    // A copy of our own, because the limit must not be set on an object that belongs to the caller.
    this.machine = machine.provide({})
    const { options } = this.machine
    if (!Number.isFinite(options.maxIterations)) options.maxIterations = maxMicrosteps
    this.name = machine.id
    this.ref = machineRef(machine)
    const self = createActor(this.machine)
    this.scope = {
      self,
      system: self.system,
      id: '',
      sessionId: '',
      logger: nothing,
      defer: nothing,
      emit: nothing,
      stopChild: nothing,
      actionExecutor: nothing,
    }
    const index = (node: StateNode<any, any>) => {
      this.nodes.set(node.id, node)
      Object.values(node.states).forEach(index)
    }
    index(this.machine.root)
  }

  /** The first snapshot. What the machine's context or entry throws is thrown here; XState would only note it. */
  begin(input: unknown): [AnyMachineSnapshot, Action[]] {
    const actions = this.collect()
    const snapshot = this.machine.getInitialSnapshot(this.scope, input)
    if (snapshot.status === 'error') throw snapshot.error
    return [snapshot, actions]
  }

  /** One macrostep. XState would move a snapshot that is done, too: the caller looks at `status` first. */
  transition(snapshot: AnyMachineSnapshot, event: AnyEventObject): [AnyMachineSnapshot, Action[]] {
    const actions = this.collect()
    return [this.machine.transition(snapshot, event, this.scope), actions]
  }

  persist(snapshot: AnyMachineSnapshot): PersistedSnapshot {
    const persisted = this.machine.getPersistedSnapshot(snapshot) as unknown as PersistedSnapshot
    return { ...persisted, nodes: snapshot._nodes.map((node) => node.id) }
  }

  /**
   * The opposite of {@link persist}, after a trip through JSON. Throws when the machine has no such state.
   *
   * XState puts the active states back in another order than the one they had, and with several regions in parallel
   * that order decides whose `always` goes first. So the order is stored and put back.
   */
  restore(persisted: PersistedSnapshot): AnyMachineSnapshot {
    const snapshot = this.machine.restoreSnapshot({ children: {}, ...persisted } as any, this.scope)
    if (persisted.nodes === undefined) return snapshot
    const history = (persisted.historyValue ?? {}) as Record<string, readonly { readonly id: string }[]>
    const historyValue: HistoryValue<any, any> = {}
    for (const [id, nodes] of Object.entries(history)) historyValue[id] = nodes.map((node) => this.node(node.id))
    return {
      ...snapshot,
      value: persisted.value,
      _nodes: persisted.nodes.map((id) => this.node(id)),
      historyValue,
    } as AnyMachineSnapshot
  }

  private node(id: string): StateNode<any, any> {
    const node = this.nodes.get(id)
    if (node === undefined) throw new Error(`${this.ref} has no state '${id}'`)
    return node
  }

  private collect(): Action[] {
    const actions: Action[] = []
    this.scope.actionExecutor = (action) => {
      actions.push(action as Action)
    }
    return actions
  }
}
