import { lineWidth, measure } from './content.ts'
import type { MachineDescription, NodeDescription } from './describe.ts'
import type { Arrow, Box, Label, LaidOut, Point, TextLine } from './laid-out.ts'
import { edgeText } from './wording.ts'

/** The style sheet inside every drawing; for pages, whose policy may forbid a `<style>` element, it stands alone too. */
export const statechartStyle = `
.statechart{--back:#fff;--ink:#1c2330;--quiet:#59636e;--line:#7d8798;--box:#f4f6fa;--rim:#b9c1ce;--live:#0b6bcb;--live-box:#e3f0ff;--bad:#b3261e;--effect:#6b3fa0}
@media (prefers-color-scheme:dark){.statechart{--back:#0d1117;--ink:#e6eaf2;--quiet:#a3adbf;--line:#8490a6;--box:#1a212c;--rim:#4b566b;--live:#62b0ff;--live-box:#12304f;--bad:#ff8a80;--effect:#c7a6ff}}
.statechart text{font:12px Arial,Helvetica,'Liberation Sans',sans-serif;font-kerning:none;fill:var(--quiet)}
.statechart text.title{font-size:14px;font-weight:bold;fill:var(--ink)}
.statechart text.description{font-style:italic}
.statechart text.effect{fill:var(--effect)}
.statechart text.trigger,.statechart text.onward{fill:var(--ink)}
.statechart text.failed{fill:var(--bad)}
.statechart .back{fill:var(--back)}
.statechart .state rect{fill:var(--box);stroke:var(--rim)}
.statechart .state.group rect{fill:none}
.statechart .state.parallel rect{stroke-dasharray:6 3}
.statechart .state.active rect{stroke:var(--live);stroke-width:2}
.statechart .state.active:not(.group) rect{fill:var(--live-box)}
.statechart .start{fill:var(--ink)}
.statechart .arrow .shaft{fill:none;stroke:var(--line);stroke-width:1.25}
.statechart .arrow .head{fill:var(--line)}
.statechart .arrow.always .shaft,.statechart .arrow.after .shaft{stroke-dasharray:5 3}
.statechart .arrow.failed .shaft{stroke:var(--bad)}
.statechart .arrow.failed .head{fill:var(--bad)}
.statechart .label rect{fill:var(--back)}
`

/**
 * Draws a laid-out statechart. Deterministic. Light or dark as the reader's system is, also inside `<img>`.
 *
 * A page that has it inline lights a state by the class `active` on the element whose `data-state` is the state's id
 * (see `activeIds`); transitions, where they are drawn and where they are written, have their ids in `data-edges`,
 * which `edgeIds` reads.
 *
 * Texts are given the width for which room was made, so that no other font can make them leave their box.
 */
export function toSvg(laidOut: LaidOut, { title }: { readonly title: string }): string {
  const { description, width, height, boxes, starts, arrows } = laidOut
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="statechart" role="img" aria-label="${escaped(title)}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<desc>${escaped(inWords(description))}</desc>`,
    `<style>${statechartStyle}</style>`,
    `<rect class="back" width="${width}" height="${height}"/>`,
    ...boxes.map((box) => drawBox(box, description)),
    ...starts.map(({ x, y }) => `<circle class="start" cx="${px(x)}" cy="${px(y)}" r="${measure.startSize / 2}"/>`),
    ...arrows.map(drawArrow),
    // After all arrows, so that none crosses a label.
    ...arrows.flatMap(({ label, edges }) => (label ? drawLabel(label, edges) : [])),
    '</svg>',
    '',
  ].join('\n')
}

/** For a page whose policy allows no style within a drawing: it has {@link statechartStyle} beside it. */
export const withoutStyle = (svg: string) => svg.replace(`<style>${statechartStyle}</style>\n`, '')

/** The whole chart for those who cannot see it. */
function inWords(description: MachineDescription): string {
  const { nodes, edges } = description
  const key = (id: string) => nodes.find((node) => node.id === id)!.key
  const sentences = nodes.flatMap((node) => {
    const ways = edges
      .filter(({ source, targets }) => source === node.id && targets.length > 0)
      .map((edge) => `${edgeText(description, edge)} to ${edge.targets.map(key).join(' and ')}`)
    const begins = node.initial ? [`begins in ${key(node.initial.target)}`] : []
    const facts = [...begins, ...ways]
    return facts.length > 0 ? [`${node.key}: ${facts.join('; ')}.`] : []
  })
  return sentences.join(' ')
}

function drawBox(box: Box, { nodes }: MachineDescription): string {
  const node = nodes.find(({ id }) => id === box.id)!
  const group = nodes.some(({ parent }) => parent === box.id)
  const radius = node.type === 'history' ? box.height / 2 : 7
  return [
    `<g class="state ${node.type}${group ? ' group' : ''}" data-state="${escaped(box.id)}">`,
    rectangle(box, radius),
    node.type === 'final' ? rectangle(inset(box, 3), radius - 2.5) : '',
    ...box.lines.map((line, index) => {
      if (index === 0) return drawTitle(box, node, line, group)
      return drawLine(box.x + measure.inset, box.y + measure.titleFoot + 1 + index * measure.lineHeight, line)
    }),
    '</g>',
  ].join('')
}

function drawTitle(box: Box, node: NodeDescription, line: TextLine, group: boolean): string {
  const left = group ? box.x + measure.inset : box.x + (box.width - lineWidth(line)) / 2
  const alone = box.lines.length === 1 && !group
  const foot = alone || node.type === 'history' ? box.y + box.height / 2 + 5 : box.y + measure.titleFoot
  return drawLine(left, foot, line)
}

function drawArrow({ points, kind, edges }: Arrow): string {
  return `<g class="arrow ${kind}"${edgesAttribute(edges)}><path class="shaft" d="${shaft(points)}"/><path class="head" d="${head(points)}"/></g>`
}

function drawLabel(label: Label, edges: readonly string[]): string {
  const lines = label.lines.map((line, index) =>
    drawLine(label.x + measure.labelInset, label.y + 13 + index * measure.lineHeight, line),
  )
  return `<g class="label"${edgesAttribute(edges)}>${rectangle(label, 3)}${lines.join('')}</g>`
}

function drawLine(x: number, y: number, line: TextLine): string {
  const left = line.continued ? x + measure.indent : x
  const edge = line.style.startsWith('onward') || line.style === 'stays' ? edgesAttribute([line.edge!]) : ''
  return `<text class="${line.style}"${edge} x="${px(left)}" y="${px(y)}" textLength="${px(lineWidth(line))}" lengthAdjust="spacingAndGlyphs">${escaped(line.text)}</text>`
}

/** A line through the points with its corners rounded. */
function shaft(points: readonly Point[]): string {
  const corners = points.slice(1, -1).map((corner, index) => {
    const before = towards(corner, points[index]!)
    const after = towards(corner, points[index + 2]!)
    return `L${at(before)}Q${at(corner)} ${at(after)}`
  })
  return `M${at(points[0]!)}${corners.join('')}L${at(points.at(-1)!)}`
}

function towards(from: Point, to: Point): Point {
  const distance = Math.hypot(to.x - from.x, to.y - from.y)
  const share = distance === 0 ? 0 : Math.min(6, distance / 2) / distance
  return { x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share }
}

// A path and not a marker: `context-stroke`, by which a marker takes the colour of its line, is too new for some.
function head(points: readonly Point[]): string {
  const [tail, tip] = [points.at(-2)!, points.at(-1)!]
  const distance = Math.hypot(tip.x - tail.x, tip.y - tail.y)
  const [x, y] = distance === 0 ? [0, 1] : [(tip.x - tail.x) / distance, (tip.y - tail.y) / distance]
  const wing = (side: number) => at({ x: tip.x - 8 * x - side * 4 * y, y: tip.y - 8 * y + side * 4 * x })
  return `M${at(tip)}L${wing(1)}L${wing(-1)}Z`
}

function rectangle({ x, y, width, height }: Omit<Label, 'lines'>, radius: number): string {
  return `<rect x="${px(x)}" y="${px(y)}" width="${px(width)}" height="${px(height)}" rx="${px(radius)}"/>`
}

const inset = ({ x, y, width, height }: Box, by: number) => ({
  x: x + by,
  y: y + by,
  width: width - 2 * by,
  height: height - 2 * by,
})

const edgesAttribute = (edges: readonly string[]) =>
  edges.length > 0 ? ` data-edges="${escaped(edges.map(withoutBlanks).join(' '))}"` : ''

/** A state may have any name, and it is part of the ids of its transitions. */
const withoutBlanks = (id: string) => id.replaceAll('%', '%25').replaceAll(' ', '%20')

/** The ids in a `data-edges`. */
export const edgeIds = (attribute: string) => attribute.split(' ').map(decodeURIComponent)

const at = ({ x, y }: Point) => `${px(x)} ${px(y)}`

const px = (value: number) => String(Math.round(value * 10) / 10)

/** XML cannot hold most control characters and half surrogates, not even by reference; they become U+FFFD. */
const escaped = (text: string) =>
  text
    .replace(/[&<>"\t\n\r]/g, (character) => `&#${character.charCodeAt(0)};`)
    .replace(/[^\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
