/**
 * The known word that `word` was most likely meant to be, or undefined where none is near. Counts insertions, deletions,
 * replacements and swaps of neighbours (optimal string alignment); letter case costs nothing.
 */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  // Longer input is not a slip of the finger, and the table below grows with its square.
  if (word.length > 64) return undefined
  let best: string | undefined
  let bestDistance = Math.max(1, Math.ceil(word.length * 0.4)) + 1
  for (const candidate of known) {
    const distance = distanceBetween(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** "; did you mean …?" or nothing, for the end of a message. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const near = nearest(word, known)
  return near === undefined ? '' : `; did you mean "${near}"?`
}

function distanceBetween(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const replaced = last[column - 1]! + (a[row - 1] === b[column - 1] ? 0 : 1)
      let cheapest = Math.min(replaced, last[column]! + 1, current[column - 1]! + 1)
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      if (swapped) cheapest = Math.min(cheapest, beforeLast[column - 2]! + 1)
      current.push(cheapest)
    }
    beforeLast = last
    last = current
  }
  return last[b.length]!
}
