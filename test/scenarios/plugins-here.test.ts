import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { GoBetween } from '../support/go-between.ts'
import { Ground } from '../support/grounds.ts'
import { Host } from '../support/host.ts'
import { pluginScenarios } from './plugins.ts'

pluginScenarios('this machine')

test('trees that a removal could not remove are told, are none of a loader, and go with a sweep', async () => {
  await using ground = await Ground.make('this machine')
  await using host = await Host.make()
  await using between = await GoBetween.make(ground, host.directory)
  for (const version of ['1.0.0', '2.0.0']) host.registry.publish('tint', version, {})
  const on = ['--target', between.target]
  {
    await using controller = await host.open()
    for (const version of ['1.0.0', '2.0.0']) await controller.plugins.install(`tint@${version}`, { target: on[1] })
    await controller.close()
  }
  // Is it known, what is there, take it away, is it gone; nothing before, what is there, sweep, and the trees.
  await between.spoil({ refused: [8] })
  const { code, stdout } = await host.instar('plugin', 'remove', 'tint', ...on)
  expect(code).toBe(0)
  expect(stdout).toMatch(/^tint: removed 2\.0\.0; its trees are left: .*step 8 is refused \[TARGET_UNREACHABLE\]\n/)
  expect(stdout).toMatch(/\n {2}hint: `instar plugin sweep --target .*` removes what is left\.\n$/)
  await using controller = await host.open()
  const { plugins } = controller
  const at = { target: between.target }
  expect(await plugins.list(at)).toMatchObject([{ name: 'tint', version: null, kept: ['1.0.0', '2.0.0'] }])
  expect(await plugins.verify(undefined, at)).toEqual([])
  const { removed } = await plugins.sweep(at)
  expect(removed.filter((path) => /\.instar\/tint\/[12]\.0\.0-\w+$/.test(path))).toHaveLength(2)
  expect(await plugins.list(at)).toEqual([])
  expect(await readdir(join(between.folder, '.instar', 'tint'))).toEqual([])
})
