/**
 * The real process with a disk that fails under it: a check for a newer version, at up to 40 of the writes and of the
 * flushes that it makes in the journal and 6 elsewhere, evenly spread, with EIO and with a disk that is full from then on;
 * and a launch whose version dies, at up to 6.
 *
 * What a flush that fails silently would lose only shows after a power cut: see the simulated disk's tests for that.
 *
 * Seen caught: a commit whose failure is taken for success (`disk.ts`).
 */
import { execFile } from 'node:child_process'
import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LaunchResult, UpdateResult } from '../../machines/index.ts'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import { inParallel } from '../../src/in-parallel.ts'
import { assertDurable, durableRecords } from '../../src/testing/account.ts'
import { callsIn, type DiskFault, FaultyDisk } from '../support/faulty-disk.ts'
import type { Plan } from './plan.ts'
import { inspect, install, Stage, scripts } from './stage.ts'

const forMinutes = 600_000
let stage: Stage
let disk: FaultyDisk
const places = ['journal', 'state', 'releases'] as const
const errors = ['EIO', 'ENOSPC'] as const

// Only there can calls of libc be replaced from outside.
describe.runIf(process.platform === 'linux')('on Linux', () => {
  beforeAll(async () => {
    ;[stage, disk] = await Promise.all([Stage.build(), FaultyDisk.build()])
    stage.publish('faulty', '2.0.0', scripts.good)
  })
  afterAll(async () => {
    await stage[Symbol.asyncDispose]()
    await disk[Symbol.asyncDispose]()
  })

  for (const place of places)
    for (const calls of ['write', 'flush'] as const)
      test(
        `a ${calls} that fails in ${place} loses nothing and shows nothing that was not durable`,
        async () => {
          const path = `/home/${place}`
          const { count } = await check({ calls, path, at: 0, error: 'EIO' })
          expect(count).toBeGreaterThan(0)
          const faults = errors.flatMap((error) =>
            spread(count, place === 'journal' ? 40 : 6).map((at): DiskFault => ({ calls, path, at, error })),
          )
          const outcomes = await inParallel(3, faults, async (fault) => (await check(fault)).outcome)
          console.log(`${place}, ${calls}: ${count} calls, ${faults.length} failures: ${tally(outcomes)}`)
          expect(outcomes.some((outcome) => outcome !== 'staged')).toBe(true)
        },
        forMinutes,
      )

  // The record of a process is written by that process.
  for (const place of ['journal', 'state'])
    for (const calls of ['write', 'flush'] as const)
      test(
        `a launch with a ${calls} that fails in ${place} ends on the fallback, or stops and the next one does`,
        async () => {
          const path = `/home/${place}`
          const { count } = await launch({ calls, path, at: 0, error: 'EIO' })
          expect(count).toBeGreaterThan(0)
          const faults = errors.flatMap((error) =>
            spread(count, 6).map((at): DiskFault => ({ calls, path, at, error })),
          )
          const outcomes = await inParallel(3, faults, async (fault) => (await launch(fault)).outcome)
          console.log(`launch, ${place}, ${calls}: ${count} calls, ${faults.length} failures: ${tally(outcomes)}`)
        },
        forMinutes,
      )
})

interface Tried {
  readonly outcome: string
  /** How many calls could have failed. */
  readonly count: number
}

/** Launches a version that dies, on a disk with this fault, then on a sound one. */
const launch = (fault: DiskFault) =>
  inHome(fault, ['2.0.0', scripts.broken], async (home, run) => {
    const sends = [{ event: 'stop', when: 'healthy' }]
    const plan = stage.plan('runtime-launch', 'faulty', { policy: { strikes: 1 } }, { sends })
    const { code, stdout, stderr } = await run(plan)
    const outcome = code === 0 ? launchedIn(stdout) : stopIn(stderr, stdout)
    {
      await using controller = await openController({ home, config: parseConfig(plan.config, '/'), schedule: false })
      await controller.runtime('tool').stop() // of what the first process may have left
      const { arm } = await controller.runtime('tool').launch()
      expect(arm).toBe('bundled')
    }
    const found = await inspect({ home, records: await durableRecords(home) }, plan.config as object)
    // A banned version is not run, whether or not the pointer could be taken from it.
    expect(found).toMatchObject({ knownGood: null, bans: ['2.0.0'] })
    return outcome
  })

/** How a launch ended that came to its end: on the version that came with the host. */
function launchedIn(stdout: string): string {
  const { outcome, version } = JSON.parse(stdout.trim().split('\n').at(-1)!) as LaunchResult
  return `${outcome} ${version}`
}

/** Checks for a newer version on a disk with this fault, then on a sound one. */
const check = (fault: DiskFault) =>
  inHome(fault, ['1.5.0', scripts.good], async (home, run) => {
    const plan = stage.plan('runtime-update', 'faulty', {})
    const { code, stdout, stderr, records } = await run(plan)
    const outcome = code === 0 ? outcomeIn(stdout) : stopIn(stderr, stdout)
    {
      await using controller = await openController({ home, config: parseConfig(plan.config, '/'), schedule: false })
      const { outcome: next } = await controller.runtime('tool').check()
      expect(['staged', 'already-staged']).toContain(next)
    }
    const found = await inspect({ home, records }, plan.config as object)
    expect(found).toEqual({ current: '2.0.0', knownGood: null, releases: ['2.0.0', '1.5.0'], bans: [] })
    return outcome
  })

/** A home with this release, in which `work` has a plan carried out by a process whose disk has the fault. */
async function inHome(
  fault: DiskFault,
  release: readonly [string, string],
  work: (home: string, runs: (plan: Plan) => Promise<Carried>) => Promise<string>,
): Promise<Tried> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-fault-')))
  const home = join(directory, 'home')
  const log = join(directory, 'log')
  try {
    await install(home, release)
    const outcome = await work(home, async (plan) => {
      const ended = await run([stage.program, home, JSON.stringify(plan)], disk.environment(fault, log))
      const records = await durableRecords(home)
      assertDurable(ended.stdout, records)
      return { ...ended, records }
    })
    return { outcome, count: await callsIn(log) }
  } catch (cause) {
    throw new Error(`${fault.error} at ${fault.calls} ${fault.at} in ${fault.path}: ${(cause as Error).message}`, {
      cause,
    })
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** How a check ended that came to its end: a failing disk is no proof of anything about a version. */
function outcomeIn(stdout: string): string {
  const { outcome, failure } = JSON.parse(stdout.trim().split('\n').at(-1)!) as UpdateResult
  expect(['staged', 'check-failed']).toContain(outcome)
  if (outcome === 'staged') return outcome
  expect(diskCodes).toContain(failure?.code)
  return `${outcome} (${failure!.code})`
}

/** Why the process stopped: it could not open the home, or its journal failed and it was told so. */
function stopIn(stderr: string, stdout: string): string {
  // Once the run has ended there is only closing left, whose caller is told instead.
  if (stdout !== '' && !stdout.includes('"outcome"')) expect(stderr).toContain('the controller has failed')
  const code = /code: '([A-Z_]+)'/.exec(stderr)?.[1]
  expect(['JOURNAL_WRITE_FAILED', ...diskCodes], stderr).toContain(code)
  return `stopped (${code})`
}

const diskCodes = ['DISK_FULL', 'DISK_FAILED']

interface RunEnd {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

interface Carried extends RunEnd {
  readonly records: Awaited<ReturnType<typeof durableRecords>>
}

function run(args: string[], env: Record<string, string>): Promise<RunEnd> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...env }, timeout: 60_000, killSignal: 'SIGKILL' } as const
    const child = execFile(process.execPath, args, options, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

/** The numbers from 1 to `count`, or `most` of them, evenly spread. */
const spread = (count: number, most: number) =>
  Array.from({ length: Math.min(count, most) }, (_, at) => 1 + Math.floor((at * count) / Math.min(count, most)))

function tally(outcomes: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const outcome of outcomes) counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
  return [...counts].map(([outcome, count]) => `${count} ${outcome}`).join(', ')
}
