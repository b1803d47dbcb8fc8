export interface Difference {
  /** Such as `context.results[0].outcome`. */
  readonly path: string
  /** Absent where there was nothing. */
  readonly before?: unknown
  /** Absent where there is nothing any more. */
  readonly after?: unknown
}

/** More would help nobody. */
const differencesMax = 500

/** Where two pieces of plain data differ: the innermost places, at most 500 of them. */
export function differences(before: unknown, after: unknown): Difference[] {
  const found: Difference[] = []
  compare('', before, after, found)
  return found
}

function compare(path: string, before: unknown, after: unknown, found: Difference[]): void {
  if (Object.is(before, after) || found.length >= differencesMax) return
  const isInside = isContainer(before) && isContainer(after) && Array.isArray(before) === Array.isArray(after)
  if (!isInside) {
    found.push({ path, ...(before !== undefined && { before }), ...(after !== undefined && { after }) })
    return
  }
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)]))
    compare(inner(path, key, Array.isArray(after)), before[key], after[key], found)
}

const isContainer = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

function inner(path: string, key: string, isList: boolean): string {
  if (isList) return `${path}[${key}]`
  if (!/^[\w$-]+$/.test(key)) return `${path}[${JSON.stringify(key)}]`
  return path === '' ? key : `${path}.${key}`
}
