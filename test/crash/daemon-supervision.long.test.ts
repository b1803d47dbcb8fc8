/** The supervision of session daemons through the kill matrix: a real controller is killed, above real daemons. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { daemonSupervision } from '../../machines/index.ts'
import { killMatrix } from '../../src/testing/index.ts'
import { SupervisionStage } from './supervisions.ts'

let stage: SupervisionStage
beforeAll(async () => {
  stage = await SupervisionStage.build()
})
afterAll(() => stage?.[Symbol.asyncDispose]())

// Hundreds of processes take as long as the machine is busy with others.
const timeout = 900_000

test(
  'a controller that is killed at any transition of a supervision leaves the daemon and its sessions as its machine says',
  async () => {
    const report = await killMatrix({
      machine: daemonSupervision,
      program: stage.program,
      scenarios: stage.scenarios(),
      sparing: true,
      atRandom: 5,
      parallel: 3,
    })
    const { machine, transitions, kills, lives } = report
    console.log(`${machine}: ${kills} kills at ${Object.keys(transitions).length} transitions, in ${lives} lives`)
    expect(report.failures).toEqual([])
    expect(report.uncovered).toEqual([])
  },
  timeout,
)
