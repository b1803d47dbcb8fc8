import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { installDependencies } from '../../src/apps/dependencies.ts'
import { startRegistry, type TestRegistry } from '../../src/testing/registry.ts'

let scratch: string
let tree: string
let registry: TestRegistry

beforeEach(async () => {
  scratch = await realpath(await mkdtemp(join(tmpdir(), 'instar-dependencies-')))
  tree = join(scratch, 'tree')
  await mkdir(tree)
  registry = await startRegistry()
  registry.publish('greeting', '1.2.0', { 'index.js': 'module.exports = "hello"' })
})

afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  await rm(scratch, { recursive: true, force: true })
})

const install = async (dependencies: Record<string, string>, signal?: AbortSignal) => {
  await writeFile(join(tree, 'package.json'), JSON.stringify({ name: 'notes', version: '1.0.0', dependencies }))
  const cache = join(scratch, 'cache')
  await installDependencies(tree, { registry: registry.url, cache, ...(signal !== undefined && { signal }) })
}

test('what a package depends on lies beside it, and what was chosen is written down', async () => {
  await install({ greeting: '^1.0.0' })
  expect(await readFile(join(tree, 'node_modules/greeting/index.js'), 'utf8')).toContain('hello')
  expect(await readdir(join(tree, 'node_modules'))).toEqual(['greeting'])
  expect(JSON.parse(await readFile(join(tree, 'package.json'), 'utf8'))).toEqual({
    name: 'notes',
    version: '1.0.0',
    dependencies: { greeting: '^1.0.0' },
  })
  const { packages } = JSON.parse(await readFile(join(tree, 'package-lock.json'), 'utf8'))
  expect(packages['node_modules/greeting']).toMatchObject({ version: '1.2.0', integrity: expect.any(String) })
  expect(packages['node_modules/greeting']).not.toHaveProperty('resolved')
})

test('what cannot be had is told with what npm says', async () => {
  await expect(install({ greeting: '^2.0.0' })).rejects.toMatchObject({
    code: 'DEPENDENCIES_FAILED',
    cause: { code: 'ETARGET', message: expect.stringContaining('greeting@^2.0.0') },
  })
})

test('nobody has to wait for a registry that does not answer, and nothing works on after that', async () => {
  const over = new AbortController()
  const gate = registry.hold('tarball')
  const installing = install({ greeting: '^1.0.0' }, over.signal)
  await gate.reached
  const reason = new Error('enough')
  over.abort(reason)
  await expect(installing).rejects.toBe(reason)
  gate.release()
  await sleep(1_000) // in which it would end
  expect(existsSync(join(tree, 'node_modules/greeting/index.js'))).toBe(false)
  await expect(install({}, over.signal)).rejects.toThrow()
})
