import { printable } from '../printable.ts'
import { bytesText } from './text.ts'

export interface ProgressShown {
  readonly data: Readonly<Record<string, unknown>>
  readonly text: string
  readonly isNewPhase: boolean
}

const betweenMs = 100
const barCells = 20

/** One line at the foot of a terminal. It is the only one who knows whether something is drawn there. */
export class ProgressLine {
  private drawn = false
  private phase: string | undefined
  private shownAt = 0
  private text = ''

  constructor(private readonly stream: NodeJS.WriteStream) {}

  /** Takes a piece of news; undefined where it came too soon after the last one to be worth showing. */
  take(about: string, data: unknown): ProgressShown | undefined {
    if (typeof data !== 'object' || data === null) return undefined
    // It is only shown, so what is of no use for that is passed over.
    const { phase, message, bytes, total, bytesPerSecond } = readable({ ...data })
    const now = performance.now()
    const key = `${about} ${phase ?? message}`
    const isNewPhase = key !== this.phase
    if (!isNewPhase && now - this.shownAt < betweenMs) return undefined
    this.phase = key
    this.shownAt = now
    const heading = printable(`${about}: ${message ?? phase ?? 'working'}`)
    this.text = bytes === undefined ? heading : `${heading}  ${amountText(bytes, total || null, bytesPerSecond ?? 0)}`
    return { data: { ...data }, text: heading, isNewPhase }
  }

  draw(): void {
    const columns = this.stream.columns || 80
    this.stream.write(`\r\u001b[K${this.text.slice(0, columns - 1)}`)
    this.drawn = true
  }

  clear(): void {
    if (!this.drawn) return
    this.stream.write('\r\u001b[K')
    this.drawn = false
  }
}

function readable(data: Record<string, unknown>) {
  const text = (name: string) => (typeof data[name] === 'string' ? data[name] : undefined)
  const amount = (name: string) => (typeof data[name] === 'number' && data[name] >= 0 ? data[name] : undefined)
  return {
    phase: text('phase'),
    message: text('message'),
    bytes: amount('bytes'),
    total: amount('total'),
    bytesPerSecond: amount('bytesPerSecond'),
  }
}

function amountText(bytes: number, total: number | null, bytesPerSecond: number): string {
  const speed = bytesPerSecond > 0 ? `  ${bytesText(bytesPerSecond)}/s` : ''
  if (total === null) return `${bytesText(bytes)}${speed}`
  const full = Math.round(Math.min(1, bytes / total) * barCells)
  return `[${'#'.repeat(full)}${'.'.repeat(barCells - full)}] ${bytesText(bytes)} of ${bytesText(total)}${speed}`
}
