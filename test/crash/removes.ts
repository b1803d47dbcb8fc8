import type { Scenario } from '../../src/testing/kill-matrix.ts'
import type { Plan, Rule } from './plan.ts'
import { inspectTarget, prepareTarget } from './plugin-target.ts'
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

/** @param target `local`, or an address with `besideHome` in it. */
export function removes(stage: Stage, target = 'local'): Scenario[] {
  return Object.entries(all).map(([name, remove]) => scenario(stage, target, name, remove))
}

function scenario(stage: Stage, target: string, name: string, remove: Remove): Scenario {
  const { isThere = true, rules = [], end, leaves } = remove
  const plan: Plan = stage.plan(
    'plugin-remove',
    plugin,
    {},
    { key: `${target} ${plugin}`, input: { plugin, target }, rules },
  )
  const { config } = plan
  return {
    name,
    args: [JSON.stringify(plan)],
    ends: [end],
    prepare: async (home) => {
      const versions = isThere ? ['1.0.0'] : []
      await prepareTarget(home, { config, target, plugin, versions, source: 'folders' })
    },
    check: ({ home }) =>
      inspectTarget(home, { config, target, plugin, leaves, trees: leaves === null ? [] : [leaves] }),
  }
}
