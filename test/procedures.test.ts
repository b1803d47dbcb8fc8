import { existsSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { EffectsOf } from '../src/run/index.ts'
import { backup, backupNamed } from './support/backup.ts'
import { Host } from './support/host.ts'

// A host's own statecharts in its controller.

let host: Host
beforeEach(async () => {
  host = await Host.make({ bundled: null })
})
afterEach(() => host[Symbol.asyncDispose]())

type Copy = EffectsOf<typeof backup>['copy']
const served = (copy: Copy) => ({ procedures: [{ machine: backup, effects: { copy } }] })
const codeOf = (error: unknown) => (error as { code?: string }).code

const input = { folder: '/data' }

test('a procedure runs to its end: in the journal, by its key, and told to who listens', async () => {
  const controller = await host.open(served(async () => 7))
  const told: string[] = []
  controller.subscribe(({ type }) => told.push(type))
  const { run, status } = await controller.procedures.start('nightly-backup', { key: 'data', input, busy: 'refuse' })
  expect(status).toBe('active')
  const ended = await controller.procedures.ended(run)
  expect(ended).toMatchObject({ status: 'done', machine: 'nightly-backup@1', key: 'data', output: { bytes: 7 } })
  expect(told).toEqual(['backup.done'])
  let records = 0
  for await (const record of controller.journal.read({ from: 1 })) if (record.run === run) records += 1
  expect(records).toBe(2)
  expect((await controller.stateAt(run, ended.startedSeq)).value).toBe('copying')
})

test('what a controller was closed in goes on in the next one, under the same key', async () => {
  const keys: string[] = []
  const first = await host.open(
    served((_, { key, signal }) => {
      keys.push(key)
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    }),
  )
  const { run } = await first.procedures.start('nightly-backup', { key: 'data', input, busy: 'refuse' })
  await first.close()
  await expect(host.open()).rejects.toMatchObject({ code: 'MACHINE_UNKNOWN', message: expect.stringContaining(run) })
  const second = await host.open(
    served(async (_, { key }) => {
      keys.push(key)
      return 9
    }),
  )
  expect(await second.procedures.ended(run)).toMatchObject({ status: 'done', output: { bytes: 9 } })
  expect(keys).toHaveLength(2)
  expect(keys[1]).toBe(keys[0])
})

test('one that failed waits, and takes an event; nobody has two of one key', async () => {
  let attempts = 0
  const controller = await host.open(
    served(async () => {
      attempts += 1
      if (attempts === 1) throw new Error('no room')
      return 3
    }),
  )
  const start = { key: 'data', input, busy: 'refuse' } as const
  const { run } = await controller.procedures.start('nightly-backup', start)
  await expect.poll(() => controller.procedures.active('nightly-backup', 'data')?.value).toBe('waiting')
  await expect(controller.procedures.start('nightly-backup', start)).rejects.toMatchObject({ code: 'RUN_BUSY' })
  expect(controller.procedures.active('nightly-backup', 'other')).toBeUndefined()
  await controller.procedures.send(run, { type: 'again' })
  expect((await controller.procedures.ended(run)).output).toEqual({ bytes: 3 })
  await expect(controller.procedures.send(run, { type: 'again' })).rejects.toMatchObject({ code: 'RUN_ENDED' })
})

test('nobody changes what a run holds: neither who looks at it nor its effects', async () => {
  const asked: unknown[] = []
  const controller = await host.open(
    served(async (folder) => {
      asked.push(folder)
      return 1
    }),
  )
  const { procedures } = controller
  const begun = await procedures.start('nightly-backup', { key: 'data', input, busy: 'refuse' })
  const seen = [begun, procedures.active('nightly-backup', 'data'), await procedures.ended(begun.run)]
  for (const state of seen) expect(Object.isFrozen(state!.context)).toBe(true)
  expect(asked).toEqual([input])
  expect(Object.isFrozen(asked[0])).toBe(true)
})

test('a procedure may be called like those of plugins, and is none of them', async () => {
  const machine = backupNamed('plugin-backup')
  const procedures = [{ machine, effects: { copy: async () => Promise.reject(new Error('no room')) } }]
  const first = await host.open({ procedures })
  await first.procedures.start('plugin-backup', { key: 'data', input, busy: 'refuse' })
  expect(await first.plugins.list()).toEqual([])
  await first.close()
  const second = await host.open({ procedures })
  expect(await second.plugins.list()).toEqual([])
  expect(second.procedures.active('plugin-backup', 'data')).toBeDefined()
})

test("a name that is wrong is told the nearest; the controller's own runs have verbs of their own", async () => {
  const controller = await host.open(served(async () => 1))
  const { procedures } = controller
  const start = { key: 'a', input: {}, busy: 'join' } as const
  await expect(procedures.start('nightly-bakup', start)).rejects.toMatchObject({
    code: 'MACHINE_UNKNOWN',
    message: expect.stringContaining('nightly-backup'),
  })
  await controller.workspaces.add('a')
  const { run, machine } = controller.runs().at(-1)!
  expect(machine).toMatch(/^workspace-adjust@/)
  await expect(procedures.start('workspace-adjust', start)).rejects.toMatchObject({ code: 'MACHINE_UNKNOWN' })
  for (const asked of [procedures.send(run, { type: 'again' }), procedures.ended(run), procedures.ended('nothing-1')])
    expect(codeOf(await asked.catch((error) => error))).toBe('RUN_UNKNOWN')
  expect(procedures.active('workspace-adjust', 'a')).toBeUndefined()
})

test('a definition that cannot be, or has a name that is taken, is refused before there is a home', async () => {
  const taken = "of Instar's own"
  const served = { effects: { copy: async () => 1 } }
  for (const [name, why] of [
    ['runtime-launch', taken],
    ['daemon-handoff', taken],
    ['nightly backup', 'no name'],
  ] as const) {
    for (const flow of [
      { machine: backupNamed(name), ...served },
      { machine: backup, retired: [backupNamed(name)], ...served },
    ])
      await expect(host.open({ procedures: [flow] })).rejects.toMatchObject({
        code: 'MACHINE_INVALID',
        message: expect.stringContaining(why),
      })
  }
  const unserved = host.open({ procedures: [{ machine: backup, effects: {} }] })
  await expect(unserved).rejects.toMatchObject({
    code: 'MACHINE_INVALID',
    message: "nightly-backup@1: no function serves the effect 'copy'",
  })
  expect(existsSync(host.home)).toBe(false)
})
