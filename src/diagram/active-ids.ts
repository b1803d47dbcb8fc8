import type { MachineDescription } from './describe.ts'

/**
 * The ids of the nodes that are active in a snapshot's `value`, the root among them: what a page lights up. Works from
 * the value alone, so also for a state read from the journal. A key that the description does not have is passed over:
 * the value may be of another version of the machine.
 */
export function activeIds(description: MachineDescription, value: unknown): Set<string> {
  const active = new Set<string>()
  const enter = (id: string, inner: unknown) => {
    active.add(id)
    const entries = typeof inner === 'string' ? [[inner, {}] as const] : Object.entries(Object(inner) as object)
    for (const [key, rest] of entries) {
      const child = description.nodes.find((node) => node.parent === id && node.key === key)
      if (child) enter(child.id, rest)
    }
  }
  enter(description.nodes[0]!.id, value)
  return active
}
