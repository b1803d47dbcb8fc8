import * as z from 'zod'
import { InstarError } from '../errors.ts'

/**
 * One journal record: one external cause. Everything that follows from it is derived by `apply`.
 *
 *   run       which run it belongs to: `<machine>-<seq of its first record>`
 *   at        wall clock in ms when it was accepted; the only source of time for what follows from it
 *   event     `{ type, … }`; the first record of a run has
 *             `{ type: 'xstate.init', machine: 'name@version', key, input }`
 *             Two more are ours: `$migrate` (the state goes on under another definition, given whole) and
 *             `$halt` (an answer that the machine could not take; the run ends with its error)
 *   answers   key of the effect or timer this event answers
 *   id        the client's own id of the event; the same id is applied once
 *   digest    crc32 of the state after it, so that a changed machine is noticed instead of being followed elsewhere
 *   ends      set when the run ended here
 *   seq       given by the journal
 */
export interface RunRecord {
  readonly run: string
  readonly at: number
  readonly event: RunEvent
  readonly answers?: string | undefined
  readonly id?: string | undefined
  readonly digest: string
  readonly ends?: 'done' | 'error'
}

export interface StoredRecord extends RunRecord {
  readonly seq: number
}

export interface RunEvent {
  readonly type: string
  readonly [field: string]: any
}

/** What `apply` needs of a record: all but what is computed from its result. */
export type Cause = Omit<StoredRecord, 'digest' | 'ends'>

const isEvent = (value: unknown): value is RunEvent =>
  typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string'

// `custom` leaves the event as it is. A `looseObject` would copy every event of a replay.
const shape = z.strictObject({
  seq: z.int().min(1),
  run: z.string().min(1),
  at: z.number(),
  event: z.custom<RunEvent>(isEvent, 'not an event'),
  answers: z.string().optional(),
  id: z.string().optional(),
  digest: z.string().regex(/^[0-9a-f]{8}$/),
  ends: z.enum(['done', 'error']).optional(),
})

/** Reads one record from the disk. */
export function readRecord(value: unknown): StoredRecord {
  const { data, error } = shape.safeParse(value)
  if (data !== undefined) return data as StoredRecord
  const seq = (value as { seq?: unknown } | null)?.seq
  throw new InstarError('RECORD_INVALID', `record ${seq} of the journal is not a record of a run`, {
    cause: error,
    details: { seq },
  })
}

/** The event of a run's first record. */
export const BeginEvent = z.looseObject({
  type: z.literal('xstate.init'),
  machine: z.string().min(1),
  key: z.string(),
  input: z.unknown(),
})

/** The state of a run that goes on, as plain data: in snapshots, in `$migrate` events, in and out of a migration. */
export const PersistedState = z.looseObject({
  snapshot: z.looseObject({
    status: z.literal('active'),
    value: z.unknown(),
    context: z.unknown(),
    nodes: z.array(z.string()).optional(),
  }),
  effects: z.array(z.strictObject({ id: z.string(), key: z.string(), src: z.string(), input: z.unknown().optional() })),
  timers: z.array(
    z.strictObject({ id: z.string(), key: z.string(), due: z.number(), event: z.custom<RunEvent>(isEvent) }),
  ),
})

/** The event that takes a run to another definition: its head and its state, so that nothing older is needed. */
export const MigrateEvent = PersistedState.extend({
  type: z.literal('$migrate'),
  machine: z.string().min(1),
  key: z.string(),
  startedSeq: z.int().min(1),
  startedAt: z.number(),
})

/** A machine by name and version, as the journal writes it. */
export const machineRef = (machine: { readonly id: string; readonly version?: string | undefined }) =>
  `${machine.id}@${machine.version}`

export const machineName = (ref: string) => ref.slice(0, ref.lastIndexOf('@'))
