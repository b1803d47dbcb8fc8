/**
 * Launches of runtimes through the kill matrix, with the real flows, store and processes. What it was seen to catch stands in
 * `runtime-update.test.ts`, beside the other machine of runtimes.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runtimeLaunch } from '../../machines/index.ts'
import { killMatrix } from '../../src/testing/index.ts'
import { extent } from './extent.ts'
import { launches } from './launches.ts'
import { Stage, tell } from './stage.ts'

let stage: Stage
beforeAll(async () => {
  stage = await Stage.build()
})
afterAll(() => stage[Symbol.asyncDispose]())

test('scenario Runtime 11: a launch that is killed at any transition ends where its machine says, and leaves the disk as it says', async () => {
  const scenarios = launches(stage)
  const report = await killMatrix({ machine: runtimeLaunch, program: stage.program, scenarios, ...extent })
  tell(report)
  expect(report.failures).toEqual([])
  expect(report.uncovered).toEqual([])
}, 900_000) // A test of hundreds of processes takes as long as the machine is busy with others.
