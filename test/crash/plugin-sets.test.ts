import { expect, test } from 'vitest'
import { pluginSet } from '../../machines/index.ts'
import { killMatrix } from '../../src/testing/kill-matrix.ts'
import { sets } from './sets.ts'
import { Stage } from './stage.ts'

test('a set of plugins that is killed at any transition ends where its machine says, with all of it or none', async () => {
  await using stage = await Stage.build()
  // Its steps are those of an install, which is killed everywhere.
  const report = await killMatrix({
    machine: pluginSet,
    program: stage.program,
    scenarios: sets(stage),
    sparing: true,
    atRandom: 10,
  })
  console.log(
    `plugin-set: ${report.kills} kills at ${Object.keys(report.transitions).length} transitions, in ${report.lives} lives`,
  )
  expect(report.failures).toEqual([])
  expect(report.uncovered).toEqual([])
}, 900_000)
