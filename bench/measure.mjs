// How the benchmarks measure: both sides in one run, in turns, so that what else the machine does falls on both.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const percentile = (values, share) => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}
export const median = (values) => percentile(values, 0.5)

/** Milliseconds that `work` takes. */
export async function timed(work) {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** Runs each of `sides` once per round, in turns, and gives the values of each by name. */
export async function inTurns(rounds, sides) {
  const values = Object.fromEntries(Object.keys(sides).map((name) => [name, []]))
  for (let round = 0; round < rounds; round += 1)
    for (const [name, side] of Object.entries(sides)) values[name].push(...[await side(round)].flat())
  return values
}

/** One line of the result. `goal` reads "<= 1.6" or ">= 5"; `ratio` is what it is about. */
export function row({ name, value, unit, peer, ratio, goal, ok }) {
  const [, how, bound] = /^(<=|>=) ([\d.]+)/.exec(goal) ?? []
  const reached = ok ?? (how === '<=' ? ratio <= Number(bound) : ratio >= Number(bound))
  return {
    name,
    value: round(value),
    unit,
    peer: typeof peer === 'number' ? round(peer) : peer,
    ratio: round(ratio),
    goal,
    ok: reached,
  }
}

const round = (value) => (typeof value === 'number' ? Number(value.toPrecision(4)) : value)

export async function inScratch(work) {
  const directory = await mkdtemp(join(tmpdir(), 'instar-bench-'))
  try {
    return await work(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
