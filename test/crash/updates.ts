import { expect } from 'vitest'
import type { Scenario } from '../../src/testing/kill-matrix.ts'
import type { Plan, Rule } from './plan.ts'
import { type Found, inspect, install, type Setting, type Stage, scripts } from './stage.ts'

interface Update extends Setting {
  /** What the registry offers as 2.0.0: a script, or null for a package without its entry. */
  readonly offers?: string | null
  readonly publish?: object
  /** More that happens to the package before. */
  readonly registry?: (name: string) => void
  readonly rules?: readonly Rule[]
  readonly cancelWhen?: string
  readonly minimumReleaseAgeMs?: number
  readonly banned?: true
  /** The current release is the one that is published. */
  readonly published?: true
  /** What is found at the end; what is not said is as it was before. */
  readonly leaves?: Partial<Found>
  /** Where it is not known what is left: the failure that was injected hides it. */
  readonly unsure?: true
  readonly end: string
}

const before: Found = { current: '1.5.0', knownGood: null, releases: ['1.5.0'], bans: [] }
const staged: Partial<Found> = { current: '2.0.0', releases: ['2.0.0', '1.5.0'] }
const full = { code: 'DISK_FULL' }

/** A home where 1.5.0 is current and came after the bundled 1.0.0; 2.0.0 is offered. */
export function updates(stage: Stage): Scenario[] {
  const { registry } = stage
  const all: Record<string, Update> = {
    'a newer version is staged': { end: 'staged', leaves: staged },
    'nothing newer is offered': {
      end: 'upToDate',
      current: ['2.5.0', scripts.good],
      leaves: { current: '2.5.0', releases: ['2.5.0'] },
    },
    'a banned version is offered': { end: 'badVersion', banned: true, leaves: { bans: ['2.0.0'] } },
    'another Node is wanted': { end: 'enginesIncompatible', publish: { engines: { node: '>=999' } } },
    'the version is too young': { end: 'tooYoung', minimumReleaseAgeMs: 1e9 },
    'the version is staged already': {
      end: 'alreadyStaged',
      current: ['2.0.0', scripts.good],
      published: true,
      leaves: { current: '2.0.0', releases: ['2.0.0'] },
    },
    'the registry is out of reach': {
      end: 'checkFailed',
      registry: (name) => registry.misbehave('packument', 'disconnect', { package: name }),
    },
    'the Node that is to run it is missing': { end: 'checkFailed', runtime: { node: '/nowhere/node' } },
    'other bytes are served': { end: 'rejected', registry: (name) => registry.tamper(name, '2.0.0', 'wrong-bytes') },
    'the connection is cut in mid-download': {
      end: 'checkFailed',
      registry: (name) => registry.misbehave('tarball', 'reset', { package: name }),
    },
    'the entry is missing': { end: 'rejected', offers: null },
    'the disk is full while sealing': { end: 'checkFailed', rules: [{ effect: 'seal', performs: false, fails: full }] },
    'it does not start, and is banned': { end: 'rejected', offers: scripts.broken, leaves: { bans: ['2.0.0'] } },
    'it does not start, and cannot be struck': {
      end: 'rejected',
      offers: scripts.broken,
      rules: [{ effect: 'strike', performs: false, fails: full }],
    },
    'it does not start, and one strike does not ban it': {
      end: 'rejected',
      offers: scripts.broken,
      rules: [{ effect: 'strike', answers: { banned: false } }],
      leaves: { bans: ['2.0.0'] },
    },
    'activating reports a failure after it is done, and old releases cannot be removed': {
      end: 'staged',
      rules: [
        { effect: 'activate', fails: full },
        { effect: 'prune', performs: false, fails: full },
      ],
      leaves: staged,
    },
    'activating fails before it is done, and nothing can be removed': {
      end: 'checkFailed',
      rules: [
        { effect: 'activate', performs: false, fails: full },
        { effect: 'discard', performs: false, fails: full },
      ],
      unsure: true,
    },
    'activating fails and the pointer cannot be read': {
      end: 'checkFailed',
      rules: [
        { effect: 'activate', fails: full },
        { effect: 'readPointer', performs: false, fails: full },
      ],
      unsure: true,
    },
    'cancelled while resolving': {
      end: 'cancelled',
      rules: [{ effect: 'resolve', waits: true }],
      cancelWhen: 'resolving',
    },
    'cancelled while examining': {
      end: 'cancelled',
      rules: [{ effect: 'examine', waits: true }],
      cancelWhen: 'examining',
    },
    'cancelled while fetching': { end: 'cancelled', rules: [{ effect: 'fetch', waits: true }], cancelWhen: 'fetching' },
    'cancelled while verifying': {
      end: 'cancelled',
      rules: [{ effect: 'verify', waits: true }],
      cancelWhen: 'verifying',
    },
    'cancelled while qualifying': {
      end: 'cancelled',
      rules: [{ effect: 'qualify', waits: true }],
      cancelWhen: 'qualifying',
    },
  }
  return Object.entries(all).map(([name, update], at) => scenario(stage, name, `update-${at}`, update))
}

function scenario(stage: Stage, name: string, packageName: string, update: Update): Scenario {
  const { offers = scripts.good, publish, rules = [], cancelWhen, minimumReleaseAgeMs = 0 } = update
  const current = update.current ?? ['1.5.0', scripts.good]
  stage.publish(packageName, '2.0.0', offers, publish)
  update.registry?.(packageName)
  const plan: Plan = stage.plan('runtime-update', packageName, update, {
    input: { runtime: 'tool', policy: { engines: 'enforce', minimumReleaseAgeMs, allowOlder: false } },
    rules,
    sends: cancelWhen === undefined ? [] : [{ event: 'cancel', when: cancelWhen }],
  })
  return {
    name,
    args: [JSON.stringify(plan)],
    ends: [update.end],
    prepare: async (home) => {
      const integrity = update.published ? await stage.integrity(packageName, current[0]) : undefined
      await install(home, current, { integrity, bans: update.banned ? ['2.0.0'] : [] })
    },
    check: async (ended) => {
      const found = await inspect(ended, plan.config as object)
      if (!update.unsure) expect(found).toEqual({ ...before, ...update.leaves })
    },
  }
}
