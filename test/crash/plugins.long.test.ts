/** The machines of plugins through the kill matrix, on this machine. Over ssh: `plugins-over-ssh.test.ts`. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pluginInstall, pluginRemove, pluginSet } from '../../machines/index.ts'
import { type KillMatrixOptions, killMatrix } from '../../src/testing/index.ts'
import { extent } from './extent.ts'
import { installs } from './installs.ts'
import { removes } from './removes.ts'
import { sets } from './sets.ts'
import { Stage } from './stage.ts'

let stage: Stage
beforeAll(async () => {
  stage = await Stage.build()
})
afterAll(() => stage[Symbol.asyncDispose]())

// A test of hundreds of processes takes as long as the machine is busy with others.
const timeout = 900_000

const cases: Record<string, () => Omit<KillMatrixOptions, 'program'>> = {
  'an install that is killed at any transition ends where its machine says, and one whole version is live': () => ({
    machine: pluginInstall,
    scenarios: installs(stage),
    ...extent,
  }),
  'a removal that is killed at any transition ends where its machine says': () => ({
    machine: pluginRemove,
    scenarios: removes(stage),
    ...extent,
  }),
  // Its steps are those of an install, which is killed everywhere.
  'a set that is killed at any transition ends where its machine says, with all of it or none': () => ({
    machine: pluginSet,
    scenarios: sets(stage),
    sparing: true,
    atRandom: 10,
  }),
}

test.each(Object.keys(cases))(
  '%s',
  async (name) => {
    const report = await killMatrix({ ...cases[name]!(), program: stage.program })
    const { machine, transitions, kills, lives } = report
    console.log(`${machine}: ${kills} kills at ${Object.keys(transitions).length} transitions, in ${lives} lives`)
    expect(report.failures).toEqual([])
    expect(report.uncovered).toEqual([])
  },
  timeout,
)
