import { InstarError } from '../errors.ts'
import { held } from '../held.ts'
import type { Change, Interpreter } from './interpreter.ts'
import type { RunState } from './run.ts'

export interface Awaiting {
  /** Aborted, nobody waits any more; the run goes on. */
  readonly signal?: AbortSignal | undefined
  /** What the run's effects report meanwhile. */
  readonly onProgress?: ((progress: unknown) => void) | undefined
}

/**
 * The first state of a run for which `holds`, from the last one on. The process lives until then, unless it waits under a
 * signal that is `unattended`: what an effect asks of a registry would not keep it.
 *
 * @throws {InstarError} `ABORTED`; what ends the interpreter; and nothing else: a run that ends without `holds` is waited
 *   for in vain, so `holds` should mind its status.
 */
export function until(
  interpreter: Interpreter,
  run: string,
  holds: (state: RunState) => boolean | undefined,
  { signal, onProgress }: Awaiting = {},
): Promise<RunState> {
  const found = new Promise<RunState>((resolve, reject) => {
    const over = new AbortController()
    const finish = (settle: () => void) => {
      over.abort()
      unsubscribe()
      signal?.removeEventListener('abort', abort)
      settle()
    }
    const abort = () => finish(() => reject(aborted(signal!)))
    const look = (state: RunState | undefined) => {
      if (state !== undefined && holds(state)) finish(() => resolve(state))
    }
    const unsubscribe = interpreter.subscribe((change: Change) => {
      if (change.type === 'record' && change.record.run === run) look(change.state)
      if (change.type === 'progress' && change.run === run) onProgress?.(change.data)
    })
    // Also rejects when the interpreter dies or closes, which no change would tell.
    interpreter.ended(run, { signal: over.signal }).then(look, (error) => finish(() => reject(error)))
    signal?.addEventListener('abort', abort)
    if (signal?.aborted) abort()
    else look(interpreter.get(run))
  })
  return held(found, signal)
}

export function aborted({ reason }: AbortSignal): Error {
  return new InstarError('ABORTED', 'the operation was cancelled', { cause: reason })
}
