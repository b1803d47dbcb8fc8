import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { edgeIds, statechartStyle } from '../../src/diagram/svg.ts'
import type { Failed, MachineTold } from '../model/contract.ts'
import { drawingOf } from '../model/machines.ts'
import { Failure, Loading } from './parts.tsx'

export type Chosen = { readonly state: string } | { readonly edges: readonly string[] }

interface ChartProps {
  readonly machine: MachineTold
  /** Ids of states that are lit. */
  readonly active: ReadonlySet<string>
  /** Ids of transitions that were just taken. */
  readonly taken?: ReadonlySet<string>
  readonly chosen?: Chosen | null
  onChoose?(chosen: Chosen): void
}

/**
 * A machine's drawing with its active states lit. What can be clicked in it can also be reached by `ChartList`, which
 * says the same in words: to what reads the page aloud this is a picture.
 */
export function Chart({ machine, active, taken = none, chosen = null, onChoose }: ChartProps) {
  const place = useRef<HTMLDivElement>(null)
  const drawing = useSignal<SVGSVGElement | null>(null)
  const failure = useSignal<Failed | null>(null)

  useEffect(() => {
    let isOver = false
    drawing.value = null
    failure.value = null
    drawingOf(machine).then(
      (svg) => {
        if (isOver) return
        place.current?.replaceChildren(svg)
        drawing.value = svg
      },
      (error) => {
        if (!isOver) failure.value = error as Failed
      },
    )
    return () => {
      isOver = true
    }
  }, [machine])

  useEffect(() => {
    const svg = drawing.value
    if (svg === null) return
    for (const element of svg.querySelectorAll('[data-state]')) {
      const id = element.getAttribute('data-state')!
      element.classList.toggle('active', active.has(id))
      element.classList.toggle('chosen', chosen !== null && 'state' in chosen && chosen.state === id)
    }
    for (const element of svg.querySelectorAll('[data-edges]')) {
      const ids = edgeIds(element.getAttribute('data-edges')!)
      element.classList.toggle(
        'taken',
        ids.some((id) => taken.has(id)),
      )
      const isChosen = chosen !== null && 'edges' in chosen && ids.some((id) => chosen.edges.includes(id))
      element.classList.toggle('chosen', isChosen)
    }
    const leaves = machine.definition.nodes.filter(({ id, parent }) => parent !== null && active.has(id))
    const now = leaves.length === 0 ? '' : `. Active: ${leaves.map(({ key }) => key).join(', ')}`
    svg.setAttribute('aria-label', `Statechart of ${machine.name}${now}`)
  }, [drawing.value, active, taken, chosen])

  const onClick = (event: MouseEvent) => {
    const target = event.target as Element
    const edges = target.closest('[data-edges]')?.getAttribute('data-edges')
    if (edges) return onChoose?.({ edges: edgeIds(edges) })
    const state = target.closest('[data-state]')?.getAttribute('data-state')
    if (state) onChoose?.({ state })
  }
  return (
    <div class="chart">
      {failure.value !== null && <Failure what="There is no drawing;" failure={failure.value} />}
      {drawing.value === null && failure.value === null && <Loading what="the drawing" />}
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: the list beside it is for the keyboard */}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: where it is wider than the page, it is moved sideways */}
      <section class="drawing" ref={place} tabIndex={0} aria-label={`Drawing of ${machine.name}`} onClick={onClick} />
    </div>
  )
}

// The drawings' own style sheet, which a page cannot have within them.
const sheet = new CSSStyleSheet()
sheet.replaceSync(statechartStyle)
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet]

const none: ReadonlySet<string> = new Set()
