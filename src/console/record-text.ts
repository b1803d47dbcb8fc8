import type { StoredRecord } from '../run/record.ts'
import type { RunState } from '../run/run.ts'
import { eventText } from './event-text.ts'

/** More of an event is not sent with each record; it is in the journal. */
const eventBytesMax = 65_536

/** A record as pages are told of it, with what followed from it. Without `state` where nobody knows that any more. */
export function recordText({ seq, at, run, event, answers, ends }: StoredRecord, state: RunState | null): string {
  const told = {
    seq,
    at,
    run,
    machine: state?.machine ?? null,
    key: state?.key ?? null,
    event,
    answers,
    outcome: ends === undefined ? null : outcomeOf(state?.output),
    ends,
    state: state?.value ?? null,
    effects: state?.effects ?? [],
  }
  const text = eventText('record', told, seq)
  if (text.length <= eventBytesMax) return text
  return eventText('record', { ...told, event: { type: event.type, omittedBytes: text.length } }, seq)
}

function outcomeOf(output: unknown): string | null {
  const { outcome } = (output ?? {}) as { outcome?: unknown }
  return typeof outcome === 'string' ? outcome : null
}
