import { InstarError } from '../errors.ts'

/** The error that an operation ends with when its caller gave up on it. The caller's own reason is its cause. */
export function abortedError(signal: AbortSignal): InstarError {
  return new InstarError('ABORTED', 'the operation was cancelled', { cause: signal.reason })
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortedError(signal)
}
