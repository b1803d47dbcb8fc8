import type { RunState } from './contract.ts'
import { type Progress, progress, runs, status } from './live.ts'
import { nameOf } from './runs.ts'
import { stateText } from './wording.ts'

/** Work on one thing that goes on, whoever asked for it and from wherever. */
export interface UnderWay {
  readonly run: string
  /** In words. */
  readonly state: string
  readonly told: Progress | undefined
  /** As last told; its records may be further. */
  readonly context: unknown
}

/** The run of a machine and key that is under way; null where there is none. */
export function underWay(machine: string, key: string): UnderWay | null {
  const known = activeRun(machine, key)
  if (known === undefined) return null
  const fresh = runs.value.get(known.run)
  if (fresh?.ends) return null // its end came before the status that leaves it out
  const state = stateText(fresh?.state ?? known.value)
  return { run: known.run, state, told: progress.value.get(known.run), context: known.context }
}

export function activeRun(machine: string, key: string): RunState | undefined {
  return status.value?.runs?.find((run) => nameOf(run.machine) === machine && run.key === key)
}
