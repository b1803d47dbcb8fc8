/**
 * Keeps this process alive until `work` is done. For whoever waits for something that does not do so itself, such as the
 * end of a child that may outlive us: Node would end with code 13 in the middle of the wait.
 *
 * @param signal What the work can be cancelled by. Where it is {@link unattended}, nobody waits, and nothing is kept alive.
 */
export async function held<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (isUnattended(signal)) return work
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

/** Says of what is done under this signal that nobody waits for it. */
export function unattended(signal: AbortSignal): AbortSignal {
  idle.add(signal)
  return signal
}

export function isUnattended(signal: AbortSignal | undefined): boolean {
  return signal !== undefined && idle.has(signal)
}

const idle = new WeakSet<AbortSignal>()
