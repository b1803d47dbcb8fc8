import { execFile } from 'node:child_process'
import { appendFile, cp, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Compiled, compile } from '../support/compiled.ts'

let compiled: Compiled
let folder: string

beforeAll(async () => {
  compiled = await compile(
    'machines/runtime-adjust.ts',
    'src/diagram/describe.ts',
    'src/diagram/layout.ts',
    'src/diagram/mermaid.ts',
    'src/diagram/svg.ts',
  )
  const root = dirname(compiled.file('package.json'))
  await symlink(root, join(root, 'dist'))
  await cp(new URL('../../scripts/diagrams.mjs', import.meta.url), join(root, 'scripts/diagrams.mjs'))
  // One small machine is enough to see a drift, and quick to draw.
  await writeFile(
    compiled.file('machines/index.js'),
    `import { runtimeAdjust } from './runtime-adjust.js'\nexport const machines = { 'runtime-adjust': runtimeAdjust }\n`,
  )
  folder = await mkdtemp(join(tmpdir(), 'instar-diagrams-'))
})

afterAll(async () => {
  await compiled.remove()
  await rm(folder, { recursive: true, force: true })
})

const run = (...args: string[]) =>
  new Promise<{ code: number; stderr: string }>((resolve) => {
    const script = compiled.file('scripts/diagrams.mjs')
    const child = execFile(process.execPath, [script, '--folder', folder, ...args], (_error, _stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stderr }),
    )
  })

test('the check passes on what was just drawn, and names each file that drifted, is missing or has no machine', async () => {
  expect(await run()).toMatchObject({ code: 0 })
  expect((await readdir(folder)).sort()).toEqual(['runtime-adjust.json', 'runtime-adjust.mmd', 'runtime-adjust.svg'])
  expect(await run('--check')).toEqual({ code: 0, stderr: '' })

  await appendFile(join(folder, 'runtime-adjust.mmd'), ' ')
  await rm(join(folder, 'runtime-adjust.svg'))
  await writeFile(join(folder, 'gone.svg'), '')
  await writeFile(join(folder, 'README.md'), 'stays')
  const { code, stderr } = await run('--check')
  expect(code).toBe(1)
  expect(stderr.split('\n').slice(0, 3)).toEqual([
    'runtime-adjust.mmd is not what its machine gives now',
    'runtime-adjust.svg is not what its machine gives now',
    'gone.svg belongs to no machine',
  ])

  expect(await run()).toMatchObject({ code: 0, stderr: '3 files, 2 written, 1 removed\n' })
  expect(await run('--check')).toMatchObject({ code: 0 })
  expect(await readdir(folder)).toContain('README.md')
})
