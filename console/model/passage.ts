import { activeIds } from '../../src/diagram/active-ids.ts'
import type { EdgeDescription, MachineDescription, NodeDescription, RecordTold } from './contract.ts'

/** What one record did in a statechart. */
export interface Passage {
  readonly record: RecordTold
  /** Active after it. */
  readonly active: ReadonlySet<string>
  readonly entered: ReadonlySet<string>
  /** Transitions that lead from before to after. Where guards leave several open, all of them. */
  readonly edges: ReadonlySet<string>
}

/** What each record of one run did; its first record may be missing. */
export function passagesOf(description: MachineDescription, records: readonly RecordTold[]): Passage[] {
  const none: ReadonlySet<string> = new Set()
  let before = none
  return records.map((record) => {
    const active = activeIds(description, record.state)
    const entered = new Set([...active].filter((id) => !before.has(id)))
    const edges =
      record.event.type === 'xstate.init' ? begun(description, active) : taken(description, before, record, active)
    before = active
    return { record, active, entered, edges }
  })
}

function begun(description: MachineDescription, active: ReadonlySet<string>): Set<string> {
  return onwards(description, description.nodes[0]!.id, active) ?? new Set()
}

function taken(
  description: MachineDescription,
  before: ReadonlySet<string>,
  { event }: RecordTold,
  active: ReadonlySet<string>,
): Set<string> {
  const found = new Set<string>()
  for (const edge of description.edges.filter((edge) => isHeard(edge.event, event.type) && before.has(edge.source))) {
    const further = edge.targets.length === 0 ? new Set<string>() : throughAll(description, edge, active)
    if (further === undefined) continue
    for (const id of [edge.id, ...further]) found.add(id)
  }
  return found
}

/** As XState has it, a name can stand for several: `*`, `poll.*`. */
function isHeard(name: string, type: string): boolean {
  return name === type || name === '*' || (name.endsWith('.*') && type.startsWith(name.slice(0, -1)))
}

/** What follows this transition within the same step, where it leads to what is active; undefined where it does not. */
function throughAll(description: MachineDescription, { targets }: EdgeDescription, active: ReadonlySet<string>) {
  const ways = targets.map((target) => onwards(description, target, active))
  if (ways.some((way) => way === undefined)) return undefined
  return new Set(ways.flatMap((way) => [...way!]))
}

/** How one comes from entering `target` to what is active without another event from outside. */
function onwards(
  description: MachineDescription,
  target: string,
  active: ReadonlySet<string>,
  seen: ReadonlySet<string> = new Set(),
): Set<string> | undefined {
  const inside = enteredBy(description.nodes, target)
  if (inside.every((id) => active.has(id))) return new Set()
  for (const edge of immediate(description, inside).filter(({ id }) => !seen.has(id)))
    for (const next of edge.targets) {
      const way = onwards(description, next, active, new Set([...seen, edge.id]))
      if (way !== undefined) return new Set([edge.id, ...way])
    }
  return undefined
}

/** Transitions that a machine takes by itself where it has just entered these states. */
function immediate({ nodes, edges }: MachineDescription, inside: readonly string[]): EdgeDescription[] {
  const ended = nodes.filter(({ id, type }) => type === 'final' && inside.includes(id)).map(({ parent }) => parent)
  return edges.filter(({ kind, source, event }) => {
    if (kind === 'always') return inside.includes(source)
    return event === `xstate.done.state.${source}` && ended.includes(source)
  })
}

/** A state and what is entered with it; of a history state, what is known of that. */
function enteredBy(nodes: readonly NodeDescription[], target: string): string[] {
  const node = nodes.find(({ id }) => id === target)
  if (node === undefined) return []
  if (node.type === 'history') return node.parent === null ? [] : [node.parent]
  const parts = nodes.filter(({ parent }) => parent === target).map(({ id }) => id)
  const inner = node.type === 'parallel' ? parts : node.initial ? [node.initial.target] : []
  return [target, ...inner.flatMap((id) => enteredBy(nodes, id))]
}
