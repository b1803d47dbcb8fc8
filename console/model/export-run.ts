import { ask, perform } from './api.ts'
import type { Moment } from './contract.ts'

/** All records of one run, as the journal has them, with what it came to: one JSON file. */
export async function exportRun(run: string): Promise<void> {
  const { state } = await ask<Moment>(`/console/runs/${encodeURIComponent(run)}`)
  const found: unknown[] = []
  for (let from = state.startedSeq; from <= state.seq; ) {
    const { records } = await perform('journal.read', { from })
    if (records.length === 0) break
    found.push(...records.filter((record) => (record as { run?: unknown }).run === run && record.seq <= state.seq))
    from = records.at(-1)!.seq + 1
  }
  save(`${run}.json`, JSON.stringify({ schema: 1, run: state, records: found }, null, 2))
}

function save(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
