import type { RecordTold } from './contract.ts'

/** A run as far as its records are here. */
export interface KnownRun {
  readonly run: string
  readonly machine: string
  readonly key: string
  /** Numbers of the first and the last record that are here. */
  readonly first: number
  readonly last: number
  readonly at: number
  readonly state: unknown
  readonly ends: 'done' | 'error' | null
  readonly outcome: string | null
}

/** Newest last, by when they were last heard of. */
export function knownRuns(records: readonly RecordTold[]): ReadonlyMap<string, KnownRun> {
  const runs = new Map<string, KnownRun>()
  for (const { seq, at, run, machine, key, state, ends = null, outcome = null } of records) {
    const first = runs.get(run)?.first ?? seq
    runs.delete(run)
    runs.set(run, {
      run,
      machine: machineOf({ run, machine }),
      key: key ?? '',
      first,
      last: seq,
      at,
      state,
      ends,
      outcome,
    })
  }
  return runs
}

/** The name of a record's machine; a run is named after it, too. */
export function machineOf({ run, machine }: Pick<RecordTold, 'run' | 'machine'>): string {
  return machine === null ? run.replace(/-\d+$/, '') : nameOf(machine)
}

/** Without its version. */
export function nameOf(machine: string): string {
  const at = machine.lastIndexOf('@')
  return at > 0 ? machine.slice(0, at) : machine
}

/** Words by which runs say that what was wanted did not come about. */
const failures = new Set([
  'failed',
  'rejected',
  'blocked',
  'returned',
  'rolled-back',
  'rolledBack',
  'check-failed',
  'bad-version',
  'engines-incompatible',
  'partly',
  'kept',
  'dead',
  'error',
])

export type Verdict = 'going' | 'good' | 'bad' | 'cancelled'

export function verdictOf({ ends, outcome }: Pick<KnownRun, 'ends' | 'outcome'>): Verdict {
  if (ends === null) return 'going'
  if (ends === 'error' || (outcome !== null && failures.has(outcome))) return 'bad'
  return outcome === 'cancelled' ? 'cancelled' : 'good'
}
