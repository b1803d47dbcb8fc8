/**
 * What can be asked about apps and workspaces, in a real controller with real processes, killed at every transition that it
 * and the instances take: before its record is durable, in the midst of it, or after it.
 *
 * The runs of several machines are woven together a little differently each time, so a point is one of the journal as a
 * whole: where another record comes there, that one is killed.
 *
 * Seen found: effects that went on after a crash did not know yet what runs in the workspaces, and left one behind; an install
 * that failed after a crash left the organisation the version that it had raised; what was asked of an app that was just
 * starting, and did not come up, was never answered.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Controller } from '../../src/controller.ts'
import { AppLives, type Story } from './app-lives.ts'
import { type OrderName, secret } from './app-orders.ts'

let lives: AppLives

beforeAll(async () => {
  lives = await AppLives.make()
})
afterAll(() => lives?.[Symbol.asyncDispose]())

const everywhere = ['a', 'b', 'c', 'd']

/** Homes in which workspaces have version 1.0.0, those that are named with an environment of their own. */
const withApp = (
  name: string,
  workspaces: readonly string[],
  broken: readonly string[] = [],
  then: (controller: Controller) => Promise<unknown> = async () => {},
) =>
  lives.home(name, async (controller) => {
    for (const workspace of workspaces) {
      await controller.workspaces.add(workspace)
      await controller.apps.install('notes@1.0.0', {
        workspace,
        env: broken.includes(workspace) ? { BROKEN: 'yes' } : { WORD: 'first' },
      })
    }
    await then(controller)
  })

async function answer({ apps }: Controller, workspace: string, tool: string): Promise<string> {
  const { content } = (await apps.call({ workspace, app: 'notes' }, tool)) as { content: { text: string }[] }
  return content[0]!.text
}

const versions = (controller: Controller) =>
  Promise.all(everywhere.map((workspace) => answer(controller, workspace, 'version')))

const failsWhereBroken = 'if (process.env.BROKEN) process.exit(1)'

// Dozens of lives with several processes each.
const timeout = 900_000

test(
  'an upgrade that is killed at any transition is completed by the next controller, and every workspace serves',
  async () => {
    lives.publish('1.0.0')
    const home = await withApp('good', everywhere)
    lives.publish('2.0.0')
    const killed = await lives.killedEverywhere({
      order: 'upgrade',
      home,
      async check(result, controller) {
        // Killed after its last record, it is asked for once more.
        expect(['upgraded', 'current']).toContain((result as { outcome: string }).outcome)
        expect(await versions(controller)).toEqual(everywhere.map(() => '2.0.0'))
      },
    })
    console.log(`an upgrade of four workspaces: killed at ${killed.size} transitions`)
    expect([...killed]).toContain('app-upgrade: raising: raise done -> planning')
    expect([...killed]).toContain('app-instance: changing: change done -> attending')
  },
  timeout,
)

test(
  'one that has to go back, killed anywhere, leaves every workspace with the old version, which serves',
  async () => {
    lives.publish('1.0.0')
    const home = await withApp('bad', everywhere, ['b', 'c', 'd'])
    lives.publish('2.0.0', failsWhereBroken)
    const killed = await lives.killedEverywhere({
      order: 'upgrade',
      home,
      async check(result, controller) {
        expect(result).toMatchObject({ outcome: 'returned', to: '2.0.0' })
        expect(await versions(controller)).toEqual(everywhere.map(() => '1.0.0'))
      },
    })
    console.log(`one that goes back: killed at ${killed.size} transitions`)
    expect([...killed]).toContain('app-upgrade: goingBack: goBack done -> returned')
  },
  timeout,
)

test(
  'whatever else is asked, killed at any transition, is done or has not happened, and a secret is nowhere but in its store',
  async () => {
    lives.publish('1.0.0', failsWhereBroken)
    const empty = await lives.home('empty', ({ workspaces }) => workspaces.add('a'))
    const one = await withApp('one', ['a'])
    const pinned = await withApp('pinned', ['a'], [], ({ apps }) => apps.pin('notes'))
    const secretive = await lives.home('secretive', async ({ workspaces, credentials }) => {
      await workspaces.add('a')
      await credentials.set('key', secret, { workspace: 'a' })
    })
    const wordIn = async (controller: Controller) => JSON.parse(await answer(controller, 'a', 'facts')).env.WORD
    const isEmpty = async ({ apps, workspaces: all }: Controller) => {
      expect(all.list()).toEqual([{ id: 'a', apps: [] }])
      // What was fetched is kept, and is nobody's version.
      for (const { version, workspaces } of await apps.list())
        expect({ version, workspaces }).toEqual({ version: null, workspaces: [] })
    }
    const checks: Partial<Record<OrderName, readonly [home: string, check: Story['check']]>> = {
      install: [empty, async (_, controller) => expect(await answer(controller, 'a', 'version')).toBe('1.0.0')],
      'install one that does not start': [
        empty,
        async (result, controller) => {
          expect(result).toMatchObject({ code: 'APP_START_FAILED' })
          await isEmpty(controller)
        },
      ],
      'install one that is not there': [
        empty,
        async (result, controller) => {
          expect(result).toMatchObject({ code: 'VERSION_NOT_FOUND' })
          await isEmpty(controller)
        },
      ],
      configure: [one, async (_, controller) => expect(await wordIn(controller)).toBe('other')],
      'configure so that it does not start': [
        one,
        async (result, controller) => {
          expect(result).toMatchObject({ code: 'APP_START_FAILED' })
          expect(await wordIn(controller)).toBe('first')
        },
      ],
      pin: [
        one,
        async (_, { apps }) => expect((await apps.list())[0]).toMatchObject({ pin: { note: 'until tuesday' } }),
      ],
      unpin: [pinned, async (_, { apps }) => expect((await apps.list())[0]).toMatchObject({ pin: null })],
      remove: [one, async (_, { workspaces }) => expect(workspaces.list()).toEqual([{ id: 'a', apps: [] }])],
      'add a workspace': [
        empty,
        async (_, { workspaces }) => expect(workspaces.list().map(({ id }) => id)).toEqual(['a', 'fresh']),
      ],
      'remove a workspace': [one, async (_, { workspaces }) => expect(workspaces.list()).toEqual([])],
      'set a credential': [
        empty,
        async (_, { credentials }, home) => {
          expect(credentials.list()).toMatchObject([{ credential: 'key' }])
          expect(await filesHolding(home, secret)).toEqual([join('state', 'credentials.json')])
        },
      ],
      'remove a credential': [
        secretive,
        async (_, { credentials }, home) => {
          expect(credentials.list()).toEqual([])
          expect(await filesHolding(home, secret)).toEqual([])
        },
      ],
    }
    const killed = new Set<string>()
    for (const [order, [home, check]] of Object.entries(checks))
      for (const passage of await lives.killedEverywhere({ order: order as OrderName, home, check }))
        killed.add(passage)
    console.log(`what else is asked: killed at ${killed.size} transitions`)
    for (const passage of [
      'app-install: starting: start done -> installed',
      'app-install: starting: start error -> undoing',
      'app-install: undoing: undo done -> refused',
      'app-install: adopting: adopt error -> refused',
      'app-remove: forgetting: forget done -> removed',
      'app-pin: pinning: carryOut done -> settled',
      'workspace-adjust: adjusting: carryOut done -> adjusted',
    ])
      expect([...killed]).toContain(passage)
  },
  timeout,
)

async function filesHolding(home: string, text: string): Promise<string[]> {
  const entries = await readdir(home, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const holding = await Promise.all(paths.map(async (path) => (await readFile(path)).includes(text)))
  return paths.filter((_, at) => holding[at]).map((path) => path.slice(home.length + 1))
}
