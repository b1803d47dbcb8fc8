import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { Scenario } from '../../src/testing/kill-matrix.ts'
import type { Plan, Rule } from './plan.ts'
import { type Found, inspect, install, type Setting, type Stage, scripts } from './stage.ts'

interface Launch extends Setting {
  /** What the home had as its release before the current one, if anything. */
  readonly previous?: readonly [version: string, script: string]
  readonly rules?: readonly Rule[]
  /** A `stop` is sent for each of these states, once, when the machine is in it. */
  readonly stopWhen?: readonly string[]
  /** A `stop` is sent when the machine is in this state with a second process. */
  readonly stopAgainWhen?: string
  /** What the state file is replaced with. */
  readonly stateText?: string
  /** What is found at the end in the undisturbed run, and after every kill unless `unsure`; the rest is as it was. */
  readonly leaves?: Partial<Found>
  /** What a kill may change: a process that ended while nobody watched is not held against its version. */
  readonly unsure?: readonly (keyof Found)[]
  readonly end: string
  readonly endsAlso?: readonly string[]
}

const before: Found = { current: '2.0.0', knownGood: null, releases: ['2.0.0'], bans: [] }
const good: Partial<Found> = { knownGood: '2.0.0' }
const refused: Partial<Found> = { current: null, bans: ['2.0.0'] }
const full = { code: 'DISK_FULL' }
const stuck = { code: 'RUNTIME_UNSTOPPABLE' }
const blind = { code: 'DISK_FAILED' }
const unchosen: Rule = { effect: 'choose', performs: false, fails: blind }
const unspawned: Rule = { effect: 'spawn', performs: false, fails: { code: 'RUNTIME_SPAWN_FAILED' } }
/** Not ready, and the version is to blame. */
const unfit: Rule = {
  effect: 'probe',
  in: 'probing',
  performs: false,
  fails: { code: 'PROBE_TIMEOUT', fault: 'version' },
  times: 1,
}
const unwritable: Rule = { effect: 'strike', performs: false, fails: full }
/** Until nothing runs any more. */
const unwritableWhileRunning: readonly Rule[] = [
  { ...unwritable, in: 'striking' },
  { ...unwritable, in: 'healthy' },
]
const twoReleases = { previous: ['1.5.0', scripts.good], leaves: { releases: ['2.0.0', '1.5.0'] } } as const
const unknowable: Rule = { effect: 'watch', performs: false, fails: blind, times: 1 }
const stuckOnce: Rule = { effect: 'terminate', performs: false, fails: stuck, times: 1 }
const once = { policy: { strikes: 1 } }
/** Where the kill falls decides whether somebody learns how the process ended, and which timer has run out meanwhile. */
const unlearned = { unsure: ['current', 'bans', 'knownGood'], endsAlso: ['stopped', 'exited'] } as const

/**
 * A stop that is meant for a short state has another one behind it: a recovery may take so long that the state is over.
 *
 * The home has 2.0.0 as its current release, and 1.0.0 came with the host.
 */
const all: Record<string, Launch> = {
  'it becomes healthy and is stopped': { end: 'stopped', stopWhen: ['healthy.settled'], leaves: good },
  'stopped while choosing': { end: 'stopped', rules: [{ effect: 'choose', waits: true }], stopWhen: ['choosing'] },
  'the pointer is damaged': {
    end: 'stopped',
    stateText: '{"schema":1,"pointer":{"current":{"version":"v2"}}}',
    stopWhen: ['probation', 'healthy'],
    leaves: { current: null },
  },
  'nothing can be chosen, so the bundled one runs': {
    end: 'stopped',
    rules: [unchosen],
    stopWhen: ['healthy.settled'],
  },
  'nothing can be chosen, and it is stopped': {
    end: 'stopped',
    rules: [unchosen, { effect: 'chooseBundled', waits: true }],
    stopWhen: ['choosingBundled'],
  },
  'nothing can be chosen at all': {
    end: 'failed',
    rules: [unchosen, { effect: 'chooseBundled', performs: false, fails: blind }],
  },
  'there is nothing to run': { end: 'failed', rules: [{ effect: 'choose', answers: { arms: [], repaired: null } }] },
  'stopped while spawning': { end: 'stopped', rules: [{ effect: 'spawn', waits: true }], stopWhen: ['spawning'] },
  'stopped while spawning, which fails': {
    end: 'stopped',
    rules: [{ ...unspawned, waits: true }],
    stopWhen: ['spawning'],
  },
  'no process can be started': { end: 'failed', rules: [unspawned] },
  'stopped while waiting for the environment': { end: 'stopped', rules: [unspawned], stopWhen: ['waiting'] },
  'stopped before it is ready': { end: 'stopped', rules: [{ effect: 'probe', waits: true }], stopWhen: ['probing'] },
  'stopped while it is commended': {
    end: 'stopped',
    rules: [{ effect: 'commend', waits: true }],
    stopWhen: ['commending'],
    leaves: good,
    unsure: ['knownGood'],
  },
  'it cannot be commended': {
    end: 'stopped',
    rules: [{ effect: 'commend', performs: false, fails: full }],
    stopWhen: ['healthy.settled'],
  },
  'it dies before it is ready': {
    end: 'stopped',
    current: ['2.0.0', scripts.broken],
    rules: [{ effect: 'probe', waits: true, first: true }],
    stopWhen: ['healthy.settled'],
    ...unlearned,
  },
  'it is not fit, and banned': {
    end: 'stopped',
    ...once,
    rules: [unfit],
    stopWhen: ['healthy.settled'],
    leaves: refused,
  },
  'it is not fit, and is struck once': { end: 'stopped', rules: [unfit], stopWhen: ['healthy.settled'] },
  'it is not fit and banned, and the pointer cannot go back': {
    end: 'stopped',
    ...once,
    rules: [unfit, { effect: 'restore', performs: false, fails: full }],
    stopWhen: ['healthy.settled'],
    leaves: { bans: ['2.0.0'] },
  },
  'it is not fit, and the strike cannot be written for a while': {
    end: 'stopped',
    rules: [unfit, { ...unwritable, times: 2 }],
    stopWhen: ['healthy.settled'],
  },
  'it is not fit, and the ban cannot be written for a while': {
    end: 'stopped',
    ...once,
    rules: [unfit, { ...unwritable, times: 2 }],
    stopWhen: ['healthy.settled'],
    leaves: refused,
  },
  'it is not fit, the ban cannot be written for a while, and the pointer cannot go back': {
    end: 'stopped',
    ...once,
    rules: [unfit, { ...unwritable, times: 1 }, { effect: 'restore', performs: false, fails: full }],
    stopWhen: ['healthy.settled'],
    leaves: { bans: ['2.0.0'] },
  },
  'two are not fit, and the first strike is written with the second': {
    end: 'stopped',
    ...twoReleases,
    rules: [
      { ...unfit, times: 2 },
      { ...unwritable, times: 1 },
    ],
    stopWhen: ['healthy.settled'],
  },
  'two are not fit, and both strikes are written later': {
    end: 'stopped',
    ...twoReleases,
    rules: [
      { ...unfit, times: 2 },
      { ...unwritable, times: 2 },
    ],
    stopWhen: ['healthy.settled'],
  },
  'stopped before the strike could be written': {
    end: 'stopped',
    rules: [unfit, ...unwritableWhileRunning],
    stopWhen: ['healthy.owing'],
  },
  'stopped before the ban could be written': {
    end: 'stopped',
    ...once,
    rules: [unfit, ...unwritableWhileRunning],
    stopWhen: ['healthy.owing'],
    leaves: refused,
  },
  'stopped before the ban could be written, and the pointer cannot go back': {
    end: 'stopped',
    ...once,
    rules: [unfit, ...unwritableWhileRunning, { effect: 'restore', performs: false, fails: full }],
    stopWhen: ['healthy.owing'],
    leaves: { bans: ['2.0.0'] },
  },
  'stopped, and the strike can never be written': {
    end: 'stopped',
    rules: [unfit, unwritable],
    stopWhen: ['healthy.owing'],
  },
  'stopped while striking': {
    end: 'stopped',
    rules: [unfit, { effect: 'strike', waits: true }],
    stopWhen: ['striking'],
  },
  'stopped while restoring': {
    end: 'stopped',
    ...once,
    rules: [unfit, { effect: 'restore', waits: true }],
    stopWhen: ['striking.restoring'],
    leaves: refused,
  },
  'stopped while clearing': {
    end: 'stopped',
    rules: [unfit, { effect: 'terminate', in: 'clearing', waits: true }],
    stopWhen: ['clearing'],
  },
  'what failed cannot be ended at first': { end: 'stopped', rules: [unfit, stuckOnce], stopWhen: ['unstoppable'] },
  'what is stopped cannot be ended at first': {
    end: 'stopped',
    rules: [stuckOnce],
    stopWhen: ['probation', 'unstoppable', 'healthy'],
    unsure: ['knownGood'],
  },
  'it leaves in good order within probation': {
    end: 'exited',
    current: ['2.0.0', scripts.brief],
    isProbationEndless: true,
    ...unlearned,
    stopWhen: ['healthy.settled'],
  },
  'what it leaves cannot be ended at first': {
    end: 'stopped',
    current: ['2.0.0', scripts.brief],
    isProbationEndless: true,
    rules: [stuckOnce],
    stopWhen: ['unstoppable', 'healthy.settled'],
    ...unlearned,
  },
  'it leaves in good order once it is healthy': {
    end: 'exited',
    current: ['2.0.0', scripts.leaving],
    stopWhen: ['pausing'],
    leaves: good,
    ...unlearned,
  },
  'it crashes within probation': {
    end: 'stopped',
    current: ['2.0.0', scripts.dying],
    isProbationEndless: true,
    stopAgainWhen: 'probation',
    ...unlearned,
  },
  'it crashes once it is healthy, and is started again': {
    end: 'stopped',
    current: ['2.0.0', scripts.mortalOnce],
    stopAgainWhen: 'healthy.settled',
    leaves: good,
    ...unlearned,
  },
  'stopped while it is cleared away after a crash': {
    end: 'stopped',
    current: ['2.0.0', scripts.mortalOnce],
    rules: [{ effect: 'terminate', in: 'crashed', waits: true }],
    stopWhen: ['crashed', 'waiting'],
    stopAgainWhen: 'healthy',
    leaves: good,
    ...unlearned,
  },
  'stopped before it is started again': {
    end: 'stopped',
    current: ['2.0.0', scripts.mortalOnce],
    stopWhen: ['pausing', 'waiting'],
    stopAgainWhen: 'healthy',
    leaves: good,
    ...unlearned,
  },
  'what crashed cannot be ended at first': {
    end: 'stopped',
    current: ['2.0.0', scripts.mortalOnce],
    rules: [{ ...stuckOnce, in: 'crashed' }],
    stopWhen: ['unstoppable', 'waiting'],
    stopAgainWhen: 'healthy',
    leaves: good,
    ...unlearned,
  },
  'it cannot be watched before it is ready': {
    end: 'stopped',
    rules: [
      { ...unknowable, in: 'probing' },
      { effect: 'probe', in: 'probing', waits: true, first: true },
    ],
    stopWhen: ['waiting', 'healthy'],
    unsure: ['knownGood'],
  },
  'it cannot be watched in probation': {
    end: 'stopped',
    rules: [{ ...unknowable, in: 'probation' }],
    stopWhen: ['waiting', 'healthy'],
    unsure: ['knownGood'],
  },
  'it cannot be watched once it is healthy': {
    end: 'stopped',
    rules: [{ ...unknowable, in: 'healthy' }],
    stopWhen: ['waiting'],
    stopAgainWhen: 'healthy',
    leaves: good,
  },
}

export function launches(stage: Stage): Scenario[] {
  return Object.entries(all).map(([name, launch]) => scenario(stage, name, launch))
}

function scenario(stage: Stage, name: string, launch: Launch): Scenario {
  const { rules = [], stopWhen = [], stopAgainWhen, stateText, leaves, unsure = [], end, endsAlso = [] } = launch
  const plan: Plan = stage.plan('runtime-launch', 'launched', launch, {
    rules,
    sends: [
      ...stopWhen.map((when) => ({ event: 'stop', when })),
      ...(stopAgainWhen === undefined ? [] : [{ event: 'stop', when: stopAgainWhen, processes: 2 }]),
    ],
  })
  return {
    name,
    args: [JSON.stringify(plan)],
    ends: [end, ...endsAlso],
    prepare: async (home) => {
      if (launch.previous !== undefined) await install(home, launch.previous)
      await install(home, launch.current ?? ['2.0.0', scripts.good])
      if (stateText !== undefined) await writeFile(join(home, 'state', 'runtime', 'tool.json'), stateText)
    },
    check: async (ended) => {
      const found: Partial<Found> = await inspect(ended, plan.config as object)
      const expected: Partial<Found> = { ...before, ...leaves }
      const known = (Object.keys(expected) as (keyof Found)[]).filter(
        (key) => ended.deaths.length === 0 || !unsure.includes(key),
      )
      for (const key of known) expect(found[key], key).toEqual(expected[key])
    },
  }
}
