import type { AnyStateMachine, StateNode } from 'xstate'
import { historyTarget } from './history-target.ts'

/**
 * What keeps a machine from being replayed, as sentences; empty when there is nothing. The definition is read, not run:
 * what hides inside functions is found when it is applied.
 */
export function lintMachine(machine: AnyStateMachine): string[] {
  const faults: string[] = []
  if (typeof machine.config.version !== 'string' || machine.config.version === '')
    faults.push('the machine has no version')
  if (machine.config.id === undefined || machine.config.id === '') faults.push('the machine has no id')
  else if (machine.config.id.includes('@')) faults.push('the id of the machine holds an @')

  const invokedBy = new Map<string, StateNode<any, any>[]>()
  const visit = (node: StateNode<any, any>) => {
    const config = node.config as any
    const path = [machine.id, ...node.path].join('.')
    for (const invoke of list(config.invoke)) {
      const { id, src, systemId, onError } = invoke
      const name = typeof id === 'string' ? `invoke '${id}'` : 'an invoke'
      if (typeof id !== 'string') faults.push(`${path}: an invoke has no explicit id`)
      else {
        const others = invokedBy.get(id) ?? []
        if (others.some((other) => activeTogether(node, other)))
          faults.push(`${path}: ${name} has the id of another invoke that can run beside it`)
        invokedBy.set(id, [...others, node])
      }
      if (typeof src !== 'string') faults.push(`${path}: ${name} has a src that is not a name`)
      else if (machine.implementations.actors[src] === undefined)
        faults.push(`${path}: ${name} has the src '${src}', which setup does not declare`)
      if (onError === undefined) faults.push(`${path}: ${name} has no onError, so its failure ends the whole machine`)
      if (systemId !== undefined) faults.push(`${path}: ${name} has a systemId`)
      visitTransitions(invoke.onDone, `${path} ${name} onDone`)
      visitTransitions(onError, `${path} ${name} onError`)
      visitTransitions(invoke.onSnapshot, `${path} ${name} onSnapshot`)
    }
    visitActions(config.entry, `${path} entry`)
    visitActions(config.exit, `${path} exit`)
    visitTransitions(config.always, `${path} always`)
    visitTransitions(config.onDone, `${path} onDone`)
    if (typeof config.initial === 'object') visitTransitions(config.initial, `${path} initial`)
    for (const [event, transitions] of Object.entries(config.on ?? {}))
      visitTransitions(transitions, `${path} ${event}`)
    for (const [delay, transitions] of Object.entries(config.after ?? {}))
      visitTransitions(transitions, `${path} after ${delay}`)
    if (node.type === 'history')
      for (const target of list(config.target))
        if (historyTarget(node, target) === undefined) faults.push(`${path}: there is no state '${target}' to lead to`)
    Object.values(node.states).forEach(visit)
  }
  const visitTransitions = (transitions: unknown, path: string) => {
    for (const transition of list(transitions)) visitActions(transition?.actions, path)
  }
  const visitActions = (actions: unknown, path: string) => {
    for (const action of list(actions)) {
      const fault = actionFault(machine, action)
      if (fault !== undefined) faults.push(`${path}: ${fault}`)
    }
  }
  visit(machine.root)

  for (const [name, action] of Object.entries(machine.implementations.actions)) {
    const fault = actionFault(machine, action, name)
    if (fault !== undefined) faults.push(`action '${name}': ${fault}`)
  }
  for (const [name, implementation] of functionsOf(machine))
    if (/\bspawn\b/.test(implementation.toString())) faults.push(`${name}: spawn is invisible to a journal; invoke it`)
  return faults
}

/** Siblings of a compound state take turns; a state and its ancestors do not, nor do the regions of a parallel one. */
function activeTogether(a: StateNode<any, any>, b: StateNode<any, any>): boolean {
  let depth = 0
  while (depth < a.path.length && depth < b.path.length && a.path[depth] === b.path[depth]) depth += 1
  if (depth === a.path.length || depth === b.path.length) return true
  let common = a
  while (common.path.length > depth) common = common.parent!
  return common.type === 'parallel'
}

function actionFault(machine: AnyStateMachine, action: any, within?: string): string | undefined {
  const named = typeof action === 'string' ? action : typeof action === 'object' ? action?.type : undefined
  if (named !== undefined && within === undefined)
    return machine.implementations.actions[named] === undefined ? `action '${named}' is not implemented` : undefined
  if (typeof action !== 'function' || !('resolve' in action))
    return 'an action with a body; what acts on the world is an effect, what tells about it is an emit'
  switch (action.type) {
    case 'xstate.spawnChild':
      return 'spawnChild; invoke it'
    case 'xstate.sendTo':
      // A function may well resolve to the machine itself; a name never does.
      return typeof (action as any).to === 'function' || (action as any).to === '#_internal'
        ? undefined
        : 'sendTo somebody else; a machine may send to itself only'
    default:
      return undefined
  }
}

/** The functions in which `spawn` can hide: the context's, and those of `assign` and `enqueueActions`. */
function* functionsOf(machine: AnyStateMachine): Generator<[name: string, implementation: (...args: any[]) => any]> {
  if (typeof machine.config.context === 'function') yield ['context', machine.config.context as any]
  const seen = new Set<unknown>()
  const inside = function* (
    value: any,
    name: string,
  ): Generator<[name: string, implementation: (...args: any[]) => any]> {
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) return
    seen.add(value)
    if (typeof value === 'function') {
      const { assignment, collect } = value as { assignment?: unknown; collect?: unknown }
      for (const part of [assignment, collect])
        if (typeof part === 'function') yield [name, part as any]
        else if (typeof part === 'object' && part !== null)
          for (const [field, by] of Object.entries(part)) if (typeof by === 'function') yield [`${name}.${field}`, by]
      return
    }
    for (const [key, part] of Object.entries(value))
      if (key !== 'context') yield* inside(part, Array.isArray(value) ? name : `${name}.${key}`)
  }
  yield* inside(machine.config, machine.id)
  for (const [name, action] of Object.entries(machine.implementations.actions))
    yield* inside(action, `action '${name}'`)
}

function list(value: any): any[] {
  if (value === undefined || value === null) return []
  return Array.isArray(value) ? value : [value]
}
