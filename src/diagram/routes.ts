import { initialLines, labelLines } from './content.ts'
import type { MachineDescription } from './describe.ts'
import type { Arrow, TextLine } from './laid-out.ts'

/** An arrow that has no place yet. */
export interface Route extends Pick<Arrow, 'source' | 'target' | 'kind' | 'edges'> {
  readonly lines: readonly TextLine[]
}

/** The dot where a compound state begins is a node of the drawing too, with a name that no state has. */
export const startOf = (id: string) => `${id}\0start`

/** One route for all transitions that lead from one state to the same other, and one for each initial arrow. */
export function routesOf(description: MachineDescription): Route[] {
  const initial = description.nodes.flatMap(({ id, initial }): Route[] => {
    if (!initial) return []
    return [
      { source: startOf(id), target: initial.target, kind: 'initial', edges: [], lines: initialLines(initial.actions) },
    ]
  })
  const routes = new Map<string, Route>()
  for (const edge of description.edges) {
    const { id, source, kind } = edge
    const lines = labelLines(description, edge)
    for (const target of edge.targets) {
      const key = JSON.stringify([source, target])
      const same = routes.get(key)
      const joined: Route | undefined = same && {
        ...same,
        kind: same.kind === kind ? kind : 'event',
        edges: [...same.edges, id],
        lines: [...same.lines, ...lines],
      }
      routes.set(key, joined ?? { source, target, kind, edges: [id], lines })
    }
  }
  return [...initial, ...routes.values()]
}

/** The states to which the eye gets from the beginning, following arrows and entering boxes. */
export function reached(routes: readonly Route[], { nodes }: MachineDescription): Set<string> {
  const seen = new Set<string>()
  const visit = (id: string) => {
    if (seen.has(id)) return
    seen.add(id)
    const node = nodes.find((candidate) => candidate.id === id)!
    if (node.parent !== null) visit(node.parent)
    if (node.type === 'parallel') for (const child of nodes) if (child.parent === id) visit(child.id)
    for (const { source, target } of routes) if (source === id || source === startOf(id)) visit(target)
  }
  visit(nodes[0]!.id)
  return seen
}
