import { signal } from '@preact/signals'
import { perform, Refusal } from './api.ts'
import type { Failed, VerbName, VerbParams, VerbResult } from './contract.ts'

/** What a person has asked for here and has no answer yet, by a name for it. Its button is disabled by that at once. */
export const pending = signal<ReadonlySet<string>>(new Set())

export interface Message {
  readonly id: number
  readonly kind: 'good' | 'bad' | 'plain'
  readonly text: string
  readonly hint?: string | undefined
}

/** The newest last. */
export const messages = signal<readonly Message[]>([])

const messagesShown = 4
let told = 0

export function tell(kind: Message['kind'], text: string, hint?: string): void {
  told += 1
  messages.value = [...messages.value, { id: told, kind, text, hint }].slice(-messagesShown)
}

export function tellFailure(error: unknown): void {
  const { message, hint } = error as Failed
  tell('bad', message, hint)
}

export function dismiss(id: number): void {
  messages.value = messages.value.filter((message) => message.id !== id)
}

/** Words for an answer, and whether it is what was wanted. */
export interface Said {
  readonly kind: Message['kind']
  readonly text: string
  readonly hint?: string | undefined
}

/**
 * Has a verb performed, and tells what came of it. While there is no answer, asking again does nothing; who asks for the
 * same elsewhere, as in another page, gets the answer to the one that is under way.
 */
export async function act<Name extends VerbName>(
  action: string,
  verb: Name,
  params: VerbParams<Name>,
  say: (result: VerbResult<Name>) => Said | null,
): Promise<VerbResult<Name> | undefined> {
  if (pending.peek().has(action)) return undefined
  pending.value = new Set([...pending.peek(), action])
  try {
    const result = await perform(verb, params)
    const said = say(result)
    if (said !== null) tell(said.kind, said.text, said.hint)
    return result
  } catch (error) {
    const { message, hint, code } = error as Refusal & Failed
    if (error instanceof Refusal && error.status === 0)
      tell('bad', 'The connection broke before there was an answer.', 'What was begun goes on; the journal shows it.')
    else tell('bad', code === undefined ? message : `${message} [${code}]`, hint)
    return undefined
  } finally {
    pending.value = new Set([...pending.peek()].filter((one) => one !== action))
  }
}
