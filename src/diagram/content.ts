import type { EdgeDescription, MachineDescription, NodeDescription } from './describe.ts'
import type { TextLine } from './laid-out.ts'
import { textWidth, unbroken, wrapped } from './text-width.ts'
import { edgeParts, edgeText, insideLines } from './wording.ts'

/** Pixels. */
export const measure = {
  titleSize: 14,
  textSize: 12,
  /** From the foot of one line to that of the next. */
  lineHeight: 15,
  /** From the top of a box to the foot of its title. */
  titleFoot: 19,
  inset: 10,
  indent: 10,
  labelInset: 4,
  startSize: 10,
  historySize: 28,
} as const

const boxTextWidth = 150
const labelTextWidth = 130

/** What a state's box says. `onward` are the transitions that are written into it because no arrow is drawn for them. */
export function boxLines(
  description: MachineDescription,
  node: NodeDescription,
  onward: readonly EdgeDescription[],
): TextLine[] {
  if (node.type === 'history') return [{ style: 'title', text: node.history === 'deep' ? 'H*' : 'H' }]
  const lines: TextLine[] = [
    ...insideLines(description, node).map(({ kind, text, edge }) => ({ style: kind, text, ...(edge && { edge }) })),
    ...onward.map((edge) => ({ style: `onward ${edge.kind}`, text: onwardText(description, edge), edge: edge.id })),
  ]
  // What the whole machine is for is said beside its drawing.
  const purpose = node.parent === null ? '' : (node.description ?? '')
  return [
    { style: 'title', text: node.key },
    ...wrapped(purpose, boxTextWidth, measure.textSize).map((text) => ({ style: 'description', text })),
    ...lines.flatMap((line) => inLines(line, boxTextWidth)),
  ]
}

/** What stands beside the arrow of a transition. */
export function labelLines(description: MachineDescription, edge: EdgeDescription): TextLine[] {
  return edgeParts(description, edge).flatMap(({ kind, text }) => {
    const style = kind === 'trigger' ? `trigger ${edge.kind}` : kind
    return inLines({ style, text, edge: edge.id }, labelTextWidth)
  })
}

/** What stands beside an initial arrow. */
export function initialLines(actions: readonly string[]): TextLine[] {
  return actions.length === 0 ? [] : inLines({ style: 'actions', text: `/ ${actions.join(', ')}` }, labelTextWidth)
}

export function boxSize(node: NodeDescription, lines: readonly TextLine[]): { width: number; height: number } {
  if (node.type === 'history') return { width: measure.historySize, height: measure.historySize }
  return {
    width: 2 * measure.inset + widest(lines),
    height: lines.length === 1 ? 32 : measure.titleFoot + (lines.length - 1) * measure.lineHeight + 10,
  }
}

export function labelSize(lines: readonly TextLine[]): { width: number; height: number } {
  return { width: 2 * measure.labelInset + widest(lines), height: lines.length * measure.lineHeight + 4 }
}

export function lineWidth({ style, text }: TextLine): number {
  return style === 'title' ? textWidth(text, measure.titleSize, 'bold') : textWidth(text, measure.textSize)
}

function widest(lines: readonly TextLine[]): number {
  return Math.ceil(Math.max(...lines.map((line) => lineWidth(line) + (line.continued ? measure.indent : 0))))
}

function onwardText(description: MachineDescription, edge: EdgeDescription): string {
  const names = edge.targets.map((target) => description.nodes.find(({ id }) => id === target)!.key)
  return `${edgeText(description, edge)} →${unbroken}${names.join(', ')}`
}

function inLines(line: TextLine, width: number): TextLine[] {
  // No line ends with a lone "/" or "1.", none begins with a unit.
  const text = line.text
    .replaceAll(/(?<=^|\s)(\/|\d+\.) /g, `$1${unbroken}`)
    .replaceAll(/(?<=\d) (?=(ms|s|min|h|d)\b)/g, unbroken)
  const texts = wrapped(text, width - measure.indent, measure.textSize)
  return texts.map((text, index) => ({ ...line, text, ...(index > 0 && { continued: true }) }))
}
