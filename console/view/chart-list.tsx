import { edgeText } from '../../src/diagram/wording.ts'
import type { EdgeDescription, MachineDescription, NodeDescription } from '../model/contract.ts'
import type { Chosen } from './chart.tsx'

interface ChartListProps {
  readonly description: MachineDescription
  readonly active: ReadonlySet<string>
  onChoose(chosen: Chosen): void
}

/** A statechart in words, nested as its states are: everything that the drawing says. */
export function ChartList({ description, active, onChoose }: ChartListProps) {
  const [root] = description.nodes
  return <States parent={root!.id} {...{ description, active, onChoose }} />
}

function States({ parent, ...props }: ChartListProps & { readonly parent: string }) {
  const { description, active, onChoose } = props
  const inner = description.nodes.filter((node) => node.parent === parent)
  if (inner.length === 0) return null
  return (
    <ul class="states">
      {inner.map((node) => (
        <li key={node.id}>
          <button type="button" class="link" onClick={() => onChoose({ state: node.id })}>
            {node.key}
          </button>
          {active.has(node.id) && <strong class="now"> active</strong>}
          {node.type === 'final' && <span class="quiet"> end</span>}
          {node.type === 'parallel' && <span class="quiet"> all of these at once</span>}
          <ul class="ways">
            {description.edges
              .filter(({ source }) => source === node.id)
              .map((edge) => (
                <li key={edge.id}>
                  <button type="button" class="link" onClick={() => onChoose({ edges: [edge.id] })}>
                    {wayText(description, edge)}
                  </button>
                </li>
              ))}
          </ul>
          <States parent={node.id} {...props} />
        </li>
      ))}
    </ul>
  )
}

export function wayText(description: MachineDescription, edge: EdgeDescription): string {
  const names = edge.targets.map((target) => keyOf(description.nodes, target))
  const where = names.length === 0 ? ', stays' : ` → ${names.join(', ')}`
  return `${edgeText(description, edge) || edge.trigger}${where}`
}

export const keyOf = (nodes: readonly NodeDescription[], id: string) => nodes.find((node) => node.id === id)?.key ?? id
