import { readdir, readlink, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { runtimeAdjust } from '../machines/index.ts'
import { type Controller, openController } from '../src/controller.ts'
import { openHome } from '../src/home.ts'
import { seqOfName } from '../src/journal/format.ts'
import { openJournal } from '../src/journal/journal.ts'
import { silent } from '../src/logger.ts'
import { Targets } from '../src/plugins/targets.ts'
import { ReleaseStore } from '../src/releases/store.ts'
import { Interpreter } from '../src/run/interpreter.ts'
import { Host } from './support/host.ts'

/** A check that has learned of a newer version and waits for its bytes. */
async function checking(host: Host, controller: Controller) {
  host.publish('1.1.0')
  const gate = host.registry.hold('tarball')
  const asked = controller.runtime('tool').check()
  asked.catch(() => {}) // the controller closes before it is answered
  await gate.reached
  return gate
}

/** What of `directory` this process has open. */
async function openFiles(directory: string): Promise<string[]> {
  const links = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''))
  return (await Promise.all(links)).filter((path) => path.startsWith(directory))
}

test('a home that does not open after all has nothing at work in it, and can be opened again', async () => {
  await using host = await Host.make()
  const before = await host.open()
  const gate = await checking(host, before)
  await before.close()
  await symlink('sessions', join(host.home, 'sessions')) // a place that cannot even be looked at
  const errors: unknown[] = []
  const logger = { ...silent, error: (...said: unknown[]) => errors.push(said) }
  const opening = openController({ home: host.home, config: host.config(), logger })
  await expect(opening).rejects.toMatchObject({ code: 'ELOOP' })
  expect(await openFiles(host.home)).toEqual([])
  gate.release()
  await sleep(300) // an answer that still came would meet a journal that is closed
  expect(errors).toEqual([])

  await rm(join(host.home, 'sessions'))
  const controller = await host.open()
  expect(await controller.runtime('tool').check()).toMatchObject({ outcome: 'staged', version: '1.1.0' })
})

test('a journal that fails at the very end keeps nothing else from being closed', async () => {
  await using host = await Host.make()
  const closed = [vi.spyOn(ReleaseStore.prototype, 'close'), vi.spyOn(Targets.prototype, 'close')]
  onTestFinished(() => void vi.restoreAllMocks())
  const controller = await openController({ home: host.home, config: host.config(), schedule: false })
  await controller.runtime('tool').check()
  await rename(join(host.home, 'journal'), join(host.home, 'away'))
  await expect(controller.close()).rejects.toMatchObject({ code: 'JOURNAL_WRITE_FAILED' })
  expect(closed.map(({ mock }) => mock.calls.length)).toEqual([3, 1])
  expect(await openFiles(host.home)).toEqual([])
})

test('the journal is padded as the configuration says', async () => {
  await using host = await Host.make()
  const config = { ...host.config(), journal: { padBytes: 512 as const } }
  await using controller = await openController({ home: host.home, config, schedule: false })
  await controller.runtime('tool').ban('9.9.9')
  const journal = join(host.home, 'journal')
  const segments = (await readdir(journal)).filter((name) => seqOfName('segment', name) !== undefined)
  expect(segments).toHaveLength(1)
  const { size } = await stat(join(journal, segments[0]!))
  expect(size).toBeGreaterThan(512)
  expect(size % 512).toBe(0)
})

test('scenario Journal 8: a home of many records opens from the last snapshot, and reads nothing before it', async () => {
  await using host = await Host.make()
  await openHome(host.home)
  const directory = join(host.home, 'journal')
  const log = await openJournal({ directory, retainRecords: Number.POSITIVE_INFINITY })
  const flows = [{ machine: runtimeAdjust, effects: { carryOut: async () => ({}) } }]
  const interpreter = await Interpreter.open({ log, flows, snapshotEveryRecords: 1000 })
  const adjust = async (_: unknown, at: number) => {
    const input = { runtime: `tool-${at}`, adjustment: { kind: 'prune' } }
    const { run } = await interpreter.start('runtime-adjust', { key: input.runtime, input, busy: 'join' })
    await interpreter.ended(run)
  }
  for (let round = 0; round < 33; round += 1) await Promise.all(Array.from({ length: 50 }, adjust))
  Object.assign(log, { saveSnapshot: async () => {} }) // as where it was killed
  await interpreter.close()

  const names = (await readdir(directory)).sort()
  const named = (kind: 'segment' | 'snapshot') => names.filter((name) => seqOfName(kind, name) !== undefined)
  const last = seqOfName('snapshot', named('snapshot').at(-1)!)!
  const isBefore = (_: string, at: number, all: string[]) =>
    at + 1 < all.length && seqOfName('segment', all[at + 1]!)! <= last + 1
  const old = [...named('snapshot').slice(0, -1), ...named('segment').filter(isBefore)]
  expect([log.lastSeq, old.length]).toEqual([3300, 4])
  for (const name of old) await writeFile(join(directory, name), 'nothing')
  const controller = await host.open()
  expect(controller.state()).toMatchObject({ lastSeq: 3300, runs: [] })
  expect(controller.runs().at(-1)).toMatchObject({ status: 'done', seq: 3300 })
  await controller.runtime('tool').ban('9.9.9')
})

test('a host cannot change what it is shown of a run or of what was announced', async () => {
  await using host = await Host.make()
  const controller = await host.open()
  await controller.runtime('tool').ban('9.9.9')
  const [run] = controller.runs()
  const [notice] = controller.notices()
  const change = (shown: unknown) => Object.assign(shown as object, { mine: true })
  for (const shown of [run, run?.context, run?.output, notice]) expect(() => change(shown)).toThrow(TypeError)
  await controller.runtime('tool').unban('9.9.9')
  expect(() => change(controller.run(controller.runs()[1]!.run)!.context)).toThrow(TypeError)
  await controller.close()
  expect((await host.open()).runs()).toHaveLength(2)
})
