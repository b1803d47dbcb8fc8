import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import { verifyJournal } from '../../src/journal/index.ts'
import type { Scenario } from '../../src/testing/kill-matrix.ts'
import type { Plan, Rule } from './plan.ts'
import { folderOf } from './plugin-target.ts'
import type { Stage } from './stage.ts'

interface Together {
  readonly rules?: readonly Rule[]
  readonly wanted?: string
  /** The second member is one that must be refused. */
  readonly isHostile?: true
  readonly cancelWhen?: string
  readonly end: string
  /** The version that each is at in the end; null: some are new and some old, and it is said so. */
  readonly leaves: string | null
}

const fails = (effect: string): Rule => ({ effect, performs: false, fails: { code: 'DISK_FULL' } })

const all: Record<string, Together> = {
  'all of them': { end: 'installed', leaves: '2.0.0' },
  'all of them are live already': { wanted: '1.0.0', end: 'current', leaves: '1.0.0' },
  'one is refused': { isHostile: true, end: 'rejected', leaves: '1.0.0' },
  'they cannot be prepared': { rules: [fails('prepare')], end: 'failed', leaves: '1.0.0' },
  'one is not to be had': { wanted: '9.9.9', end: 'failed', leaves: '1.0.0' },
  'the swap fails when all is done': {
    rules: [{ effect: 'swap', fails: { code: 'DISK_FULL' } }],
    end: 'rolledBack',
    leaves: '1.0.0',
  },
  'the swap fails and they cannot be put back': {
    rules: [{ effect: 'swap', fails: { code: 'DISK_FULL' } }, fails('goBack')],
    end: 'blocked',
    leaves: null,
  },
  'nothing can be removed': { rules: [fails('prune')], end: 'installed', leaves: '2.0.0' },
  'nothing can be discarded': { rules: [fails('prepare'), fails('discard')], end: 'failed', leaves: '1.0.0' },
  'cancelled while preparing': {
    rules: [{ effect: 'prepare', waits: true }],
    cancelWhen: 'preparing',
    end: 'cancelled',
    leaves: '1.0.0',
  },
}

/** On this machine, two plugins of its own for each. */
export function sets(stage: Stage): Scenario[] {
  return Object.entries(all).map(([name, one], at) => scenario(stage, name, `set-${at}`, one))
}

function scenario(stage: Stage, name: string, stem: string, together: Together): Scenario {
  const { rules = [], wanted = 'latest', isHostile, cancelWhen, end, leaves } = together
  const plugins = [`${stem}-one`, `${stem}-other`]
  for (const plugin of plugins) for (const version of ['1.0.0', '2.0.0']) stage.publish(plugin, version, `# ${version}`)
  if (isHostile) stage.registry.publishHostile(plugins[1]!, '3.0.0', 'symlink')
  const plan: Plan = stage.plan(
    'plugin-set',
    stem,
    {},
    {
      key: `local ${plugins.join(' ')}`,
      input: { target: 'local', members: plugins.map((plugin) => ({ plugin, wanted })) },
      rules,
      sends: cancelWhen === undefined ? [] : [{ event: 'cancel', when: cancelWhen }],
    },
  )
  const config = parseConfig(plan.config, '/')
  return {
    name,
    args: [JSON.stringify(plan)],
    ends: [end],
    prepare: async (home) => {
      {
        await using controller = await openController({ home, config, schedule: false })
        for (const plugin of plugins) {
          const spec = wanted === '1.0.0' ? `${plugin}@1.0.0` : await folderOf(home, plugin, '1.0.0')
          expect(await controller.plugins.install(spec)).toMatchObject({ outcome: 'installed' })
        }
      }
      // The program is to be the first that the journal knows of.
      await rm(join(home, 'journal'), { recursive: true })
    },
    check: async ({ home }) => {
      expect((await verifyJournal(join(home, 'journal'))).problems).toEqual([])
      const sparing = parseConfig({ ...(plan.config as object), plugins: { policy: { keep: 0 } } }, '/')
      await using controller = await openController({ home, config: sparing, schedule: false })
      expect(controller.state().runs, 'runs under way').toEqual([])
      await controller.plugins.sweep()
      const found = (await controller.plugins.list()).map(({ version, kept }) => ({ version, kept: [...kept].sort() }))
      const each = { version: leaves, kept: leaves === '2.0.0' ? ['1.0.0', '2.0.0'] : ['1.0.0'] }
      if (leaves !== null) expect(found).toEqual([each, each])
      const verdicts = await controller.plugins.verify(undefined)
      expect(verdicts.map(({ whole }) => whole)).toEqual([true, true])
      const left = (await readdir(home, { recursive: true })).filter((path) =>
        /\.(staging|link|trash|draft)-/.test(path),
      )
      expect(left, 'what is left behind').toEqual([])
    },
  }
}
