import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { startRegistry } from '../../src/testing/registry.ts'
import { compile } from '../support/compiled.ts'
import { listing, scratch } from './support.ts'

test('under plain node, a package comes in and nothing is written but where it was asked for', async () => {
  const steps = ['resolve', 'fetch-tarball', 'verify-signatures', 'unpack', 'read-manifest']
  const compiled = await compile(...steps.map((step) => `src/packages/${step}.ts`))
  try {
    await using registry = await startRegistry({ token: 'secret' })
    await using directory = await scratch()
    registry.publish('tool', '1.0.0', { 'index.js': 'export {}' })
    const home = join(directory.path, 'home')
    for (const name of ['home', 'work', 'tmp']) await mkdir(join(directory.path, name))
    const host = new URL(registry.url).host
    await writeFile(join(home, '.npmrc'), `registry=${registry.url}\n//${host}/:_authToken=\${TOKEN}\n`)
    const url = (step: string) => JSON.stringify(pathToFileURL(compiled.file(`src/packages/${step}.ts`)).href)
    const program = `
      const { resolve } = await import(${url('resolve')})
      const { fetchTarball } = await import(${url('fetch-tarball')})
      const { verifySignatures } = await import(${url('verify-signatures')})
      const { unpack } = await import(${url('unpack')})
      const { readManifest } = await import(${url('read-manifest')})
      const alive = setInterval(() => {}, 1000) // a question to a registry keeps no process alive
      const resolved = await resolve({ package: 'tool', channel: 'latest' })
      await fetchTarball(resolved, { file: 'tool.tgz' })
      await verifySignatures(resolved, { policy: 'require' })
      clearInterval(alive)
      await unpack('tool.tgz', 'tree')
      console.log(JSON.stringify(await readManifest('tree', resolved)))`
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
      cwd: join(directory.path, 'work'),
      // Nothing of this machine's: what npm is told here is in that home alone.
      env: { HOME: home, TMPDIR: join(directory.path, 'tmp'), PREFIX: home, TOKEN: 'secret' },
    })
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toMatchObject({ name: 'tool', version: '1.0.0' })
    expect(await listing(directory.path)).toEqual([
      'home/',
      'home/.npmrc',
      'tmp/',
      'work/',
      'work/tool.tgz',
      'work/tree/',
      'work/tree/index.js',
      'work/tree/package.json',
    ])
  } finally {
    await compiled.remove()
  }
})
