import { readFile } from 'node:fs/promises'
import elkjs from 'elkjs/lib/elk.bundled.js'
import { beforeAll, describe, expect, test } from 'vitest'
import { type AnyStateMachine, createMachine } from 'xstate'
import { machines } from '../../machines/index.ts'
import { lineWidth, measure } from '../../src/diagram/content.ts'
import { describeMachine } from '../../src/diagram/describe.ts'
import type { LaidOut, Point, Rectangle } from '../../src/diagram/laid-out.ts'
import { layout } from '../../src/diagram/layout.ts'
import { toMermaid } from '../../src/diagram/mermaid.ts'
import type { LayoutEngine } from '../../src/diagram/place.ts'
import { edgeIds, toSvg } from '../../src/diagram/svg.ts'
import { everything } from './fixture.ts'

// A CommonJS class whose types say that it is a module.
const Elk = elkjs as unknown as new () => LayoutEngine
const engine = () => new Elk()
const draw = (machine: AnyStateMachine) => layout(describeMachine(machine), engine())

/** States in a ring, each of which also knows the way to the first one and to one across. */
function ring(count: number): AnyStateMachine {
  const names = Array.from({ length: count }, (_, index) => `s${index}`)
  const states = names.map((name, index) => {
    const on = { next: names[(index + 1) % count], back: 's0', skip: names[(index * 5) % count] }
    return [name, { on }]
  })
  return createMachine({ id: 'm', initial: 's0', states: Object.fromEntries(states) } as never)
}

const overlap = (one: Rectangle, other: Rectangle) =>
  Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x) > 1 &&
  Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y) > 1

const segments = (points: readonly Point[]) =>
  points.slice(1).map(({ x, y }, index): Rectangle => {
    const from = points[index]!
    return { x: Math.min(x, from.x), y: Math.min(y, from.y), width: Math.abs(x - from.x), height: Math.abs(y - from.y) }
  })

const grown = ({ x, y, width, height }: Rectangle, by: number) => ({
  x: x - by,
  y: y - by,
  width: width + 2 * by,
  height: height + 2 * by,
})

// Laying out takes seconds, so each machine is drawn once.
const drawings = new Map<string, LaidOut>()

beforeAll(async () => {
  for (const [name, machine] of Object.entries({ everything, ...machines })) drawings.set(name, await draw(machine))
}, 180_000)

describe.each(Object.entries({ everything, ...machines }))('the drawing of %s', (name, machine) => {
  const description = describeMachine(machine)
  const isGroup = (id: string) => description.nodes.some(({ parent }) => parent === id)
  let drawing: LaidOut

  beforeAll(() => {
    drawing = drawings.get(name)!
  })

  test('fits a page', () => {
    expect(drawing.width).toBeLessThanOrEqual(900)
  })

  test('has every state once and every transition at least once', () => {
    const svg = toSvg(drawing, { title: name })
    for (const { id, parent } of description.nodes.slice(1)) {
      expect(svg.split(`data-state="${id}"`), `${id} in ${parent}`).toHaveLength(2)
    }
    const told = new Set([...svg.matchAll(/data-edges="([^"]*)"/g)].flatMap(([, ids]) => edgeIds(ids!)))
    expect([...told].sort()).toEqual(description.edges.map(({ id }) => id).sort())
  })

  test('has no label over a box, over another label, or away from its arrow', () => {
    const labels = drawing.arrows.flatMap(({ label, points }) => (label ? [{ label, points }] : []))
    const leaves = drawing.boxes.filter(({ id }) => !isGroup(id))
    for (const { label, points } of labels) {
      const name = label.lines[0]!.text
      for (const box of leaves) expect(overlap(label, box), `${name} over ${box.id}`).toBe(false)
      for (const other of labels) {
        if (other.label !== label)
          expect(overlap(label, other.label), `${name} over ${other.label.lines[0]!.text}`).toBe(false)
      }
      expect(
        segments(points).some((segment) => overlap(grown(segment, 4), grown(label, 4))),
        name,
      ).toBe(true)
    }
  })

  test('leads no arrow through a box', () => {
    const leaves = drawing.boxes.filter(({ id }) => !isGroup(id))
    for (const { source, target, points } of drawing.arrows) {
      for (const box of leaves) {
        if (box.id === source || box.id === target) continue
        const crossed = segments(points).some((segment) => overlap(grown(segment, 1), box))
        expect(crossed, `${source} -> ${target} through ${box.id}`).toBe(false)
      }
    }
  })

  test('keeps every text inside its box', () => {
    for (const box of drawing.boxes) {
      for (const line of box.lines) {
        const left = line.continued ? measure.indent : 0
        const room =
          description.nodes.find(({ id }) => id === box.id)!.type === 'history'
            ? box.width
            : box.width - 2 * measure.inset
        expect(left + lineWidth(line), line.text).toBeLessThanOrEqual(room + 0.01)
      }
      if (!isGroup(box.id)) {
        expect(measure.titleFoot + (box.lines.length - 1) * measure.lineHeight).toBeLessThan(box.height)
      }
    }
  })
})

test.each(Object.entries(machines))(
  'the committed drawings of %s are current; else `npm run diagrams`',
  async (name, machine) => {
    const committed = (kind: string) => readFile(new URL(`../../diagrams/${name}.${kind}`, import.meta.url), 'utf8')
    const description = describeMachine(machine)
    expect(JSON.parse(await committed('json'))).toEqual(description)
    expect(await committed('mmd')).toBe(toMermaid(description))
    expect(await committed('svg')).toBe(toSvg(drawings.get(name)!, { title: `Statechart of ${name}` }))
  },
)

describe('a drawing', () => {
  test('is the same byte for byte, also with an engine that was used before', async () => {
    const used = engine()
    await layout(describeMachine(machines['runtime-adjust']), used)
    const description = describeMachine(ring(5))
    const [one, other] = [await layout(description, engine()), await layout(description, used)]
    expect(toSvg(one, { title: 'x' })).toBe(toSvg(other, { title: 'x' }))
  })

  test('writes into boxes only what can be spared: along arrows everything is still reached', async () => {
    const chain = Array.from({ length: 16 }, (_, index) => [
      `s${index}`,
      { on: { next: `s${index + 1}`, first: 's0' } },
    ])
    const states: Record<string, { on?: Record<string, string> }> = Object.fromEntries([...chain, ['s16', {}]])
    // The only way to `far` is long, since it stands beside the states to which it leads.
    states.s0!.on!.far = 'far'
    states.far = { on: { a: 's14', b: 's15', c: 's16' } }
    const { arrows, boxes } = await draw(createMachine({ id: 'm', initial: 's0', states } as never))
    const met = new Set(['m.s0'])
    // A set grows while it is walked.
    for (const id of met) for (const { source, target } of arrows) if (source === id) met.add(target)
    expect(met.size).toBe(18)
    const written = boxes.flatMap(({ lines }) => lines).filter(({ style }) => style.startsWith('onward'))
    expect(written.map(({ text }) => text)).toContain('first →\u00a0s0')
  })

  test('draws one arrow for all ways from one state to another', async () => {
    const on = { one: 'b', two: { target: 'b', guard: 'sure' }, three: 'a' }
    const { arrows } = await draw(createMachine({ id: 'm', initial: 'a', states: { a: { on }, b: {} } } as never))
    const ways = arrows.find(({ target }) => target === 'm.b')!
    expect(ways.edges).toEqual(['m.a:0', 'm.a:1'])
    expect(ways.label!.lines.map(({ text }) => text)).toEqual(['one', 'two', '[sure]'])
  })

  test('names a transition into two regions, drawn or written', async () => {
    const region = { initial: 'x', states: { x: {}, y: {} } }
    const on = { both: { target: ['#m.p.l.y', '#m.p.r.y'] } }
    const states = { a: { on }, p: { type: 'parallel', states: { l: region, r: region } } }
    const { arrows } = await draw(createMachine({ id: 'm', initial: 'a', states } as never))
    expect(arrows.filter(({ source }) => source === 'm.a').map(({ target }) => target)).toEqual(['m.p.l.y', 'm.p.r.y'])
  })

  test('of one state alone, and of a machine that acts as a whole, has a box for it', async () => {
    expect((await draw(createMachine({ id: 'm' }))).boxes.map(({ id }) => id)).toEqual(['m'])
    const whole = createMachine({ id: 'm', initial: 'a', on: { stop: '.b' }, states: { a: {}, b: {} } })
    expect((await draw(whole)).boxes.map(({ id }) => id)).toEqual(['m', 'm.a', 'm.b'])
  })

  test('holds hostile names as text', async () => {
    const key = '<script>alert("&")</script>\u0007\ud800'
    const machine = createMachine({
      id: 'm',
      initial: key,
      states: { [key]: { entry: key, on: { [key]: key } } },
    } as never)
    const svg = toSvg(await draw(machine), { title: key })
    expect(svg).not.toContain('<script')
    expect(svg).not.toMatch(/[^\n\u0020-\ud7ff\ue000-\ufffd]/)
    expect(svg.replaceAll(/<style>[^<]*<\/style>/g, '').replaceAll(/&#\d+;/g, '')).not.toContain('&')
    expect(svg).toContain('&#60;script&#62;alert(&#34;&#38;&#34;)&#60;/script&#62;\ufffd\ufffd')
  })

  test('says to those who cannot see it what it shows', async () => {
    const svg = toSvg(await draw(machines['runtime-adjust']), { title: 'Statechart of runtime-adjust' })
    expect(svg).toContain('role="img" aria-label="Statechart of runtime-adjust"')
    expect(svg).toContain(
      '<desc>runtime-adjust: begins in adjusting. adjusting: done / assign adjusted to adjusted; failed / assign failure to refused.</desc>',
    )
    expect(svg).toContain('@media (prefers-color-scheme:dark)')
  })
})

test('states may have any name: their transitions are known by their own', async () => {
  const states = { 'waiting for input': { on: { go: 'half 50%20 done' } }, 'half 50%20 done': {} }
  const machine = createMachine({ id: 'of a host', initial: 'waiting for input', states } as never)
  const svg = toSvg(await draw(machine), { title: 'any' })
  const told = [...svg.matchAll(/data-edges="([^"]*)"/g)].flatMap(([, ids]) => edgeIds(ids!))
  expect(new Set(told)).toEqual(new Set(describeMachine(machine).edges.map(({ id }) => id)))
})
