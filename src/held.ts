/**
 * Keeps this process alive until `work` is done. For whoever waits for something that does not do so itself, such as the
 * end of a child that may outlive us: Node would end with code 13 in the middle of the wait.
 */
export async function held<T>(work: Promise<T>): Promise<T> {
  hold ??= setInterval(() => {}, 2 ** 31 - 1)
  waiting += 1
  if (waiting === 1) hold.ref()
  try {
    return await work
  } finally {
    waiting -= 1
    if (waiting === 0) hold.unref()
  }
}

// One for all, because this is on the way of every keystroke.
let hold: NodeJS.Timeout | undefined
let waiting = 0
