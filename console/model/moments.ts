import { ask } from './api.ts'
import type { Moment, RunState } from './contract.ts'

const kept = 300
const moments = new Map<string, Promise<Moment>>()

/**
 * A run as it was after a record, and before it. The controller gets it by replay, which runs nothing; what is past does
 * not change, so each is asked for once.
 */
export function momentAt(run: string, seq: number): Promise<Moment> {
  const name = `${run}@${seq}`
  const known = moments.get(name)
  if (known !== undefined) return known
  const moment = ask<Moment>(`/console/runs/${encodeURIComponent(run)}?at=${seq}`)
  moments.set(name, moment)
  moment.catch(() => moments.delete(name))
  if (moments.size > kept) moments.delete(moments.keys().next().value!)
  return moment
}

/** A run as it is now. */
export async function runNow(run: string): Promise<RunState> {
  return (await ask<Moment>(`/console/runs/${encodeURIComponent(run)}`)).state
}
