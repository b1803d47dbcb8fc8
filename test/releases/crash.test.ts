import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readPointer } from '../../src/releases/pointer.ts'
import { ReleaseStore } from '../../src/releases/store.ts'
import { exitOf, start } from './children.ts'
import { goOn } from './fixtures/story.mjs'
import { namesIn, newHome, openStore, releasesPath } from './home.ts'

/** All that must be the same however often the story was interrupted: everything but dates and the home's place. */
async function endOf(store: ReleaseStore, home: string) {
  const { pointer, committed, bans, strikes, seen, problems } = await store.state('kanban')
  const named = Object.entries(pointer).map(([role, ref]) => [role, ref?.version])
  return {
    named: Object.fromEntries(named),
    committed,
    banned: Object.keys(bans),
    strikes: Object.entries(strikes).map(([version, { keys }]) => [version, keys]),
    seen: Object.keys(seen),
    problems,
    releases: await namesIn(releasesPath(home, 'kanban')),
    states: await namesIn(join(home, 'state/runtime')),
  }
}

/** What must hold right after a kill, before anybody has repaired or resumed anything. */
async function expectConsistent(store: ReleaseStore, home: string) {
  const { banned: _, ...launcher } = await readPointer(home, 'runtime', 'kanban')
  expect(launcher.problem).toBeUndefined()
  expect(await store.pointer('kanban')).toEqual(launcher)
  for (const ref of [launcher.current, launcher.previous, launcher.knownGood])
    if (ref !== null)
      expect(await store.verify({ name: 'kanban', ...ref }, { full: true })).toMatchObject({ whole: true })
  // The story itself damages 3.0.0.
  for (const release of await store.list('kanban'))
    if (release.version !== '3.0.0') expect(await store.verify(release, { full: true })).toMatchObject({ whole: true })
}

test('scenario runtime 11: killed in the middle of any change to the disk, the store is consistent and the work goes on', async () => {
  const calm = await newHome()
  const survivor = start('mortal', [calm, join(calm, 'progress'), '0'])
  let changes = 0
  survivor.stdout!.on('data', (text) => {
    changes = Number(text)
  })
  expect(await exitOf(survivor)).toEqual({ code: 0, signal: null })
  const wanted = await endOf(await openStore(calm), calm)
  expect(wanted).toMatchObject({
    named: { current: '1.0.0', knownGood: '1.0.0' },
    committed: '2.0.0',
    banned: ['2.0.0'],
    releases: [expect.stringMatching(/^1\.0\.0/), expect.stringMatching(/^3\.0\.0/)],
    states: ['kanban.guard', 'kanban.json'],
  })
  expect(changes).toBeGreaterThan(40)

  const dieAt = async (fatal: number) => {
    const home = await realpath(await mkdtemp(join(tmpdir(), 'releases-')))
    const progress = join(home, 'progress')
    try {
      expect(await exitOf(start('mortal', [home, progress, `${fatal}`]))).toEqual({ code: null, signal: 'SIGKILL' })
      await using store = await ReleaseStore.open({ home, kind: 'runtime' })
      await expectConsistent(store, home)
      await goOn(store, progress)
      await store.sweep()
      expect(await endOf(store, home), `killed in change ${fatal}`).toEqual(wanted)
    } finally {
      await rm(home, { recursive: true, force: true })
    }
  }
  let fatal = 0
  const work = async () => {
    while (fatal < changes) await dieAt(++fatal)
  }
  await Promise.all([work(), work(), work()])
}, 300_000)
