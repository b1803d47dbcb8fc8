import { crc32 } from 'node:zlib'
import { canonicalJson } from './canonical.ts'
import type { Run } from './run.ts'

/**
 * Eight hex digits over all that decides what a run does next. Live it goes into the record; a replay that comes to
 * another one has met a machine that changed.
 */
export function digest({ snapshot, effects, timers }: Run): string {
  const state = `${canonicalJson(snapshot.value)}${snapshot.status}${canonicalJson(snapshot.context, 'context')}`
  const output = snapshot.output === undefined ? '' : canonicalJson(snapshot.output, 'output')
  return crc32(`${state}${output}${canonicalJson(effects)}${canonicalJson(timers)}`)
    .toString(16)
    .padStart(8, '0')
}
