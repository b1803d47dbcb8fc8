/** What a script on a target has printed, as `remote-scripts.ts` says it: keys with their values, in order. */
export class Answer {
  constructor(
    private readonly items: readonly (readonly [key: string, value: string])[],
    readonly isWhole: boolean,
    /** What kept it from going on. */
    readonly failure: string | null,
    /** With what `split` began this part. */
    readonly value = '',
  ) {}

  one(key: string): string | undefined {
    return this.items.find(([name]) => name === key)?.[1]
  }

  all(key: string): string[] {
    return this.items.flatMap(([name, value]) => (name === key ? [value] : []))
  }

  /** The parts that begin with this key; before the first of them, what comes before it, if there is anything. */
  split(key: string): Answer[] {
    const parts: { value: string; items: (readonly [string, string])[] }[] = [{ value: '', items: [] }]
    for (const item of this.items)
      if (item[0] === key) parts.push({ value: item[1], items: [] })
      else parts.at(-1)!.items.push(item)
    return parts.map(({ value, items }) => new Answer(items, this.isWhole, this.failure, value))
  }
}

/** Null where the script never began: then whatever leads to the target has something to say instead. */
export function readAnswer(bytes: Buffer): Answer | null {
  const begin = beginsAt(bytes)
  if (begin === -1) return null
  const items: (readonly [string, string])[] = []
  for (let at = begin; ; ) {
    const lineEnd = bytes.indexOf(newline, at)
    if (lineEnd === -1) return new Answer(items, false, null)
    const line = bytes.toString('utf8', at, lineEnd)
    if (line === 'end') return new Answer(items, true, null)
    at = lineEnd + 1
    const space = line.indexOf(' ')
    const [key, value] = space === -1 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)]
    if (key === 'fail') return new Answer(items, false, value)
    if (!key.endsWith(':')) {
      items.push([key, value])
      continue
    }
    const length = /^\d{1,8}$/.test(value) ? Number(value) : Number.POSITIVE_INFINITY
    if (bytes[at + length] !== newline) return new Answer(items, false, null)
    items.push([key, bytes.toString('utf8', at, at + length)])
    at += length + 1
  }
}

const newline = 0x0a
const head = 'instar 1\n'

function beginsAt(bytes: Buffer): number {
  if (bytes.subarray(0, head.length).equals(Buffer.from(head))) return head.length
  const at = bytes.indexOf(`\n${head}`)
  return at === -1 ? -1 : at + 1 + head.length
}
