import type { EdgeDescription, MachineDescription, NodeDescription } from './describe.ts'

export interface InsideLine {
  readonly kind: 'effect' | 'entry' | 'exit' | 'stays' | 'tag'
  readonly text: string
  /** The transition that stays inside. */
  readonly edge?: string
}

/** What a state's box says below its name: effects, entry and exit, and the transitions that stay inside. */
export function insideLines(description: MachineDescription, node: NodeDescription): InsideLine[] {
  const stays = description.edges.filter(({ source, targets }) => source === node.id && targets.length === 0)
  return [
    ...node.invoke.map(({ effect }): InsideLine => ({ kind: 'effect', text: `do / ${effect}` })),
    ...node.entry.map((action): InsideLine => ({ kind: 'entry', text: `entry / ${action}` })),
    ...node.exit.map((action): InsideLine => ({ kind: 'exit', text: `exit / ${action}` })),
    ...stays.map((edge): InsideLine => ({ kind: 'stays', text: edgeText(description, edge), edge: edge.id })),
    ...(node.tags ?? []).map((tag): InsideLine => ({ kind: 'tag', text: `#${tag}` })),
  ]
}

export interface EdgePart {
  readonly kind: 'trigger' | 'guard' | 'actions'
  readonly text: string
}

/** A transition's label in UML's order: trigger, [guard], / actions. */
export function edgeParts(description: MachineDescription, edge: EdgeDescription): EdgePart[] {
  const trigger = [briefTrigger(description, edge), edge.reenter ? '(re-enters)' : ''].filter((part) => part !== '')
  const actions = edge.actions.length === 0 && edge.targets.length === 0 ? ['ignored'] : edge.actions
  const order = edge.order === undefined ? '' : `${edge.order}. `
  return [
    ...(trigger.length > 0 ? [{ kind: 'trigger', text: trigger.join(' ') } as const] : []),
    ...(edge.guard !== undefined ? [{ kind: 'guard', text: `${order}[${edge.guard}]` } as const] : []),
    ...(actions.length > 0 ? [{ kind: 'actions', text: `/ ${actions.join(', ')}` } as const] : []),
  ]
}

export function edgeText(description: MachineDescription, edge: EdgeDescription): string {
  return edgeParts(description, edge)
    .map(({ text }) => text)
    .join(' ')
}

/** Leaves out what the drawing says anyway: an only effect stands in the box, and a guard without an event is `always`. */
function briefTrigger({ nodes }: MachineDescription, { source, kind, guard, trigger }: EdgeDescription): string {
  if (kind === 'always' && guard !== undefined) return ''
  const answers = kind === 'done' || kind === 'failed' || kind === 'update'
  const node = nodes.find(({ id }) => id === source)!
  return answers && node.type === 'atomic' && node.invoke.length === 1 ? kind : trigger
}
