import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pacote from 'pacote'
import { expect, test } from 'vitest'
import { startRegistry } from '../../src/testing/registry.ts'
import { scratch } from './support.ts'

const files = { 'index.js': 'module.exports = 1' }

test('npm itself installs from the test registry', async () => {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('@scope/tool', '1.0.0', files, { dependencies: { helper: '^1' } })
  registry.publish('helper', '1.0.0', files)
  registry.publish('helper', '2.0.0', files)
  const { path } = directory
  const options = ['--registry', registry.url, '--cache', join(path, 'cache'), '--userconfig', join(path, 'none')]
  const quiet = ['--no-audit', '--no-fund', '--no-update-notifier', '--prefix', path]
  await promisify(execFile)('npm', ['install', '@scope/tool', ...options, ...quiet], { cwd: path })
  const installed = async (name: string) =>
    JSON.parse(await readFile(join(path, 'node_modules', name, 'package.json'), 'utf8')).version
  expect(await installed('@scope/tool')).toBe('1.0.0')
  expect(await installed('helper')).toBe('1.0.0')
})

test('pacote accepts its signatures, so they are real ones', async () => {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('tool', '1.0.0', files)
  const [key] = registry.keys
  const pem = `-----BEGIN PUBLIC KEY-----\n${key!.key}\n-----END PUBLIC KEY-----`
  const verify = {
    registry: registry.url,
    cache: join(directory.path, 'cache'),
    verifySignatures: true,
    [`//${new URL(registry.url).host}/:_keys`]: [{ ...key, pemkey: pem }],
  }
  expect((await pacote.manifest('tool', verify)).version).toBe('1.0.0')
  registry.tamper('tool', '1.0.0', 'wrong-signature')
  await expect(pacote.manifest('tool', { ...verify, preferOnline: true })).rejects.toThrow('invalid registry signature')
})

test('full packuments have times, abbreviated ones do not', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  const read = async (accept: string) => (await fetch(`${registry.url}tool`, { headers: { accept } })).json()
  expect(await read('application/json')).toHaveProperty('time')
  expect(await read('application/vnd.npm.install-v1+json')).not.toHaveProperty('time')
})

test('a gate holds an answer until it is released', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  const gate = registry.hold('packument', { package: 'tool' })
  const answer = fetch(`${registry.url}tool`)
  await gate.reached
  expect(registry.requests).toMatchObject([{ url: '/tool', kind: 'packument', package: 'tool', status: 0 }])
  gate.release()
  expect((await answer).status).toBe(200)
  expect((await fetch(`${registry.url}tool`)).status).toBe(200)
})

test('closing cuts what hangs, and twice is once', async () => {
  const registry = await startRegistry({ packages: [{ name: 'tool', version: '1.0.0', files }] })
  registry.misbehave('packument', 'hang')
  const hanging = fetch(`${registry.url}tool`).then(
    () => 'answered',
    () => 'cut',
  )
  while (registry.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  await registry[Symbol.asyncDispose]()
  await registry[Symbol.asyncDispose]()
  expect(await hanging).toBe('cut')
})

test('what it does not have is 404, and a wrong token 401', async () => {
  await using registry = await startRegistry({ token: 'secret', packages: [{ name: 'tool', version: '1.0.0', files }] })
  const status = async (path: string, token = 'secret') =>
    (await fetch(`${registry.url}${path}`, { headers: { authorization: `Bearer ${token}` } })).status
  expect(await status('tool')).toBe(200)
  expect(await status('tool', 'wrong')).toBe(401)
  expect(await status('nothing')).toBe(404)
  expect(await status('tool/-/tool-9.9.9.tgz')).toBe(404)
  expect(await status('-/v1/search?text=tool')).toBe(404)
  registry.unpublish('tool', '1.0.0')
  expect(await status('tool/-/tool-1.0.0.tgz')).toBe(404)
})
