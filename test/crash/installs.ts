import type { Scenario } from '../../src/testing/kill-matrix.ts'
import type { Plan, Rule } from './plan.ts'
import { inspectTarget, prepareTarget } from './plugin-target.ts'
import type { Stage } from './stage.ts'

interface Install {
  /** What is live before; null: nothing. Default 1.0.0, and 0.9.0 before that. */
  readonly live?: null
  /** Default `latest`, which is 2.0.0; null: back to what was live before. */
  readonly wanted?: string | null
  readonly registry?: (name: string) => void
  readonly rules?: readonly Rule[]
  readonly cancelWhen?: string
  /** The version that is live at the end. */
  readonly leaves: string | null
  /** What is live before came from the registry, too. */
  readonly published?: true
  readonly end: string
}

const full = { code: 'DISK_FULL' }

/** A plugin of its own for each. @param target `local`, or an address with `besideHome` in it. */
export function installs(stage: Stage, target = 'local'): Scenario[] {
  const { registry } = stage
  const all: Record<string, Install> = {
    'a first install': { live: null, end: 'installed', leaves: '2.0.0' },
    'an upgrade': { end: 'installed', leaves: '2.0.0' },
    'what is live already': { published: true, wanted: '1.0.0', end: 'current', leaves: '1.0.0' },
    'what was proven before is damaged since': {
      published: true,
      wanted: '0.9.0',
      rules: [{ effect: 'stage', performs: false, fails: { code: 'RELEASE_DAMAGED' }, times: 1 }],
      end: 'installed',
      leaves: '0.9.0',
    },
    'going back': { wanted: null, end: 'installed', leaves: '0.9.0' },
    'there is nothing to go back to': { live: null, wanted: null, end: 'failed', leaves: null },
    'the registry is out of reach': {
      end: 'failed',
      registry: (name) => registry.misbehave('packument', 'disconnect', { package: name }),
      leaves: '1.0.0',
    },
    'the target cannot be looked at': { end: 'failed', rules: [fails('look')], leaves: '1.0.0' },
    'the connection is cut in mid-download': {
      end: 'failed',
      registry: (name) => registry.misbehave('tarball', 'reset', { package: name }),
      leaves: '1.0.0',
    },
    'other bytes are served': {
      end: 'rejected',
      registry: (name) => registry.tamper(name, '2.0.0', 'wrong-bytes'),
      leaves: '1.0.0',
    },
    'what was fetched cannot be unpacked': { end: 'failed', rules: [fails('verify')], leaves: '1.0.0' },
    'the disk is full while sealing': { end: 'failed', rules: [fails('seal')], leaves: '1.0.0' },
    'the target is full': { end: 'failed', rules: [fails('stage')], leaves: '1.0.0' },
    'what to go back to cannot be noted': { end: 'rolledBack', rules: [fails('snapshot')], leaves: '1.0.0' },
    'the swap fails': { end: 'rolledBack', rules: [fails('swap')], leaves: '1.0.0' },
    'the swap is done and says it failed': {
      end: 'rolledBack',
      rules: [{ effect: 'swap', fails: full }],
      leaves: '1.0.0',
    },
    'a first install is not found where it was put': {
      live: null,
      end: 'rolledBack',
      rules: [fails('readBack')],
      leaves: null,
    },
    'somebody else was faster': {
      end: 'failed',
      rules: [{ effect: 'readBack', performs: false, fails: { code: 'PLUGIN_OVERTAKEN' } }],
      leaves: '2.0.0',
    },
    'it cannot be put back either': {
      end: 'blocked',
      rules: [fails('readBack'), fails('goBack')],
      leaves: '2.0.0',
    },
    'nothing can be removed': {
      end: 'installed',
      rules: [fails('prune')],
      leaves: '2.0.0',
    },
    'nothing can be discarded': { end: 'failed', rules: [fails('seal'), fails('discard')], leaves: '1.0.0' },
    'cancelled while looking back': { ...cancelled('lookBack', 'lookingBack'), wanted: null },
    'cancelled while resolving': cancelled('resolve', 'resolving'),
    'cancelled while looking': cancelled('look', 'looking'),
    'cancelled while fetching': cancelled('fetch', 'fetching'),
    'cancelled while verifying': cancelled('verify', 'verifying'),
    'cancelled while sealing': cancelled('seal', 'sealing'),
    'cancelled while staging': cancelled('stage', 'staging'),
  }
  return Object.entries(all).map(([name, one], at) => scenario(stage, target, name, `install-${at}`, one))
}

const fails = (effect: string): Rule => ({ effect, performs: false, fails: full })

const cancelled = (effect: string, state: string): Install => ({
  end: 'cancelled',
  rules: [{ effect, waits: true }],
  cancelWhen: state,
  leaves: '1.0.0',
})

function scenario(stage: Stage, target: string, name: string, plugin: string, install: Install): Scenario {
  const { wanted = 'latest', rules = [], cancelWhen, leaves } = install
  for (const version of ['0.9.0', '1.0.0', '2.0.0']) stage.publish(plugin, version, `# ${version}`)
  const plan: Plan = stage.plan(
    'plugin-install',
    plugin,
    {},
    {
      key: `${target} ${plugin}`,
      input: { plugin, target, wanted },
      rules,
      sends: cancelWhen === undefined ? [] : [{ event: 'cancel', when: cancelWhen }],
    },
  )
  install.registry?.(plugin)
  const { config } = plan
  return {
    name,
    args: [JSON.stringify(plan)],
    ends: [install.end],
    prepare: async (home) => {
      const source = install.published ? 'the registry' : 'folders'
      if (install.live !== null) await prepareTarget(home, { config, target, plugin, versions, source })
    },
    check: ({ home }) =>
      inspectTarget(home, { config, target, plugin, leaves, trees: treesBeside(leaves, install.live) }),
  }
}

const versions = ['0.9.0', '1.0.0']

/** What is live, and what a rollback leads to. */
function treesBeside(leaves: string | null, live: null | undefined): string[] {
  if (leaves === null) return []
  return live === null ? [leaves] : [leaves, leaves === '1.0.0' ? '0.9.0' : '1.0.0']
}
