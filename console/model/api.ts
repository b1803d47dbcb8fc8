import type { VerbName, VerbParams, VerbResult } from './contract.ts'

/** An answer that says no, or none at all. `status` is 0 where nobody answered. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint?: string,
  ) {
    super(message)
  }
}

interface Asking {
  readonly method?: 'GET' | 'POST' | 'DELETE'
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/** @throws {Refusal} */
export async function ask<Answer>(path: string, { method = 'GET', body, headers, signal }: Asking = {}) {
  const response = await fetch(path, {
    method,
    headers: { ...(body !== undefined && { 'Content-Type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    ...(signal && { signal }),
  }).catch((error) => {
    signal?.throwIfAborted()
    throw new Refusal(0, 'UNREACHABLE', 'the controller does not answer', (error as Error).message)
  })
  if (!response.ok) throw await refusalIn(response)
  if (response.status === 204) return undefined as Answer
  return (await response.json()) as Answer
}

/** @throws {Refusal} */
export async function askText(path: string): Promise<string> {
  const response = await fetch(path).catch(() => {
    throw new Refusal(0, 'UNREACHABLE', 'the controller does not answer')
  })
  if (!response.ok) throw await refusalIn(response)
  return response.text()
}

/**
 * Has the controller perform a verb, the one of the same name that the command line asks for.
 *
 * @throws {Refusal}
 */
export async function perform<Name extends VerbName>(name: Name, params: VerbParams<Name>): Promise<VerbResult<Name>> {
  const headers = { 'X-Request-Id': crypto.randomUUID() }
  const { result } = await ask<{ result: VerbResult<Name> }>(`/console/verbs/${name}`, {
    method: 'POST',
    body: params,
    headers,
  })
  return result
}

async function refusalIn(response: Response): Promise<Refusal> {
  const { error } = (await response.json().catch(() => ({}))) as {
    error?: { code: string; message: string; hint?: string }
  }
  if (error === undefined) return new Refusal(response.status, 'INTERNAL', `answered with ${response.status}`)
  return new Refusal(response.status, error.code, error.message, error.hint)
}
