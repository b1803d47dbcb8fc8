/** Two lists in the order of their numbers as one, each number once. What follows what is there already costs the least. */
export function merged<Item extends { readonly seq: number }>(
  known: readonly Item[],
  added: readonly Item[],
): readonly Item[] {
  if (added.length === 0) return known
  const last = known.at(-1)?.seq ?? 0
  const isAfter = added.every(({ seq }, index) => seq > (index === 0 ? last : added[index - 1]!.seq))
  if (isAfter) return [...known, ...added]
  const bySeq = new Map([...known, ...added].map((item) => [item.seq, item]))
  return [...bySeq.values()].sort((one, other) => one.seq - other.seq)
}
