import { boxLines, boxSize, labelSize, measure } from './content.ts'
import type { MachineDescription, NodeDescription } from './describe.ts'
import type { Arrow, Box, LaidOut, Point, TextLine } from './laid-out.ts'
import { type Route, startOf } from './routes.ts'

/** What is used of elkjs. It is handed in, so that its 1.6 MB of code are loaded only where something is laid out. */
export interface LayoutEngine {
  layout(graph: ElkNode): Promise<ElkNode>
}

interface ElkNode {
  id: string
  x?: number
  y?: number
  width?: number
  height?: number
  layoutOptions?: Record<string, string>
  children?: ElkNode[]
  edges?: ElkEdge[]
}

interface ElkEdge {
  id: string
  sources: string[]
  targets: string[]
  labels?: { text: string; x?: number; y?: number; width: number; height: number }[]
  sections?: { startPoint: Point; bendPoints?: Point[]; endPoint: Point }[]
}

// elkjs does not hand these down, so every state with children gets them again. Model-order options are left alone: with
// nested states they make elkjs 0.12 throw. DEPTH_FIRST puts a state's beginning at its top.
const layered = {
  'elk.edgeRouting': 'ORTHOGONAL',
  'elk.layered.cycleBreaking.strategy': 'DEPTH_FIRST',
  'elk.layered.nodePlacement.strategy': 'NETWORK_SIMPLEX',
  'elk.layered.spacing.nodeNodeBetweenLayers': '14',
  'elk.layered.spacing.edgeNodeBetweenLayers': '12',
  'elk.layered.spacing.edgeEdgeBetweenLayers': '9',
  'elk.spacing.nodeNode': '16',
  'elk.spacing.edgeNode': '12',
  'elk.spacing.edgeEdge': '9',
  'elk.spacing.edgeLabel': '2',
}

/** Finds a place for every state and for the arrows of `routes`; all other transitions are lines in boxes. */
export async function place(
  description: MachineDescription,
  routes: readonly Route[],
  engine: LayoutEngine,
): Promise<LaidOut> {
  const lines = linesOf(description, routes)
  const placed = await engine.layout(graphOf(description, lines, routes))
  const boxes: Box[] = []
  const starts: Point[] = []
  const visit = (node: ElkNode, left: number, top: number) => {
    const [x, y] = [left + node.x!, top + node.y!]
    const [width, height] = [node.width!, node.height!]
    if (lines.has(node.id)) boxes.push({ id: node.id, x, y, width, height, lines: lines.get(node.id)! })
    else if (node !== placed) starts.push({ x: x + width / 2, y: y + height / 2 })
    for (const child of node.children ?? []) visit(child, x, y)
  }
  visit(placed, 0, 0)
  const edges = new Map(placed.edges!.map((edge) => [edge.id, edge]))
  const arrows = routes.map((route, index) => arrowOf(route, edges.get(String(index))!))
  return { description, width: Math.ceil(placed.width!), height: Math.ceil(placed.height!), boxes, starts, arrows }
}

function linesOf(description: MachineDescription, routes: readonly Route[]): Map<string, TextLine[]> {
  const drawn = new Set(routes.flatMap(({ edges, target }) => edges.map((edge) => `${edge}\0${target}`)))
  const onward = description.edges.flatMap((edge) => {
    const targets = edge.targets.filter((target) => !drawn.has(`${edge.id}\0${target}`))
    return targets.length === 0 ? [] : [{ ...edge, targets }]
  })
  const root = description.nodes[0]!
  const boxes = description.nodes.map((node): [string, TextLine[]] => {
    const own = onward.filter(({ source }) => source === node.id)
    return [node.id, boxLines(description, node, own)]
  })
  const lines = new Map(boxes)
  const touched = routes.some(({ source, target }) => source === root.id || target === root.id)
  // A frame around everything that says no more than the machine's name is left out.
  if (description.nodes.length > 1 && lines.get(root.id)!.length === 1 && !touched) lines.delete(root.id)
  return lines
}

function graphOf(description: MachineDescription, lines: Map<string, TextLine[]>, routes: readonly Route[]): ElkNode {
  const inside = (node: NodeDescription): ElkNode[] => {
    const start = { id: startOf(node.id), width: measure.startSize, height: measure.startSize }
    const children = description.nodes.filter(({ parent }) => parent === node.id).map(boxOf)
    return node.initial ? [start, ...children] : children
  }
  const boxOf = (node: NodeDescription): ElkNode => {
    const children = inside(node)
    const { width, height } = boxSize(node, lines.get(node.id)!)
    if (children.length === 0) return { id: node.id, width, height }
    const layoutOptions = {
      ...layered,
      'elk.padding': padding(16, height + 8),
      'elk.nodeSize.constraints': 'MINIMUM_SIZE',
      'elk.nodeSize.minimum': `(${width},${height})`,
    }
    return { id: node.id, children, layoutOptions }
  }
  const root = description.nodes[0]!
  return {
    id: '',
    layoutOptions: {
      ...layered,
      'elk.algorithm': 'layered',
      'elk.direction': 'DOWN',
      'elk.hierarchyHandling': 'INCLUDE_CHILDREN',
      'elk.json.edgeCoords': 'ROOT',
      'elk.padding': padding(8, 8),
    },
    children: lines.has(root.id) ? [boxOf(root)] : inside(root),
    edges: routes.map(({ source, target, lines }, index) => ({
      id: String(index),
      sources: [source],
      targets: [target],
      // elkjs takes no notice of a label without a text.
      ...(lines.length > 0 && { labels: [{ text: ' ', ...labelSize(lines) }] }),
    })),
  }
}

function arrowOf({ source, target, kind, edges, lines }: Route, placed: ElkEdge): Arrow {
  const { startPoint, bendPoints = [], endPoint } = placed.sections![0]!
  const [label] = placed.labels ?? []
  return {
    source,
    target,
    kind,
    edges,
    points: [startPoint, ...bendPoints, endPoint],
    label: label ? { x: label.x!, y: label.y!, width: label.width, height: label.height, lines } : null,
  }
}

const padding = (side: number, top: number) => `[top=${top},left=${side},bottom=${side},right=${side}]`
