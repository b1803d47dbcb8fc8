/**
 * The handoff and the takeover of session daemons, with real processes: the process that writes a record of either machine
 * is killed before it and after it, and at every word that it says in between; the other one and the keeper live.
 */
import { expect, test } from 'vitest'
import { inParallel } from '../../src/in-parallel.ts'
import { sessionScene } from '../support/sessions/scene.ts'
import { type Account, allPassages, type Case, handoffScenarios, Place, type Victim, victims } from './handoffs.ts'

const scene = sessionScene('test/crash/mortal-daemon.ts')

/** Transitions that nobody can be killed at, and why. */
const excused: Readonly<Record<string, string>> = {}

/** With those that print, type and end there are 64 sessions in every handoff and at every kill. */
const idleSessions = 60
const atOnce = 3
/** Cases that one place goes through; those that crash are spread, since the keeper waits longer from crash to crash. */
const inARow = 4
// Dozens of daemons take as long as the machine is busy with others.
const timeout = 900_000

test(
  'whichever daemon is killed at any transition of a handoff or after a crash, the shells and clients go on',
  async () => {
    const failures: string[] = []
    const undisturbed = await liveAll(
      handoffScenarios.map((scenario) => ({ scenario, victim: null })),
      failures,
    )
    const claimed = new Set<string>()
    const cases = handoffScenarios.flatMap((scenario, at) =>
      victims(undisturbed[at] ?? [], claimed).map((victim) => ({ scenario, victim })),
    )
    await liveAll(cases, failures)
    console.log(`${cases.length} kills, and ${undisturbed.length} handoffs and crashes without`)
    expect(failures).toEqual([])
    expect(uncovered(cases.map(({ victim }) => victim))).toEqual([])
  },
  timeout,
)

/** What each did; nothing where it went wrong. */
async function liveAll(cases: readonly Case[], failures: string[]): Promise<(readonly Account[])[]> {
  const accounts: (readonly Account[])[] = cases.map(() => [])
  const queue = [...cases.entries()]
  const rows = Array.from({ length: Math.ceil(cases.length / inARow) }, (_, row) =>
    queue.filter(([at]) => at % Math.ceil(cases.length / inARow) === row),
  )
  await inParallel(atOnce, rows, async (row) => {
    const left = [...row]
    while (left.length > 0) {
      let name = ''
      try {
        await using place = await Place.open(scene, idleSessions)
        for (let next = left.shift(); next !== undefined; next = left.shift()) {
          const [at, each] = next
          name = `${each.scenario.name}, ${each.victim?.label ?? 'undisturbed'}`
          accounts[at] = await place.live(each)
        }
        await place.handOver()
      } catch (error) {
        failures.push(`${name}: ${(error as Error).message}`)
        if (name === '') left.shift() // there was no place to live it in
      }
    }
  })
  return accounts
}

/** Neither killed nor excused, and excuses for what is killed after all. */
function uncovered(killed: readonly Victim[]): string[] {
  const covered = new Set(killed.flatMap(({ passages }) => passages))
  return [
    ...allPassages.filter((passage) => !covered.has(passage) && excused[passage] === undefined),
    ...Object.keys(excused).filter((passage) => covered.has(passage)),
  ]
}
