/**
 * What the machines did when they were last recorded: one journal for each definition, `test/run/golden/NAME@VERSION.ndjson`,
 * with as few runs as pass all the transitions that the stories in `test/machines/` pass.
 *
 * `npm run golden` records them anew: it runs those stories with this file as their set-up.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, vi } from 'vitest'
import type { AnyStateMachine } from 'xstate'
import type * as applying from '../../src/run/apply.ts'
import { digest } from '../../src/run/digest.ts'
import type { PureMachine } from '../../src/run/pure-machine.ts'
import { machineName, type StoredRecord } from '../../src/run/record.ts'
import type { Run } from '../../src/run/run.ts'
import { Passages } from '../../src/testing/passages.ts'

type Apply = typeof applying.apply

interface Story {
  readonly machine: PureMachine
  readonly records: readonly StoredRecord[]
}

const folder = fileURLToPath(new URL('../run/golden', import.meta.url))

// By the run they led to, so that a story that goes on takes the place of its beginning.
const stories = new Map<Run, Story>()

vi.mock('../../src/run/apply.ts', async (original) => {
  const { apply, ...others } = await original<typeof applying>()
  const recording: Apply = (machine, before, cause) => {
    const result = apply(machine, before, cause)
    const [run] = result
    const { status } = run.snapshot
    const record = { ...cause, digest: digest(run), ...(status !== 'active' && { ends: status as 'done' | 'error' }) }
    const earlier = before === undefined ? [] : (stories.get(before)?.records ?? [])
    if (before !== undefined) stories.delete(before)
    stories.set(run, { machine, records: [...earlier, record] })
    return result
  }
  return { ...others, apply: recording }
})

afterAll(async () => {
  const machines = new Map([...stories.values()].map(({ machine }) => [machine.ref, machine]))
  const told = [...stories.values()]
  await mkdir(folder, { recursive: true })
  for (const { ref, machine } of machines.values()) {
    const journals = told.filter((story) => story.machine.ref === ref).map(({ records }) => records)
    const lines = needed(machine, journals).flatMap((records, at) =>
      records.map((record) => JSON.stringify({ ...record, run: `${machineName(ref)}-${at + 1}` })),
    )
    for (const file of await readdir(folder)) if (machineName(file) === machineName(ref)) await rm(`${folder}/${file}`)
    await writeFile(`${folder}/${ref}.ndjson`, `${lines.join('\n')}\n`)
  }
})

/** The longest first, and each only where it passes what none before it passed. */
function needed(machine: AnyStateMachine, journals: readonly (readonly StoredRecord[])[]) {
  const passages = new Passages(machine)
  const passed = new Set<string>()
  return [...journals]
    .sort((a, b) => b.length - a.length)
    .filter((records) => {
      const taken = passages.history(records).flatMap((step) => step.passages)
      const isNews = taken.some((passage) => !passed.has(passage))
      for (const passage of taken) passed.add(passage)
      return isNews
    })
}
