import type { AnyStateMachine, AnyStateNode, AnyTransitionDefinition } from 'xstate'
import { historyTarget } from '../run/history-target.ts'
import { duration } from './duration.ts'
import { actionLabels, guardLabel } from './labels.ts'

/** A statechart as plain JSON: what a drawing, a console and a reader need, and nothing that runs. */
export interface MachineDescription {
  readonly id: string
  /** In the order of the machine file, a parent before its children; the first is the root. */
  readonly nodes: readonly NodeDescription[]
  readonly edges: readonly EdgeDescription[]
}

export interface NodeDescription {
  readonly id: string
  readonly key: string
  /** Null for the root. */
  readonly parent: string | null
  readonly type: 'atomic' | 'compound' | 'parallel' | 'final' | 'history'
  readonly history?: 'shallow' | 'deep'
  readonly description?: string
  readonly tags?: readonly string[]
  /** Where a compound state begins, and what happens on the way there. */
  readonly initial?: { readonly target: string; readonly actions: readonly string[] }
  readonly entry: readonly string[]
  readonly exit: readonly string[]
  readonly invoke: readonly { readonly id: string; readonly effect: string }[]
}

/**
 * `done` and `failed` are an effect's answers, or (`done`) a state whose parts have all ended; `update` is a snapshot of
 * an invoked actor; `default` leads from a history state to where it points before there is any history.
 */
export type EdgeKind = 'event' | 'always' | 'after' | 'done' | 'failed' | 'update' | 'default'

export interface EdgeDescription {
  /** The source and the transition's place in it: stable as long as the source's transitions are. */
  readonly id: string
  readonly source: string
  /** Empty where the transition stays inside its source and only acts. Several where it enters several regions. */
  readonly targets: readonly string[]
  readonly kind: EdgeKind
  /** The event as XState names it; empty for `always`. */
  readonly event: string
  /** The event as a person reads it: `fetch failed`, `after 5 s`. */
  readonly trigger: string
  /** `else` where it is taken because the guards before it, on the same event, did not hold. */
  readonly guard?: string
  /** From 1; where several guards are tried on one event, the first that holds decides. */
  readonly order?: number
  readonly actions: readonly string[]
  /** Of `after`: milliseconds where they are fixed, and the delay's name where it has one. */
  readonly delay?: { readonly ms?: number; readonly name?: string }
  /** Leaves its source and enters it again although the target lies inside or is the source itself. */
  readonly reenter: boolean
  readonly description?: string
}

/**
 * Describes an XState v5 machine. Unlike `machine.definition` it has the eventless (`always`) transitions and lacks the
 * `raise` and `cancel` with which XState carries out `after`. Runs nothing of the machine.
 */
export function describeMachine(machine: AnyStateMachine): MachineDescription {
  const nodes: NodeDescription[] = []
  const edges: EdgeDescription[] = []
  const visit = (node: AnyStateNode) => {
    nodes.push(describeNode(node))
    edges.push(...describeEdges(node))
    for (const child of Object.values(node.states) as AnyStateNode[]) visit(child)
  }
  visit(machine.root)
  return { id: machine.id, nodes, edges }
}

function describeNode(node: AnyStateNode): NodeDescription {
  const initialTarget = node.type === 'compound' ? node.initial.target?.[0] : undefined
  return {
    id: node.id,
    key: node.key,
    parent: node.parent?.id ?? null,
    type: node.type,
    ...(node.type === 'history' && { history: node.history === 'deep' ? 'deep' : 'shallow' }),
    ...(node.description !== undefined && { description: node.description }),
    ...(node.tags.length > 0 && { tags: [...node.tags] }),
    ...(initialTarget && { initial: { target: initialTarget.id, actions: actionLabels(node.initial.actions) } }),
    entry: actionLabels(node.entry),
    exit: actionLabels(node.exit),
    invoke: node.invoke.map(({ id }) => ({ id, effect: effectName(node, id) })),
  }
}

function describeEdges(node: AnyStateNode): EdgeDescription[] {
  if (node.type === 'history') return defaultOfHistory(node)
  const groups: AnyTransitionDefinition[][] = [...node.transitions.values(), node.always ?? []]
  const edges = groups.flatMap((group) => {
    const guarded = group.filter(({ guard }) => guard !== undefined)
    return group.map((transition, index) => ({
      ...describeTransition(node, transition),
      ...guardOf(transition, index),
      ...(guarded.length > 1 && transition.guard !== undefined && { order: index + 1 }),
    }))
  })
  return edges.map((edge, index) => ({ id: `${node.id}:${index}`, ...edge }))
}

/** Guards are tried in order, so what has none after some that have one reads as "else". */
function guardOf({ guard }: AnyTransitionDefinition, index: number): { guard?: string } {
  const label = guardLabel(guard) ?? (index > 0 ? 'else' : undefined)
  return label === undefined ? {} : { guard: label }
}

function describeTransition(node: AnyStateNode, transition: AnyTransitionDefinition): Omit<EdgeDescription, 'id'> {
  const delay = delayOf(node, transition)
  const targets = transition.target ?? []
  return {
    source: node.id,
    targets: targets.map(({ id }) => id),
    ...occasionOf(node, transition.eventType, delay),
    event: transition.eventType,
    actions: actionLabels(transition.actions),
    ...(delay && { delay }),
    reenter: transition.reenter && targets.every((target) => isWithin(target, node)),
    ...(transition.description !== undefined && { description: transition.description }),
  }
}

function occasionOf(
  node: AnyStateNode,
  event: string,
  delay: EdgeDescription['delay'],
): Pick<EdgeDescription, 'kind' | 'trigger'> {
  if (event === '') return { kind: 'always', trigger: 'always' }
  if (event === '*') return { kind: 'event', trigger: 'any event' }
  if (delay) return { kind: 'after', trigger: afterLabel(delay) }
  if (event === `xstate.done.state.${node.id}`) return { kind: 'done', trigger: 'done' }
  for (const { id } of node.invoke) {
    const effect = effectName(node, id)
    if (event === `xstate.done.actor.${id}`) return { kind: 'done', trigger: `${effect} done` }
    if (event === `xstate.error.actor.${id}`) return { kind: 'failed', trigger: `${effect} failed` }
    if (event === `xstate.snapshot.${id}`) return { kind: 'update', trigger: `${effect} update` }
  }
  return { kind: 'event', trigger: event }
}

function isWithin(node: AnyStateNode | undefined, outer: AnyStateNode): boolean {
  return node !== undefined && (node === outer || isWithin(node.parent, outer))
}

function delayOf(
  node: AnyStateNode,
  { delay }: AnyTransitionDefinition & { delay?: unknown },
): EdgeDescription['delay'] {
  if (typeof delay === 'number') return { ms: delay }
  if (typeof delay !== 'string') return undefined
  const fixed: unknown = node.machine.implementations.delays[delay]
  return typeof fixed === 'number' ? { ms: fixed, name: delay } : { name: delay }
}

function afterLabel({ ms, name }: NonNullable<EdgeDescription['delay']>): string {
  if (ms === undefined) return `after ${name}`
  return name === undefined ? `after ${duration(ms)}` : `after ${name} (${duration(ms)})`
}

/** Effects are known by what they do; by their id only where one state runs the same effect twice. */
function effectName(node: AnyStateNode, id: string): string {
  const { src } = node.invoke.find((invoke) => invoke.id === id)!
  // The name that XState makes up where the logic is given in place.
  if (typeof src !== 'string' || src.startsWith('xstate.invoke.')) return src === `xstate.invoke.${id}` ? 'inline' : id
  return node.invoke.filter((invoke) => invoke.src === src).length > 1 ? id : src
}

function defaultOfHistory(node: AnyStateNode): EdgeDescription[] {
  const { target } = node.config as { target?: string | readonly string[] }
  if (target === undefined) return []
  const targets = [target].flat().flatMap((path) => historyTarget(node, path)?.id ?? [])
  const label = { kind: 'default', event: '', trigger: 'no history yet' } as const
  return [{ id: `${node.id}:0`, source: node.id, targets, ...label, actions: [], reenter: false }]
}
