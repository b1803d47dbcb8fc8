import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import type { Scenario } from '../../src/testing/kill-matrix.ts'
import { folderOf } from './installs.ts'
import type { Plan, Rule } from './plan.ts'
import type { Stage } from './stage.ts'

interface Remove {
  readonly isThere?: boolean
  readonly rules?: readonly Rule[]
  readonly end: string
  /** The version that is live at the end. */
  readonly leaves: string | null
}

const fails = (effect: string): Rule => ({ effect, performs: false, fails: { code: 'DISK_FAILED' } })

const all: Record<string, Remove> = {
  'it is removed': { end: 'removed', leaves: null },
  'it is not there': { isThere: false, end: 'absent', leaves: null },
  'it cannot be looked at': { rules: [fails('find')], end: 'failed', leaves: '1.0.0' },
  'it cannot be taken away': { rules: [fails('unlink')], end: 'failed', leaves: '1.0.0' },
  'its trees cannot be removed': { rules: [fails('clear')], end: 'removed', leaves: null },
}

const plugin = 'tint'

export function removes(stage: Stage): Scenario[] {
  return Object.entries(all).map(([name, remove]) => scenario(stage, name, remove))
}

function scenario(stage: Stage, name: string, { isThere = true, rules = [], end, leaves }: Remove): Scenario {
  const input = { plugin, target: 'local' }
  const plan: Plan = stage.plan('plugin-remove', plugin, {}, { key: `local ${plugin}`, input, rules })
  const config = parseConfig(plan.config, '/')
  return {
    name,
    args: [JSON.stringify(plan)],
    ends: [end],
    prepare: async (home) => {
      if (!isThere) return
      {
        await using controller = await openController({ home, config, schedule: false })
        await controller.plugins.install(await folderOf(home, plugin, '1.0.0'))
      }
      await rm(join(home, 'journal'), { recursive: true })
    },
    check: async ({ home }) => {
      await using controller = await openController({ home, config, schedule: false })
      await controller.plugins.sweep()
      const [found] = await controller.plugins.list()
      expect(found?.version ?? null).toBe(leaves)
      const left = (await readdir(home, { recursive: true })).filter((path) =>
        /\.(staging|link|trash|draft)-/.test(path),
      )
      expect(left, 'what is left behind').toEqual([])
    },
  }
}
