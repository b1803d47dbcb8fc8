/**
 * Does `work` for each item, `count` at a time; the results are in the items' order. When it throws, nothing more is begun
 * and nothing is still going on that could work behind the back of a clean-up.
 */
export async function inParallel<Item, Result>(
  count: number,
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  const queue = items.entries()
  let hasFailed = false
  const worker = async () => {
    for (const [at, item] of queue) {
      if (hasFailed) return
      results[at] = await work(item).catch((error) => {
        hasFailed = true
        throw error
      })
    }
  }
  const workers = await Promise.allSettled(Array.from({ length: count }, worker))
  for (const ended of workers) if (ended.status === 'rejected') throw ended.reason
  return results
}
