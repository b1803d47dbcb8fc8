export { stateText } from '../../src/cli/text.ts'
export { duration } from '../../src/diagram/duration.ts'

// As the command line writes it: it sorts as it reads, and is the same length for each.
const time = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' })
const day = new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', timeStyle: 'medium' })
const ago = new Intl.RelativeTimeFormat('en', { numeric: 'auto' })

export const timeText = (at: number) => time.format(at)
export const dayText = (at: number) => day.format(at)

const units = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const

/** `2 hours ago`, `in 3 days`. */
export function distanceText(at: number, now: number): string {
  const ms = at - now
  for (const [unit, size] of units) if (Math.abs(ms) >= size) return ago.format(Math.trunc(ms / size), unit)
  if (Math.abs(ms) < 10_000) return ms > 0 ? 'in a moment' : 'just now'
  return ago.format(Math.trunc(ms / 1000), 'second')
}

/** An event as a person reads it: `resolve done`, `fetch failed`, `cancel`. */
export function eventText(type: string): string {
  if (type === 'xstate.init') return 'begins'
  const [, kind, id] = /^xstate\.(done|error)\.actor\.(.+)$/.exec(type) ?? []
  if (id !== undefined) return `${id} ${kind === 'done' ? 'done' : 'failed'}`
  const [, delay] = /^xstate\.after\.([^.]+)/.exec(type) ?? []
  return delay === undefined ? type.replace(/^xstate\./, '') : `after ${delay}${/^\d+$/.test(delay) ? ' ms' : ''}`
}

/** What there is of `parts`, each as a sentence: a reason ends without a full stop. */
export function sentences(...parts: readonly (string | false | null | undefined)[]): string {
  const said = parts.filter((part): part is string => typeof part === 'string' && part !== '')
  return said.map((part) => (/[.!?]$/.test(part) ? part : `${part}.`)).join(' ')
}

/** Why something did not go as wanted: `the registry has no tint@9 [VERSION_NOT_FOUND]`. */
export function reasonText({
  reason,
  code,
}: {
  readonly reason?: string | undefined
  readonly code?: string | undefined
}): string {
  return [reason, code && `[${code}]`].filter(Boolean).join(' ')
}

/** `app-upgrade` as `App upgrade`. */
export function titleText(name: string): string {
  const words = name.replaceAll('-', ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
