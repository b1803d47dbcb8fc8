import { expect, test } from 'vitest'
import { sessionScene } from '../support/sessions/scene.ts'
import { stress } from '../support/sessions/stress.ts'

// The small form of the stress; `npm run bench -- sessions` has the large one.

const scene = sessionScene()

test('eight sessions that print, four that are typed into, four clients, ten upgrades: every byte once and in order, nobody disconnected', async () => {
  await using trial = await scene.start({ keeper: true })
  const report = await stress(trial, scene.programs, { printing: 8, echoing: 4, clients: 4, upgrades: 10 })
  expect(new Set(report.upgrades.map(({ successor }) => successor)).size).toBe(10)
  expect(report.bytes).toBeGreaterThan(1_000_000)
  expect(report.ends).toBeGreaterThan(10)
  expect(report.connects).toBeGreaterThan(10)
  // Nothing adds up from one to the next.
  expect(report.last.descriptors).toBe(report.first.descriptors)
  expect(report.last.residentBytes).toBeLessThan(report.first.residentBytes * 1.5)
  expect(await trial.processes.zombies()).toEqual([])
})
