import type { ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect, useReducer, useRef } from 'preact/hooks'

interface VirtualListProps<Item> {
  readonly label: string
  readonly items: readonly Item[]
  /** Pixels; the same for each. */
  readonly rowHeight: number
  /** Place of the selected one, -1 for none. */
  readonly selected: number
  /** Stay at the end as items come. */
  readonly follows: boolean
  keyOf(item: Item): string | number
  draw(item: Item): ComponentChildren
  onSelect(index: number): void
  /** The reader has scrolled away from the end that was followed. */
  onLeave(): void
}

/** Rows kept ready beyond what is seen. */
const margin = 4

/** In pixels. */
interface Seen {
  /** Where the list stands, or is just to stand. */
  top: number
  height: number
  /** What it was last moved for. */
  shows: string
  /** The frame that has it scrolled there. */
  move: number | null
  /** Where the last move has ended. */
  movedTo: number
  /** The reader has just scrolled away from the end: what is selected by that is not brought back into view. */
  isLeft: boolean
}

interface Row<Item> {
  readonly item: Item
  readonly index: number
  readonly isSelected: boolean
  readonly setSize: number
}

const isShallowEqual = <Shape extends object>(one: Shape, other: Shape) =>
  Object.entries(one).every(([name, value]) => value === other[name as keyof Shape])

/** As it stands where the row is in view; otherwise with the row in the middle, so that the next ones are, too. */
function topShowing(rowTop: number, rowHeight: number, { top, height }: Seen): number {
  if (rowTop >= top && rowTop + rowHeight <= top + height) return top
  return Math.max(0, rowTop - Math.floor((height - rowHeight) / 2))
}

/**
 * A list of any length, of which only what is seen is in the document. One stop of the Tab key; arrows, Page Up and Down,
 * Home and End move the selection. What reads the page aloud is told the whole length and each row's place.
 */
export function VirtualList<Item>(props: VirtualListProps<Item>) {
  const { label, items, rowHeight, selected, follows, keyOf, draw, onSelect, onLeave } = props
  const box = useRef<HTMLDivElement>(null)
  const seen = useRef<Seen>({ top: 0, height: 600, shows: '', move: null, movedTo: 0, isLeft: false }).current
  const drawn = useRef(new Map<string | number, { readonly row: Row<Item>; readonly node: ComponentChildren }>())
  const [, redraw] = useReducer((count: number, _: unknown) => count + 1, 0)

  /** Takes over where the browser has the list, unless it is just to be moved. */
  const look = () => {
    if (box.current === null) return // it is told of a scroll after it has gone
    const { scrollTop, clientHeight: height } = box.current
    const top = seen.move === null ? scrollTop : seen.top
    const isNew = top !== seen.top || height !== seen.height
    Object.assign(seen, { top, height })
    if (isNew) redraw(null)
  }
  useEffect(() => {
    const observer = new ResizeObserver(look)
    observer.observe(box.current!)
    return () => {
      observer.disconnect()
      if (seen.move !== null) cancelAnimationFrame(seen.move)
    }
  }, [])

  // What is selected is in view, or the end is where the reader follows it: drawn there at once, not when the browser tells
  // that it has scrolled. A reader who scrolls away from what is selected is let go.
  const shows = follows ? `the end ${items.length} ${seen.height}` : `row ${selected}`
  const stands = seen.top
  if (seen.shows !== shows) {
    seen.shows = shows
    if (follows) seen.top = Math.max(0, items.length * rowHeight - seen.height)
    else if (selected >= 0 && !seen.isLeft) seen.top = topShowing(selected * rowHeight, rowHeight, seen)
    seen.isLeft = false
  }
  useLayoutEffect(() => {
    if (seen.top === stands || seen.move !== null) return
    // Once for all that is drawn before it is seen: to scroll has the browser lay out the page.
    seen.move = requestAnimationFrame(() => {
      seen.move = null
      box.current!.scrollTop = seen.top
      seen.movedTo = box.current!.scrollTop
    })
  })

  const first = Math.max(0, Math.floor(seen.top / rowHeight) - margin)
  const last = Math.min(items.length, Math.ceil((seen.top + seen.height) / rowHeight) + margin)
  const page = Math.max(1, Math.floor(seen.height / rowHeight) - 1)

  const onScroll = ({ currentTarget: { scrollTop, scrollHeight } }: { readonly currentTarget: HTMLElement }) => {
    look()
    // Told of a move of our own, which the end may have left behind meanwhile.
    if (scrollTop === seen.movedTo) return
    const isAtEnd = seen.top + seen.height >= scrollHeight - rowHeight
    if (isAtEnd || !follows || scrollHeight < items.length * rowHeight) return
    seen.isLeft = true
    onLeave()
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const at = selected < 0 ? items.length : selected
    const steps: Partial<Record<string, number>> = {
      ArrowUp: at - 1,
      ArrowDown: at + 1,
      PageUp: at - page,
      PageDown: at + page,
      Home: 0,
      End: items.length - 1,
    }
    const wanted = steps[event.key]
    if (wanted === undefined || items.length === 0) return
    event.preventDefault()
    onSelect(Math.min(items.length - 1, Math.max(0, wanted)))
  }
  const idOf = (index: number) => `row-${keyOf(items[index]!)}`
  /** One that is as it was is not looked at again. */
  const rows = () => {
    const before = drawn.current
    drawn.current = new Map()
    return items.slice(first, last).map((item, offset) => {
      const index = first + offset
      const key = keyOf(item)
      const row = { item, index, isSelected: index === selected, setSize: items.length }
      const known = before.get(key)
      const isAsItWas = known !== undefined && isShallowEqual(known.row, row)
      const node = isAsItWas ? known.node : rowOf(row)
      drawn.current.set(key, { row, node })
      return node
    })
  }
  const rowOf = ({ item, index, isSelected, setSize }: Row<Item>) => (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the list takes the keys
    // biome-ignore lint/a11y/useFocusableInteractive: it is the list's active descendant
    <div
      key={keyOf(item)}
      id={idOf(index)}
      role="option"
      class="virtual-row"
      aria-selected={isSelected}
      aria-posinset={index + 1}
      aria-setsize={setSize}
      style={{ transform: `translateY(${index * rowHeight}px)`, height: `${rowHeight}px` }}
      onClick={() => onSelect(index)}
    >
      {draw(item)}
    </div>
  )
  const isSelectedDrawn = selected >= first && selected < last
  return (
    <div
      ref={box}
      class="virtual-list"
      role="listbox"
      tabIndex={0}
      aria-label={label}
      aria-activedescendant={isSelectedDrawn ? idOf(selected) : undefined}
      onScroll={onScroll}
      onKeyDown={onKeyDown}
    >
      <div class="virtual-space" role="presentation" style={{ height: `${items.length * rowHeight}px` }}>
        {rows()}
      </div>
    </div>
  )
}
