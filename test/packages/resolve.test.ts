import { expect, test } from 'vitest'
import { resolve } from '../../src/packages/resolve.ts'
import { type AnswerFault, startRegistry, type VersionFault } from '../../src/testing/registry.ts'
import { failure, limitsFor, npm, offered } from './support.ts'

const files = { 'index.js': 'export {}' }

test('a tag, a range and an exact version each name one version', async () => {
  await using registry = await startRegistry()
  for (const version of ['1.0.0', '1.2.0', '2.0.0']) registry.publish('tool', version, files)
  registry.setTag('tool', 'stable', '1.2.0')
  const version = async (channel: string) => (await offered(registry, 'tool', channel)).version
  expect(await version('latest')).toBe('2.0.0')
  expect(await version('stable')).toBe('1.2.0')
  expect(await version('^1')).toBe('1.2.0')
  expect(await version('1.0.0')).toBe('1.0.0')
})

test('the answer is plain data with all that later steps need', async () => {
  await using registry = await startRegistry()
  registry.publish('@scope/tool', '1.0.0', files, { engines: { node: '>=20' }, deprecated: 'use another' })
  const answer = await offered(registry, '@scope/tool')
  expect(answer).toEqual({
    name: '@scope/tool',
    version: '1.0.0',
    integrity: expect.stringMatching(/^sha512-/),
    tarball: `${registry.url}@scope/tool/-/tool-1.0.0.tgz`,
    engines: { node: '>=20' },
    etag: expect.stringMatching(/^"/),
    signatures: [{ keyid: expect.any(String), sig: expect.any(String) }],
    registry: registry.url,
    unpackedBytes: expect.any(Number),
    fileCount: 2,
    deprecated: 'use another',
  })
  expect(JSON.parse(JSON.stringify(answer))).toEqual(answer)
})

test('asking again with the etag costs one request and no body', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  const { etag } = await offered(registry, 'tool')
  const again = () => resolve({ package: 'tool', channel: 'latest', registry: registry.url, npm, etag })
  expect(await again()).toEqual({ notModified: true })
  expect(registry.requests).toHaveLength(2)
  expect(registry.requests[1]).toMatchObject({ kind: 'packument', status: 304, bodyBytes: 0 })
  expect(registry.requests[1]!.headers['if-none-match']).toBe(etag)

  registry.publish('tool', '1.1.0', files)
  expect(await again()).toMatchObject({ version: '1.1.0' })
})

test('the abbreviated packument is asked for, compressed', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  await offered(registry, 'tool')
  expect(registry.requests[0]!.headers).toMatchObject({
    accept: expect.stringContaining('application/vnd.npm.install-v1+json'),
    'accept-encoding': 'gzip',
  })
})

test('a range prefers what the given Node can run, and by default does not look at engines', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files, { engines: { node: '>=18' } })
  registry.publish('tool', '1.1.0', files, { engines: { node: '>=99' } })
  expect((await offered(registry, 'tool', '^1', { nodeVersion: '22.0.0' })).version).toBe('1.0.0')
  expect((await offered(registry, 'tool', '^1')).version).toBe('1.1.0')
})

test('`latest` that moves back is reported as it is: whether to follow is decided above', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  registry.publish('tool', '2.0.0', files)
  registry.setTag('tool', 'latest', '1.0.0')
  expect((await offered(registry, 'tool')).version).toBe('1.0.0')
})

test('names and channels that a registry cannot answer are refused before it is asked', async () => {
  await using registry = await startRegistry()
  for (const name of ['', '../etc', 'tool@1.0.0', 'git+ssh://host/repo', './tool', 'owner/repo', 'a b', '.hidden'])
    expect([name, (await failure(offered(registry, name))).code]).toEqual([name, 'PACKAGE_NAME_INVALID'])
  for (const channel of [
    'npm:other@1',
    'git+https://host/repo.git',
    'file:../tool',
    'https://host/tool.tgz',
    '../tool',
  ])
    expect([channel, (await failure(offered(registry, 'tool', channel))).code]).toEqual([channel, 'CHANNEL_INVALID'])
  expect(registry.requests).toEqual([])
})

test('a package, tag or version that is not there has its own code', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  registry.setTag('tool', 'gone', '3.0.0')
  expect((await failure(offered(registry, 'nothing'))).code).toBe('PACKAGE_NOT_FOUND')
  for (const channel of ['no-such-tag', 'gone', '^2', '1.0.1', 'constructor'])
    expect([channel, (await failure(offered(registry, 'tool', channel))).code]).toEqual([channel, 'VERSION_NOT_FOUND'])
})

test.each<[VersionFault, string, boolean]>([
  ['missing-integrity', 'INTEGRITY_MISSING', false],
  ['weak-integrity', 'INTEGRITY_WEAK', false],
  ['wrong-name', 'REGISTRY_ANSWER_INVALID', true],
  ['garbage-version', 'REGISTRY_ANSWER_INVALID', true],
])('an entry with %s ends in %s', async (fault, code, retry) => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  registry.tamper('tool', '1.0.0', fault)
  expect(await failure(offered(registry, 'tool'))).toMatchObject({ code, retry })
})

test.each(['one dot two', 'v1.0.0', '1.0', '1.0.0+build', '../../1.0.0'])(
  'a version listed as %s is none, even where tag and entry agree on it',
  async (version) => {
    await using registry = await startRegistry()
    registry.publish('tool', version, files)
    expect((await failure(offered(registry, 'tool'))).code).toBe('REGISTRY_ANSWER_INVALID')
  },
)

test('a version whose digest changed since it was first seen is refused', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  const { version, integrity } = await offered(registry, 'tool')
  const firstSeen = { [version]: integrity }
  expect(await offered(registry, 'tool', 'latest', { firstSeen })).toMatchObject({ integrity })
  registry.publish('tool', '1.0.0', { 'index.js': 'export const changed = true' })
  const error = await failure(offered(registry, 'tool', 'latest', { firstSeen }))
  expect(error).toMatchObject({ code: 'INTEGRITY_CHANGED', retry: false, details: { firstSeen: integrity } })
})

test.each<[AnswerFault, string]>([
  ['disconnect', 'REGISTRY_UNREACHABLE'],
  ['reset', 'REGISTRY_UNREACHABLE'],
  ['hang', 'REGISTRY_TIMEOUT'],
  ['stall', 'REGISTRY_TOO_SLOW'],
  ['drip', 'REGISTRY_TOO_SLOW'],
  ['status', 'REGISTRY_STATUS'],
  ['redirect', 'REGISTRY_REDIRECTED'],
  ['invalid-json', 'REGISTRY_ANSWER_INVALID'],
  ['endless', 'REGISTRY_ANSWER_TOO_LARGE'],
  ['huge', 'REGISTRY_ANSWER_TOO_LARGE'],
])('a registry that answers with %s has failed itself: %s, worth another try', async (fault, code) => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  const behaveAgain = registry.misbehave('packument', fault)
  const limits = limitsFor(code)
  expect(await failure(offered(registry, 'tool', 'latest', { limits }))).toMatchObject({ code, retry: true })
  expect(registry.requests).toHaveLength(1)
  behaveAgain()
  expect((await offered(registry, 'tool')).version).toBe('1.0.0')
})

test('a drip that stays above the minimum rate still ends at the deadline', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  registry.misbehave('packument', 'drip')
  const limits = { minBytesPerSecond: 0, slowAfterMs: 100, deadlineMs: 600 }
  expect((await failure(offered(registry, 'tool', 'latest', { limits }))).code).toBe('REGISTRY_TIMEOUT')
})

test('nobody listening is REGISTRY_UNREACHABLE', async () => {
  const registry = await startRegistry()
  await registry[Symbol.asyncDispose]()
  expect(await failure(offered(registry, 'tool'))).toMatchObject({ code: 'REGISTRY_UNREACHABLE', retry: true })
})

test('cancelling ends a request that hangs, at once and with the reason as cause', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  const gate = registry.hold('packument')
  const controller = new AbortController()
  const answer = failure(offered(registry, 'tool', 'latest', { signal: controller.signal }))
  await gate.reached
  const reason = new Error('enough')
  controller.abort(reason)
  expect(await answer).toMatchObject({ code: 'ABORTED', cause: reason })
  expect((await failure(offered(registry, 'tool', 'latest', { signal: controller.signal }))).code).toBe('ABORTED')
  expect(registry.requests).toHaveLength(1)
})

test('a redirect within the registry is followed', async () => {
  await using registry = await startRegistry()
  registry.publish('tool', '1.0.0', files)
  registry.misbehave('packument', 'redirect', { package: 'alias', to: `${registry.url}tool` })
  // The answer is about `tool`, so for `alias` it is refused; that it was read shows the redirect was followed.
  const error = await failure(offered(registry, 'alias'))
  expect(error.message).toContain('asked for alias, the registry answered about "tool"')
})
