import { printable } from '../printable.ts'

/** Columns wide enough for their cells, two blanks apart. Nothing for no rows. */
export function table(heads: readonly string[], rows: readonly (readonly unknown[])[]): string {
  if (rows.length === 0) return ''
  const cells = [heads, ...rows.map((row) => row.map((cell) => oneLine(cell)))]
  const widths = heads.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)))
  const lines = cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  )
  return `${lines.join('\n')}\n`
}

/** A name for each line, and what belongs to it. Entries without a value are left out. */
export function listing(entries: readonly (readonly [name: string, value: unknown])[]): string {
  const shown = entries.filter(([, value]) => value !== undefined)
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${oneLine(value)}\n`).join('')
}

function oneLine(value: unknown): string {
  if (value === null || value === undefined || value === '') return '-'
  return printable(typeof value === 'string' ? value : JSON.stringify(value)).replace(/\s+/g, ' ')
}

/** Local time to the second, which sorts as it reads. */
export function clock(at: number): string {
  const date = new Date(at)
  const two = (number: number) => String(number).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}

export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB']
  const unit = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  const amount = bytes / 1000 ** unit
  return `${unit === 0 ? amount : amount.toFixed(1)} ${units[unit]}`
}

/** A statechart's value in one line: `a`, `a.b`, `a + b.c` for regions side by side. */
export function stateText(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value !== 'object' || value === null) return '-'
  return Object.entries(value)
    .map(([name, inner]) => (isEmpty(inner) ? name : `${name}.${stateText(inner)}`))
    .join(' + ')
}

const isEmpty = (value: unknown) => typeof value === 'object' && value !== null && Object.keys(value).length === 0
