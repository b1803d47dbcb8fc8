import type { MachineDescription, NodeDescription } from './describe.ts'
import { edgeText, insideLines } from './wording.ts'

/**
 * The statechart as a Mermaid `stateDiagram-v2`, as GitHub shows it. Deterministic. `active` are node ids, see
 * `activeIds`.
 *
 * Mermaid 11 and 12 crash on, or misdraw, much that their grammar allows. What is written here is what was found to
 * survive both:
 *
 * - A parallel root gets no box of its own; its regions stand side by side.
 * - A transition between two children of one state is written inside that state; every other one at the end, at the
 *   root, because naming a state inside a box moves it into that box.
 * - No transition at the root may start or end at a composite state that has regions, lies in one, or holds the other
 *   end: it is drawn from or to the state where that composite begins.
 * - All transitions between the same two states share an arrow, since Mermaid prints their labels over one another.
 * - A composite's title is one line, and a transition from a composite state into itself stands in it.
 * - Between the regions of a parallel state there is no place for a transition: one from a region to itself is written
 *   beside that region's state, one to a sibling at the root.
 * - What names mean to Mermaid (`:`, `;`, `#`, quotes, brackets) is written as character codes.
 */
export function toMermaid(description: MachineDescription, options: { active?: ReadonlySet<string> } = {}): string {
  const chart = new Chart(description)
  const classes = description.nodes.flatMap((node) => {
    if (chart.children(node).length > 0) return []
    const marks = [node.type === 'final' && 'final', options.active?.has(node.id) && 'active'].filter(Boolean)
    return marks.map((mark) => `class ${chart.name(node.id)} ${mark}`)
  })
  return [
    'stateDiagram-v2',
    ...indent([
      'direction TB',
      ...chart.whole(),
      ...chart.inside(chart.root),
      ...chart.arrows('end'),
      'classDef final stroke-width:3px',
      'classDef active fill:#e3f0ff,stroke:#0b6bcb,stroke-width:3px,color:#1c2330',
      ...classes,
    ]),
    '',
  ].join('\n')
}

/** Where an arrow is written: see `toMermaid`. */
type Place = `inside ${string}` | `beside ${string}` | 'title' | 'end'

class Chart {
  readonly root: NodeDescription
  readonly #byId: Map<string, NodeDescription>
  readonly #names: Map<string, string>

  constructor(private readonly description: MachineDescription) {
    this.root = description.nodes[0]!
    this.#byId = new Map(description.nodes.map((node) => [node.id, node]))
    this.#names = uniqueNames(description)
  }

  name(id: string): string {
    return this.#names.get(id)!
  }

  children(node: NodeDescription): NodeDescription[] {
    return this.description.nodes.filter(({ parent }) => parent === node.id)
  }

  /** What the machine as a whole does, in a box of its own. */
  whole(): string[] {
    const lines = this.#titleLines(this.root)
    return lines.length > 0 || this.children(this.root).length === 0 ? this.#box(this.root, this.root.id, lines) : []
  }

  /** What stands between the braces of a composite state, or at the top level. */
  inside(node: NodeDescription): string[] {
    const children = this.children(node)
    if (this.#hasRegions(node)) {
      const regions = children.map((child) => [...this.#state(child), ...this.arrows(`beside ${child.id}`)])
      return regions.flatMap((region, index) => (index > 0 ? ['--', ...region] : region))
    }
    const start = node.initial ? [this.#start(node.initial)] : []
    return [...children.flatMap((child) => this.#state(child)), ...start, ...this.arrows(`inside ${node.id}`)]
  }

  arrows(place: Place): string[] {
    const labels = new Map<string, string[]>()
    for (const edge of this.description.edges) {
      for (const target of edge.targets) {
        if (this.#placeOf(edge.source, target) !== place) continue
        const from = place === 'end' ? this.#anchor(edge.source, target) : edge.source
        const to = place === 'end' ? this.#anchor(target, edge.source) : target
        const arrow = `${this.name(from)} --> ${this.name(to)}`
        labels.set(arrow, [...(labels.get(arrow) ?? []), escaped(edgeText(this.description, edge))])
      }
    }
    return [...labels].map(([arrow, texts]) => `${arrow} : ${texts.join('<br/>')}`)
  }

  #state(node: NodeDescription): string[] {
    if (this.children(node).length > 0) {
      const title = [node.key, ...this.#titleLines(node)].map(escaped).join(' · ')
      return [`state "${title}" as ${this.name(node.id)} {`, ...indent(this.inside(node)), '}']
    }
    const title = node.type === 'history' ? (node.history === 'deep' ? 'H*' : 'H') : node.key
    const lines = insideLines(this.description, node).map(({ text }) => text)
    return this.#box(node, title, lines)
  }

  #box(node: NodeDescription, title: string, lines: readonly string[]): string[] {
    const name = this.name(node.id)
    return [`state "${escaped(title)}" as ${name}`, ...lines.map((line) => `${name} : ${escaped(line)}`)]
  }

  #titleLines(node: NodeDescription): string[] {
    const inward = this.description.edges.filter(({ source }) => source === node.id)
    return [
      ...insideLines(this.description, node).map(({ text }) => text),
      ...inward.flatMap((edge) => {
        const targets = edge.targets.filter((target) => this.#placeOf(node.id, target) === 'title')
        if (targets.length === 0) return []
        return `${edgeText(this.description, edge)} → ${targets.map((target) => pathWithin(node.id, target)).join(', ')}`
      }),
    ]
  }

  #start({ target, actions }: NonNullable<NodeDescription['initial']>): string {
    const label = actions.length > 0 ? ` : ${escaped(`/ ${actions.join(', ')}`)}` : ''
    return `[*] --> ${this.name(target)}${label}`
  }

  #placeOf(sourceId: string, targetId: string): Place {
    const [source, target] = [this.#byId.get(sourceId)!, this.#byId.get(targetId)!]
    if (source === this.root || this.#isInside(target, source)) return 'title'
    if (source.parent !== target.parent) return 'end'
    const parent = this.#byId.get(source.parent!)!
    if (!this.#hasRegions(parent)) return `inside ${parent.id}`
    return source === target ? `beside ${source.id}` : 'end'
  }

  #isInside(node: NodeDescription, outer: NodeDescription): boolean {
    return node.parent !== null && (node.parent === outer.id || this.#isInside(this.#byId.get(node.parent)!, outer))
  }

  /** Whether the children stand in regions of their own. Those of a parallel root have no box to be regions of. */
  #hasRegions(node: NodeDescription): boolean {
    return node.type === 'parallel' && node !== this.root
  }

  /** A state at which Mermaid can end an arrow that is written at the root: `id`, or where that composite begins. */
  #anchor(id: string, other: string): string {
    let node = this.#byId.get(id)!
    while (this.children(node).length > 0 && this.#crashesAt(node, this.#byId.get(other)!)) {
      node = this.#byId.get(node.initial?.target ?? this.children(node)[0]!.id)!
    }
    return node.id
  }

  #crashesAt(node: NodeDescription, other: NodeDescription): boolean {
    return node.type === 'parallel' || this.#isInRegion(node) || this.#isInside(other, node)
  }

  #isInRegion(node: NodeDescription): boolean {
    if (node.parent === null) return false
    const parent = this.#byId.get(node.parent)!
    return this.#hasRegions(parent) || this.#isInRegion(parent)
  }
}

// Words that Mermaid's lexer takes for itself where a state is named.
const reserved =
  /^(accDescr|accTitle|as|choice|class|classDef|click|default|direction|end|fork|hide|href|join|note|root|scale|state|style|title)$/i

function uniqueNames({ nodes }: MachineDescription): Map<string, string> {
  const names = new Map<string, string>()
  const taken = new Set<string>()
  const root = nodes[0]!
  for (const { id } of nodes) {
    const plain = pathWithin(root.id, id).replace(/\W/g, '_').replace(reserved, '$&_')
    let name = plain
    for (let count = 2; taken.has(name.toLowerCase()); count += 1) name = `${plain}_${count}`
    taken.add(name.toLowerCase())
    names.set(id, name)
  }
  return names
}

const pathWithin = (outer: string, id: string) => (id.startsWith(`${outer}.`) ? id.slice(outer.length + 1) : id)

function escaped(text: string): string {
  return (
    text
      .replace(/\s+/g, ' ')
      .replace(/[#;:"<>{}%\\`&*_~]|-(?=-)|(?<=-)-/g, (char) => `#${char.codePointAt(0)};`)
      // Mermaid takes a whole line for a command wherever it says so, also within quotes.
      .replace(/direction (?=TB|TD|BT|RL|LR)/gi, 'direction#32;')
  )
}

const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`)
