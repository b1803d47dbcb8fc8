const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
] as const

/** Milliseconds as a person says them: `500 ms`, `1.5 s`, `1 min 30 s`, `2 h`. At most two units; nothing is rounded away. */
export function duration(ms: number): string {
  if (ms < 1000) return `${ms} ms`
  if (ms < 60_000) return `${ms / 1000} s`
  const parts: string[] = []
  let rest = ms
  for (const [name, size] of units) {
    const count = name === 's' ? rest / 1000 : Math.floor(rest / size)
    if (count > 0) parts.push(`${count} ${name}`)
    rest -= Math.floor(rest / size) * size
  }
  return parts.join(' ')
}
