import { fromPromise, type PromiseActorLogic } from 'xstate'

/**
 * Declares an effect that a machine invokes: its input and its answer, no body.
 *
 * The durable interpreter (`src/run/`) runs the function of the same name from the machine's flow. XState itself never
 * runs this, so reaching the body is a bug.
 */
export function effect<Input, Output>(): PromiseActorLogic<Output, Input> {
  return fromPromise<Output, Input>(async () => {
    throw new Error('an effect is run by the durable interpreter only')
  })
}

/** What an effect's failure looks like inside an event: plain data that survives JSON. */
export interface Failure {
  readonly name: string
  readonly message: string
  readonly code?: string
  readonly hint?: string
  readonly details?: Readonly<Record<string, unknown>>
}

/** The failure carried by an `xstate.error.actor.*` event. */
export function failureOf(event: { error?: unknown }): Failure {
  const { error } = event
  if (typeof error === 'object' && error !== null && 'message' in error) return error as Failure
  return { name: 'Error', message: String(error) }
}
