/**
 * Updates of runtimes through the kill matrix, with the real flows, store and processes, and a registry on loopback.
 *
 * Seen caught, each by breaking one line of the code under test:
 *
 *   - what an update shows is published before its record is durable (`interpreter.ts`)
 *   - a strike that is written twice counts twice (`store.ts`: the key is ignored)
 *   - a seal whose answer was lost is not found again (`draft.ts`: no `sealedBefore`)
 *   - the pointer is not read back when activating failed (`runtime-update.ts`: no `confirming`)
 *   - a launch does not look for the process that it started before the crash (`child.ts`: no `findChild`)
 *   - a home is opened without a sweep (`controller.ts`)
 *
 * Seen found: a child that ended at once was waited for without end, because its `exit` had come before the listener.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runtimeUpdate } from '../../machines/index.ts'
import { killMatrix } from '../../src/testing/index.ts'
import { extent } from './extent.ts'
import { Stage, tell } from './stage.ts'
import { updates } from './updates.ts'

let stage: Stage
beforeAll(async () => {
  stage = await Stage.build()
})
afterAll(() => stage[Symbol.asyncDispose]())

// A test of hundreds of processes takes as long as the machine is busy with others.
const timeout = 900_000

test(
  'scenario Runtime 11: an update that is killed at any transition ends where its machine says, and leaves the disk as it says',
  async () => {
    const { program } = stage
    const report = await killMatrix({ machine: runtimeUpdate, program, scenarios: updates(stage), ...extent })
    tell(report)
    expect(report.failures).toEqual([])
    expect(report.uncovered).toEqual([])
  },
  timeout,
)

test('a transition that no scenario passes is named, unless it is excused', async () => {
  const excused = { 'gating: always [tooYoung] -> tooYoung': 'for this test' }
  const { uncovered, failures } = await killMatrix({
    machine: runtimeUpdate,
    program: stage.program,
    scenarios: [],
    excused,
  })
  expect(failures).toEqual([])
  expect(uncovered).toHaveLength(41)
  expect(uncovered).toContain('confirming: readPointer done [pointsAtRelease] -> pruning')
})
