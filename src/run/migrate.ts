import { InstarError } from '../errors.ts'
import type { Batch } from './batch.ts'
import type { Definitions } from './definitions.ts'
import type { Model } from './model.ts'
import { MigrateEvent, type RunEvent } from './record.ts'
import { type PersistedState, persistRun, type RunHead } from './run.ts'

/**
 * Puts one `$migrate` record into `batch` for each run that has a way to a newer definition.
 *
 * @throws {InstarError} `MACHINE_UNKNOWN` when a run has neither its definition nor such a way.
 */
export function migrateRuns(batch: Batch, model: Model, definitions: Definitions): void {
  const stranded = [...model.opaque.values()].filter(
    ({ head, state }) => state === null || definitions.migrationsFrom(head.machine).length === 0,
  )
  if (stranded.length > 0) {
    const runs = stranded.map(({ head: { run, machine } }) => ({ run, machine }))
    const names = runs.map(({ run, machine }) => `${run} (${machine})`).join(', ')
    throw new InstarError('MACHINE_UNKNOWN', `the definition is missing of ${names}`, {
      hint: 'Use the version that has it, or add it to `retired` of its flow.',
      details: { runs },
    })
  }
  for (const { head, state } of model.opaque.values()) migrateRun(batch, definitions, head, state!)
  for (const run of model.active.values())
    if (definitions.migrationsFrom(run.machine).length > 0)
      migrateRun(batch, definitions, run, persistRun(run, definitions.get(run.machine)!))
}

function migrateRun(batch: Batch, definitions: Definitions, head: RunHead, state: PersistedState): void {
  const path = definitions.migrationsFrom(head.machine)
  const { to } = path.at(-1)!
  const { run, key, startedSeq, startedAt } = head
  try {
    const migrated = path.reduce((before, { migrate }) => migrate(before), plain(state))
    const event = MigrateEvent.parse({ type: '$migrate', machine: to, key, startedSeq, startedAt, ...plain(migrated) })
    batch.add(definitions.get(to)!, undefined, { run, event: event as RunEvent })
  } catch (cause) {
    throw new InstarError('MACHINE_INVALID', `the migration of ${run} from ${head.machine} to ${to} failed`, { cause })
  }
}

/** A migration gets what the disk would give it, and may change it in place. */
const plain = (state: PersistedState): PersistedState => JSON.parse(JSON.stringify(state))
