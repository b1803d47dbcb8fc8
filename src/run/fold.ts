import { Definitions } from './definitions.ts'
import type { AnyFlow } from './flow.ts'
import { Model } from './model.ts'
import { readRecord } from './record.ts'
import type { RunState } from './run.ts'

/**
 * The states that a whole journal leads to, for tools: reads, runs nothing, writes nothing. Runs whose definition is
 * not among `flows` are listed as `opaque`.
 *
 * @throws {InstarError} `MACHINE_CHANGED`, `RECORD_INVALID`, `MACHINE_INVALID`.
 */
export async function foldJournal(
  flows: readonly AnyFlow[],
  records: AsyncIterable<unknown> | Iterable<unknown>,
): Promise<RunState[]> {
  const model = new Model(new Definitions(flows))
  for await (const record of records) model.replay(readRecord(record))
  return model.states()
}
