import { expect, test } from 'vitest'
import { sessionScene } from '../support/sessions/scene.ts'
import { stress } from '../support/sessions/stress.ts'

const scene = sessionScene()

test('2: sessions printing at full speed and a client typing, through 100 upgrades: every byte arrives once and in order', async () => {
  await using trial = await scene.start({ keeper: true })
  const load = { printing: 2, echoing: 1, clients: 2, upgrades: 100, beside: false, pauseMs: 0 }
  const { upgrades, bytes } = await stress(trial, scene.programs, load)
  expect(new Set(upgrades.map(({ successor }) => successor)).size).toBe(100)
  expect(bytes).toBeGreaterThan(1_000_000)
}, 240_000)
