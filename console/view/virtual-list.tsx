import type { ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'

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
  /** The reader has scrolled away from the end, or back to it. */
  onFollow(follows: boolean): void
}

/** Rows kept ready beyond what is seen. */
const margin = 8

/**
 * A list of any length, of which only what is seen is in the document. One stop of the Tab key; arrows, Page Up and Down,
 * Home and End move the selection. What reads the page aloud is told the whole length and each row's place.
 */
export function VirtualList<Item>(props: VirtualListProps<Item>) {
  const { label, items, rowHeight, selected, follows, keyOf, draw, onSelect, onFollow } = props
  const box = useRef<HTMLDivElement>(null)
  const [seen, setSeen] = useState({ top: 0, height: 600 })

  useEffect(() => {
    const element = box.current!
    const observer = new ResizeObserver(() => setSeen({ top: element.scrollTop, height: element.clientHeight }))
    observer.observe(element)
    return () => observer.disconnect()
  }, [])

  // After the rows are there: what is selected is in view, or the end is where the reader follows it.
  useLayoutEffect(() => {
    const element = box.current!
    if (follows) element.scrollTop = items.length * rowHeight
    else if (selected >= 0) {
      const top = selected * rowHeight
      if (top < element.scrollTop) element.scrollTop = top
      else if (top + rowHeight > element.scrollTop + element.clientHeight)
        element.scrollTop = top + rowHeight - element.clientHeight
    }
  }, [items.length, selected, follows])

  const first = Math.max(0, Math.floor(seen.top / rowHeight) - margin)
  const last = Math.min(items.length, Math.ceil((seen.top + seen.height) / rowHeight) + margin)
  const page = Math.max(1, Math.floor(seen.height / rowHeight) - 1)

  const onScroll = () => {
    const { scrollTop: top, clientHeight: height, scrollHeight } = box.current!
    setSeen({ top, height })
    const isAtEnd = top + height >= scrollHeight - rowHeight
    if (!isAtEnd && follows && scrollHeight >= items.length * rowHeight) onFollow(false)
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
        {items.slice(first, last).map((item, offset) => {
          const index = first + offset
          return (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the list takes the keys
            // biome-ignore lint/a11y/useFocusableInteractive: it is the list's active descendant
            <div
              key={keyOf(item)}
              id={idOf(index)}
              role="option"
              class="virtual-row"
              aria-selected={index === selected}
              aria-posinset={index + 1}
              aria-setsize={items.length}
              style={{ transform: `translateY(${index * rowHeight}px)`, height: `${rowHeight}px` }}
              onClick={() => onSelect(index)}
            >
              {draw(item)}
            </div>
          )
        })}
      </div>
    </div>
  )
}
