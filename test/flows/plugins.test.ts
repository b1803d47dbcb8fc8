import { describe, expect, test } from 'vitest'
import { installEffects } from '../../src/flows/plugin-install.ts'
import { setEffects } from '../../src/flows/plugin-set.ts'
import type { PluginWorld } from '../../src/flows/plugin-world.ts'
import { memberOf } from '../../src/plugin-results.ts'
import type { Shelf, Target } from '../../src/plugins/target.ts'

// What the effects of plugins ask of a target, step by step; what they do to real ones is in `test/scenarios/plugin*`.

const digest = (letter: string) => letter.repeat(64)
const tree = (version: string, letter: string, owner = 'me') => ({
  folder: `${version}-${letter.repeat(12)}`,
  seal: {
    schema: 1,
    name: 'tint',
    version,
    digest: digest(letter),
    owner,
    sealedAt: `2026-01-0${version[0]}`,
  } as const,
})
const installed = ({ folder, seal }: ReturnType<typeof tree>) => ({
  folder,
  version: seal.version,
  digest: seal.digest,
})

const [one, two, three] = [tree('1.0.0', 'a'), tree('2.0.0', 'b'), tree('3.0.0', 'c')] as const
const place = { plugin: 'tint', target: 'web' }

/** A world with one target, which has this shelf, notes what it is asked, and does nothing. */
function worldOf(shelf: Partial<Shelf>, more: { target?: Partial<Target>; world?: object } = {}) {
  const steps: string[] = []
  const found: Shelf = { live: null, astray: null, previous: null, trees: [], ...shelf }
  const target = {
    owner: 'me',
    shelf: async () => {
      steps.push('shelf')
      return found
    },
    read: async () => {
      steps.push('read')
      return []
    },
    point: async (_: string, link: string, folder: string | null) => void steps.push(`${link} -> ${folder}`),
    remove: async (_: string, folders: readonly string[]) => void steps.push(`remove ${folders}`),
    sweep: async (plugin: string) => void steps.push(`sweep ${plugin}`),
    ...more.target,
  }
  const world = { keep: 2, target: () => target, store: { find: async () => null }, ...more.world }
  return { world: world as unknown as PluginWorld, steps }
}

describe('what to go back to', () => {
  const noted = async (before: object, staged: ReturnType<typeof tree>) => {
    const { world, steps } = worldOf({})
    const found = { live: null, isWhole: false, previous: null, ...before }
    await installEffects(world).snapshot({ ...place, before: found, staged: installed(staged) })
    return steps
  }

  test('is what is live', async () => {
    expect(await noted({ live: installed(one) }, two)).toEqual([`previous -> ${one.folder}`])
  })

  test('is not a damaged copy of what is put there, nor what has no seal: what was noted stays, without a step', async () => {
    const previous = one.folder
    expect(await noted({ live: installed(two), previous }, two)).toEqual([])
    expect(await noted({ live: { folder: two.folder, version: '', digest: '' }, previous }, three)).toEqual([])
  })

  test('costs no step where it is noted already', async () => {
    expect(await noted({ live: installed(two), previous: two.folder }, three)).toEqual([])
    expect(await noted({}, two)).toEqual([])
  })
})

describe('going back', () => {
  const goBack = async (shelf: Partial<Shelf>, before: object) => {
    const { world, steps } = worldOf(shelf)
    const found = { live: null, isWhole: false, previous: null, ...before }
    await installEffects(world).goBack({ ...place, before: found, staged: installed(two) })
    return steps
  }

  test('points at nothing that is pointed at already', async () => {
    const shelf = { live: one.folder, previous: null, trees: [one, two] }
    expect(await goBack(shelf, { live: installed(one) })).toEqual(['shelf', 'shelf'])
  })

  test('leaves what led nowhere before as it was', async () => {
    const live = { folder: one.folder, version: '', digest: '' }
    expect(await goBack({ live: one.folder, astray: 'nowhere', trees: [two] }, { live })).toEqual(['shelf', 'shelf'])
  })

  test('fails where what was live and whole is no longer found', async () => {
    const back = goBack({ live: one.folder, astray: 'nowhere', trees: [two] }, { live: installed(one) })
    await expect(back).rejects.toMatchObject({ code: 'PLUGIN_NOT_LIVE' })
  })
})

describe('reading back', () => {
  const before = { live: installed(one), isWhole: true, previous: null }
  const input = { ...place, staged: installed(two), before }
  const shelf = { live: two.folder, previous: one.folder, trees: [one, two] }

  test('what cannot be compared means a restart, and takes nothing back', async () => {
    const { world } = worldOf(shelf, { target: { read: () => Promise.reject(new Error('the connection is cut')) } })
    expect(await installEffects(world).readBack(input)).toEqual({ change: 'restart', spare: [] })
  })

  test('a target that is to remove something is not asked for trees besides', async () => {
    const trees = [one, two, three, tree('4.0.0', 'd'), tree('5.0.0', 'e'), tree('6.0.0', 'f', 'another')]
    const { world, steps } = worldOf({ ...shelf, trees })
    expect(await installEffects(world).readBack(input)).toEqual({ change: 'restart', spare: [three.folder] })
    expect(steps).toEqual(['shelf'])
  })
})

test('where nothing was begun on a target, it is not asked to remove anything', async () => {
  const { world, steps } = worldOf({})
  const effects = installEffects(world)
  await effects.discard({ ...place, draft: null, staged: null, isBegun: false })
  expect(steps).toEqual([])
  await effects.discard({ ...place, draft: null, staged: null, isBegun: true })
  expect(steps).toEqual(['sweep tint'])
})

describe('a set', () => {
  const members = ['tint', 'shade', 'hue'].map((plugin) => ({ plugin, wanted: '^1' }))
  const prepared = members.map(({ plugin }) => ({
    plugin,
    version: '2.0.0',
    before: { live: installed(one), isWhole: false, previous: null },
    staged: installed(two),
    failure: null,
  }))
  const broken = (failing: readonly string[]) => async (plugin: string) => {
    if (failing.includes(plugin)) throw new Error(`${plugin} is stuck`)
    return []
  }

  test('is cleaned up after member by member, whatever becomes of one', async () => {
    const { world, steps } = worldOf({}, { target: { sweep: broken(['tint']) } })
    const discarding = setEffects(world).discard({ target: 'web', members, prepared: [] })
    await expect(discarding).rejects.toMatchObject({ details: { reasons: { tint: 'tint is stuck' } } })
    expect(steps).toEqual([])
    const swapped = members.map(({ plugin }) => ({ plugin, change: 'restart' as const, spare: [one.folder] }))
    const pruning = worldOf({}, { target: { remove: broken(['shade']) }, world: { store: { list: async () => [] } } })
    await expect(setEffects(pruning.world).prune({ target: 'web', swapped })).rejects.toMatchObject({
      details: { reasons: { shade: 'shade is stuck' } },
    })
  })

  test('that cannot be put back tells of each which it is; where that is not known, it is said of all', () => {
    const failure = { name: 'Error', message: 'the swap failed', details: { plugin: 'hue' } }
    const result = { target: 'web', members, outcome: 'blocked', prepared, swapped: [], failure } as const
    const outcomes = (rollBackFailure: { name: string; message: string; details?: object }) =>
      members.map(({ plugin }) => memberOf({ ...result, rollBackFailure } as any, plugin, 'web').outcome)
    const known = { name: 'Error', message: 'stuck', details: { reasons: { tint: 'tint is stuck' } } }
    expect(outcomes(known)).toEqual(['blocked', 'withheld', 'rolled-back'])
    expect(memberOf({ ...result, rollBackFailure: known } as any, 'tint', 'web')).toMatchObject({
      reason: 'the swap failed',
      rollBackReason: 'tint is stuck',
      hint: expect.stringContaining('`instar plugin install tint@1.0.0 --target web`'),
    })
    expect(outcomes({ name: 'Error', message: 'stuck' })).toEqual(['blocked', 'blocked', 'blocked'])
  })
})
