/**
 * Waits. Rejects with the signal's own reason, which says why the wait ended (Node's timers wrap it in another error).
 *
 * @param background Does not keep the process alive.
 */
export function pause(ms: number, signal?: AbortSignal, background = false): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const done = () => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }
    const abort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(done, ms)
    if (background) timer.unref()
    signal?.addEventListener('abort', abort, { once: true })
  })
}

/** Follows `promise` until the signal says that nobody waits for it any more; what becomes of it then is nobody's concern. */
export function abortable<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return promise
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    // In any case: a failure that nobody hears of would end the process.
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** Two turns of the event loop, between which it looks for input: what has come meanwhile is seen to first. */
export async function letOthersIn(): Promise<void> {
  for (let turn = 0; turn < 2; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve))
}
