/**
 * The machines of plugins, with their targets on a host over ssh: a real sshd, and a far folder for each life.
 *
 * Ssh takes its time, so only here and there a run is killed: which transitions there are does not depend on the target,
 * and `plugins.test.ts` kills at all of them on this machine.
 */
import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AnyStateMachine } from 'xstate'
import { pluginInstall, pluginRemove } from '../../machines/index.ts'
import { inParallel } from '../../src/in-parallel.ts'
import { durableRecords } from '../../src/testing/account.ts'
import { type Ended, killMatrix, type Scenario } from '../../src/testing/index.ts'
import { live, type Subject } from '../../src/testing/life.ts'
import type { KillPoint } from '../../src/testing/mortal.ts'
import { Passages } from '../../src/testing/passages.ts'
import { Ground } from '../support/grounds.ts'
import { installs } from './installs.ts'
import { besideHome } from './plan.ts'
import { disconnected, processesNaming } from './plugin-target.ts'
import { removes } from './removes.ts'
import { Stage } from './stage.ts'

let stage: Stage
let ground: Ground
beforeAll(async () => {
  ground = await Ground.make('a host over ssh')
  stage = await Stage.build()
})
afterAll(async () => {
  await stage?.[Symbol.asyncDispose]()
  await ground?.[Symbol.asyncDispose]()
})

const timeout = 600_000

const farFolder = () => `ssh://${ground.sshd!.alias}${besideHome}/far`
const families = [
  ['an install', pluginInstall, () => installs(stage, farFolder())],
  ['a removal', pluginRemove, () => removes(stage, farFolder())],
] as const

/** In these, the far side has a part from beginning to end. */
const killed = [
  'a first install',
  'an upgrade',
  'going back',
  'the swap is done and says it failed',
  'cancelled while staging',
  'it is removed',
]
const isKilled = ({ name }: Scenario) => killed.includes(name)

test.each(families)(
  'over ssh, %s of a plugin ends as on this machine, also where a step goes on alone on the far side when its program is killed',
  async (_, machine, scenarios) => {
    const undisturbed = await inParallel(4, scenarios(), (scenario) => lived(machine, scenario))
    const seen = new Set<string>()
    const cases = undisturbed
      .filter(({ scenario }) => isKilled(scenario))
      .flatMap(({ scenario, steps, states }) =>
        // The first asks ssh for its configuration, the last ends the connection.
        steps
          .filter(({ what }) => what === 'spawn ssh')
          .slice(1, -1)
          .flatMap(({ after, step }) => {
            const name = `step ${step} while ${states[after - 1]}`
            if (seen.has(name)) return []
            seen.add(name)
            return [{ scenario, fate: { after, step, how: 'after' } as const }]
          }),
      )
    console.log(
      `${machine.id} over ssh: ${undisturbed.length} undisturbed, ${cases.length} killed with a step under way`,
    )
    await inParallel(4, cases, ({ scenario, fate }) => lived(machine, scenario, fate))
  },
  timeout,
)

test.each(families)(
  'over ssh, %s of a plugin that is killed at any transition, again and again, ends where its machine says',
  async (_, machine, scenarios) => {
    const { program } = stage
    const some = scenarios().filter(isKilled)
    const report = await killMatrix({ machine, program, scenarios: some, sparing: true, atRandom: 5 })
    console.log(`${machine.id} over ssh: ${report.kills} kills, in ${report.lives} lives`)
    expect(report.failures).toEqual([])
    expect(report.uncovered.filter((passage) => stepsThatChange.test(passage))).toEqual([])
  },
  timeout,
)

const stepsThatChange =
  /^(staging|snapshotting|swapping|marking|pruning|rollingBack|discarding|unlinking|clearing): \w+ done/

test('the connection of a program that was killed serves the next controller, and ends with it', async () => {
  const upgrade = installs(stage, farFolder()).find(({ name }) => name === 'an upgrade')!
  await inLife(upgrade, async (subject, home) => {
    // The swap is done, and nothing says so.
    await live(subject, 0, { after: 8, step: 'commit', how: 'before' })
    expect(await processesNaming(subject.directory)).toEqual([expect.stringContaining('[mux]')])
    const connections = await ground.sshd!.connections()
    const { length } = await durableRecords(home)
    expect(await live(subject, length, null)).toMatchObject({ code: 0 })
    expect(await ground.sshd!.connections()).toBe(connections)
    await disconnected(subject.directory)
    await upgrade.check!({ home } as Ended)
  })
})

/** Lives a scenario to its end; with a fate, in two lives. */
async function lived(machine: AnyStateMachine, scenario: Scenario, fate: KillPoint | null = null) {
  const { name, check, ends } = scenario
  return inLife(scenario, async (subject, home) => {
    if (fate !== null) expect((await live(subject, 0, fate)).death, name).not.toBe(null)
    const { length } = fate === null ? [] : await durableRecords(home)
    const { code, steps, stderr } = await live(subject, length, null)
    expect({ code, stderr }, name).toMatchObject({ code: 0 })
    const records = await durableRecords(home)
    const history = new Passages(machine).history(records)
    const { state, run } = history.at(-1)!
    expect(ends, name).toContain(state)
    await check?.({ scenario: name, home, state, output: run.snapshot.output, records, deaths: [] })
    return { scenario, steps, states: history.map(({ state }) => state) }
  })
}

async function inLife<Result>(
  { args = [], prepare }: Scenario,
  work: (subject: Subject, home: string) => Promise<Result>,
) {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-kill-')))
  try {
    const home = join(directory, 'home')
    await prepare?.(home)
    return await work({ program: stage.program, args, directory, timeoutMs: 60_000 }, home)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
