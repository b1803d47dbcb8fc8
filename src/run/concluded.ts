import { isUnattended, unattended } from '../held.ts'
import { Detached, type Interpreter } from './interpreter.ts'
import type { RunState } from './run.ts'
import { type Awaiting, until } from './until.ts'

export interface Concluding extends Awaiting {
  /** Whether somebody else waits for it, too. Default: nobody does. */
  readonly isShared?: () => boolean
}

/**
 * A run that has ended. Whoever gives up waiting asks it to give up as well, and still waits for what it comes to then;
 * unless others want it, or the controller closes, which leaves it to the next one.
 *
 * @throws {InstarError} `ABORTED`; what ends the interpreter.
 */
export async function concluded(
  interpreter: Interpreter,
  run: string,
  { signal, onProgress, isShared = () => false }: Concluding,
): Promise<RunState> {
  const detached = new AbortController()
  if (isUnattended(signal)) unattended(detached.signal)
  const giveUp = () => {
    if (signal?.reason instanceof Detached || isShared()) detached.abort(signal?.reason)
    else void interpreter.send(run, { type: 'cancel' }).catch(() => {}) // it has ended, or cannot be cancelled
  }
  signal?.addEventListener('abort', giveUp, { once: true })
  if (signal?.aborted) giveUp()
  try {
    return await until(interpreter, run, ({ status }) => status !== 'active', { signal: detached.signal, onProgress })
  } finally {
    signal?.removeEventListener('abort', giveUp)
  }
}
