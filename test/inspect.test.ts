import { createInspector } from '@statelyai/inspect'
import { expect, onTestFinished, test } from 'vitest'
import { inspectRuns } from '../src/inspect.ts'
import { backup } from './support/backup.ts'
import { Host } from './support/host.ts'

// With the inspector's own package, and nobody at its other end.

interface Told {
  readonly type: string
  readonly sessionId: string
  readonly name?: string
  readonly definition?: string
  readonly event?: { readonly type: string }
  readonly snapshot?: { readonly status?: string; readonly value?: unknown }
}

test('an inspector is told of the runs that go on, and of all that happens after that', async () => {
  const host = await Host.make({ bundled: null })
  onTestFinished(() => host[Symbol.asyncDispose]())
  let copy: () => Promise<number> = () => Promise.reject(new Error('no room'))
  const controller = await host.open({ procedures: [{ machine: backup, effects: { copy: () => copy() } }] })
  const start = { key: 'data', input: { folder: '/data' }, busy: 'refuse' } as const
  const { run } = await controller.procedures.start('nightly-backup', start)
  await expect.poll(() => controller.run(run)?.value).toBe('waiting')

  const told: Told[] = []
  const inspector = createInspector({ send: (event) => void told.push(event as Told) })
  const end = inspectRuns(controller, inspector)
  const [known] = told
  expect(told).toHaveLength(1)
  expect(known).toMatchObject({ type: '@xstate.actor', sessionId: run, snapshot: { value: 'waiting' } })
  expect(JSON.parse(known!.definition!).states).toHaveProperty('waiting')

  copy = async () => 3
  await controller.procedures.send(run, { type: 'again' })
  await controller.procedures.ended(run)
  await controller.workspaces.add('a')
  const own = told.filter(({ sessionId }) => sessionId === run).slice(1)
  expect(own.map(({ type, event }) => `${type} ${event?.type}`)).toEqual([
    '@xstate.event again',
    '@xstate.snapshot again',
    '@xstate.event xstate.done.actor.copy',
    '@xstate.snapshot xstate.done.actor.copy',
  ])
  expect(own.at(-1)!.snapshot).toMatchObject({ status: 'done', value: 'kept' })
  const other = told.find(({ sessionId }) => sessionId.startsWith('workspace-adjust-'))
  expect(other).toMatchObject({ type: '@xstate.actor', snapshot: { status: 'active', value: 'adjusting' } })

  end()
  const count = told.length
  await controller.workspaces.add('b')
  expect(told).toHaveLength(count)
})
