import { mkdtemp, realpath, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import { listPlugins } from '../../src/plugins/index.ts'

// Published packages of different shapes, from the registry that npm is configured to use on this machine: one file; a
// scope and folders in folders; a command that its owner may execute.

test.each([
  ['ms', '2.1.2', '2.1.3', 'index.js', false],
  ['@sindresorhus/is', '7.0.0', '7.0.1', 'distribution/index.d.ts', false],
  ['semver', '7.6.2', '7.6.3', 'bin/semver.js', true],
])('%s is installed, upgraded, rolled back', async (name, older, newer, file, isExecutable) => {
  const home = await realpath(await mkdtemp(join(tmpdir(), 'instar-real-')))
  try {
    await using controller = await openController({ home, config: parseConfig({}, '/'), schedule: false })
    const { plugins } = controller
    const step = async (doing: ReturnType<typeof plugins.rollback>, version: string, from: string | null) => {
      expect(await doing).toMatchObject({ outcome: 'installed', version, from })
      expect(await plugins.verify(name)).toMatchObject([{ whole: true, version }])
      const listing = await listPlugins(join(home, 'plugins'))
      expect(listing).toMatchObject({ plugins: [{ name, version }], leftOut: [] })
      expect(((await stat(join(home, 'plugins', name, file))).mode & 0o100) !== 0).toBe(isExecutable)
    }
    await step(plugins.install(`${name}@${older}`), older, null)
    await step(plugins.install(`${name}@${newer}`), newer, older)
    await step(plugins.rollback(name), older, newer)
  } finally {
    await rm(home, { recursive: true, force: true })
  }
})
