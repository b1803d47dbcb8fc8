/** The runs of a controller in an inspector of statecharts. The `instar/inspect` subpath. */
import type { AnyStateMachine } from 'xstate'
import { machines } from '../machines/index.ts'
import type { Controller } from './controller.ts'
import { machineName } from './run/record.ts'
import type { RunState } from './run/run.ts'

/** What is used of an inspector; those that `@statelyai/inspect` makes have it. */
export interface Inspector {
  actor(run: InspectedRun | string, snapshot: InspectedState): void
  event(run: string, event: { readonly type: string }): void
  snapshot(run: string, snapshot: InspectedState, info: { readonly event: { readonly type: string } }): void
}

/** As much of an XState actor as an inspector looks at. */
interface InspectedRun {
  readonly sessionId: string
  readonly logic?: { readonly config: unknown }
}

interface InspectedState {
  readonly status: RunState['status']
  readonly value: unknown
  readonly context: unknown
  readonly output: unknown
}

/**
 * Shows an inspector the runs that go on, and from then on what happens to them and to others. Returns what ends it. It changes
 * nothing of what runs.
 *
 * Everything is told that a run holds. Where the inspector sends it, and whether that may leave this machine, is decided by who
 * makes it; Instar itself sends nothing to anybody.
 */
export function inspectRuns(
  controller: Pick<Controller, 'runs' | 'watch' | 'procedures'>,
  inspector: Inspector,
): () => void {
  const known: Readonly<Record<string, AnyStateMachine>> = { ...machines, ...controller.procedures.machines }
  const introduce = (run: RunState) => {
    const config = known[machineName(run.machine)]?.config
    inspector.actor({ sessionId: run.run, logic: { config } }, inspected(run))
  }
  for (const run of controller.runs()) if (run.status === 'active') introduce(run)
  return controller.watch((change) => {
    if (change.type !== 'record') return
    const { state, record } = change
    if (record.seq === state.startedSeq) introduce(state)
    else {
      inspector.event(state.run, record.event)
      inspector.snapshot(state.run, inspected(state), { event: record.event })
    }
  })
}

const inspected = ({ status, value, context, output }: RunState): InspectedState => ({ status, value, context, output })
