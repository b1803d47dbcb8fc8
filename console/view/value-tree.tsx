/** Plain data as it is, to be opened branch by branch. All of it is text. */
export function ValueTree({ value, name, open = true }: { value: unknown; name?: string | undefined; open?: boolean }) {
  if (typeof value !== 'object' || value === null)
    return (
      <div class="leaf">
        {name !== undefined && <span class="key">{name}</span>}
        <Scalar value={value} />
      </div>
    )
  const entries = Object.entries(value)
  const isList = Array.isArray(value)
  if (entries.length === 0)
    return (
      <div class="leaf">
        {name !== undefined && <span class="key">{name}</span>}
        <span class="quiet">{isList ? '[]' : '{}'}</span>
      </div>
    )
  const branches = entries
    .slice(0, shownMax)
    .map(([key, inner]) => <ValueTree key={key} name={key} value={inner} open={false} />)
  if (name === undefined) return <div class="tree">{branches}</div>
  return (
    <details class="branch" open={open}>
      <summary>
        <span class="key">{name}</span>
        <span class="quiet">{isList ? `[${entries.length}]` : preview(entries)}</span>
      </summary>
      <div class="tree">
        {branches}
        {entries.length > shownMax && <div class="quiet">… {entries.length - shownMax} more</div>}
      </div>
    </details>
  )
}

const shownMax = 200
const textMax = 4000

/** Null, and words that could be taken for something else, are told apart from text by their style. */
export function Scalar({ value }: { readonly value: unknown }) {
  if (value === undefined) return <span class="quiet">nothing</span>
  if (typeof value === 'string')
    return <span class="text">{value.length > textMax ? `${value.slice(0, textMax)} …` : value || '""'}</span>
  return <span class="scalar">{String(value)}</span>
}

function preview(entries: readonly (readonly [string, unknown])[]): string {
  const names = entries.slice(0, 4).map(([key]) => key)
  return `{ ${names.join(', ')}${entries.length > 4 ? ', …' : ''} }`
}
