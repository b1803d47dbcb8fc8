import { createHash } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type FetchOptions, fetchTarball, type Progress } from '../../src/packages/fetch-tarball.ts'
import { type AnswerFault, startRegistry, type VersionFault } from '../../src/testing/registry.ts'
import { failure, limitsFor, listing, npm, offered, scratch } from './support.ts'

const files = { 'index.js': 'export {}' }
const noise = (bytes: number) => ({
  noise: createHash('sha512')
    .update('seed')
    .digest('hex')
    .repeat(bytes / 128),
})

test('the file holds exactly the published bytes, for its owner alone', async () => {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('@scope/tool', '1.0.0', files)
  const file = join(directory.path, 'tool.tgz')
  const resolved = await offered(registry, '@scope/tool')
  await fetchTarball(resolved, { file, npm })
  const sha512 = createHash('sha512')
    .update(await readFile(file))
    .digest('base64')
  expect(`sha512-${sha512}`).toBe(resolved.integrity)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
})

test('fetching twice replaces the first file', async () => {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('tool', '1.0.0', files)
  const file = join(directory.path, 'tool.tgz')
  await writeFile(file, 'left over from a crash')
  const resolved = await offered(registry, 'tool')
  await fetchTarball(resolved, { file, npm })
  await fetchTarball(resolved, { file, npm })
  expect(await listing(directory.path)).toEqual(['tool.tgz'])
})

test('progress tells bytes, total and rate, and ends with all bytes', async () => {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('tool', '1.0.0', noise(128 * 1024))
  const heard: Progress[] = []
  const file = join(directory.path, 'tool.tgz')
  await fetchTarball(await offered(registry, 'tool'), { file, npm, onProgress: (progress) => heard.push(progress) })
  const { size } = await stat(file)
  expect(heard.at(-1)).toEqual({ bytes: size, total: size, bytesPerSecond: expect.any(Number) })
  expect(heard.at(-1)!.bytesPerSecond).toBeGreaterThan(0)
})

async function spoiled(
  set: { fault?: AnswerFault; version?: VersionFault },
  options: Partial<FetchOptions> = {},
): Promise<{ code: string; retry: boolean; left: string[] }> {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('tool', '1.0.0', { ...files, ...noise(64 * 1024) })
  if (set.version) registry.tamper('tool', '1.0.0', set.version)
  const resolved = await offered(registry, 'tool')
  if (set.fault) registry.misbehave('tarball', set.fault)
  const { code, retry } = await failure(
    fetchTarball(resolved, { file: join(directory.path, 'tool.tgz'), npm, ...options }),
  )
  return { code, retry, left: await listing(directory.path) }
}

test.each<[AnswerFault, string]>([
  ['disconnect', 'REGISTRY_UNREACHABLE'],
  ['reset', 'REGISTRY_UNREACHABLE'],
  ['hang', 'REGISTRY_TIMEOUT'],
  ['stall', 'REGISTRY_TOO_SLOW'],
  ['drip', 'REGISTRY_TOO_SLOW'],
  ['status', 'REGISTRY_STATUS'],
  ['redirect', 'REGISTRY_REDIRECTED'],
])('a tarball that meets %s ends in %s, worth another try, and leaves no file', async (fault, code) => {
  expect(await spoiled({ fault }, { limits: limitsFor(code) })).toEqual({ code, retry: true, left: [] })
})

test.each<[VersionFault, string, boolean]>([
  ['wrong-bytes', 'INTEGRITY_MISMATCH', false],
  ['foreign-tarball', 'REGISTRY_REDIRECTED', true],
  ['missing-tarball', 'VERSION_NOT_FOUND', true],
])('a version with %s ends in %s and leaves no file', async (version, code, retry) => {
  expect(await spoiled({ version })).toEqual({ code, retry, left: [] })
})

test('a body without end is cut at the limit and leaves no file', async () => {
  expect(await spoiled({ fault: 'endless' }, { limits: { bytes: 1024 * 1024 } })).toEqual({
    code: 'TARBALL_TOO_LARGE',
    retry: false,
    left: [],
  })
})

test('a tarball that is announced larger than the limit is not begun', async () => {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('tool', '1.0.0', noise(64 * 1024))
  const resolved = await offered(registry, 'tool')
  const file = join(directory.path, 'tool.tgz')
  await fetchTarball(resolved, { file, npm })
  const { size } = await stat(file)
  // Only half of it would ever come, which is less than the limit.
  registry.misbehave('tarball', 'stall')
  const bytes = Math.ceil(size * 0.75)
  const error = await failure(fetchTarball(resolved, { file, npm, limits: { bytes, slowAfterMs: 1_000 } }))
  expect(error).toMatchObject({ code: 'TARBALL_TOO_LARGE', details: { bytes: size, limit: bytes } })
  expect(await listing(directory.path)).toEqual([])
})

test('cancelling in mid-body ends at once and leaves no file', async () => {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('tool', '1.0.0', noise(64 * 1024))
  const resolved = await offered(registry, 'tool')
  registry.misbehave('tarball', 'stall')
  const controller = new AbortController()
  const fetching = failure(
    fetchTarball(resolved, { file: join(directory.path, 'tool.tgz'), npm, signal: controller.signal }),
  )
  while (registry.requestsFor('tarball')[0]?.status !== 200) await new Promise((resolve) => setTimeout(resolve, 5))
  controller.abort()
  expect((await fetching).code).toBe('ABORTED')
  expect(await listing(directory.path)).toEqual([])
})

test('a redirect to another origin is not followed: that server hears nothing, and no token leaves', async () => {
  await using elsewhere = await startRegistry()
  await using registry = await startRegistry({ token: 'secret' })
  await using directory = await scratch()
  registry.publish('tool', '1.0.0', files)
  const signedIn = { [`//${new URL(registry.url).host}/:_authToken`]: 'secret' }
  const resolved = await offered(registry, 'tool', 'latest', { npm: signedIn })
  registry.misbehave('tarball', 'redirect', { to: `${elsewhere.url}tool/-/tool-1.0.0.tgz` })
  const options = { file: join(directory.path, 'tool.tgz'), npm: signedIn }
  expect((await failure(fetchTarball(resolved, options))).code).toBe('REGISTRY_REDIRECTED')
  expect(elsewhere.requests).toEqual([])
  expect(await listing(directory.path)).toEqual([])
})

test('an origin named as trusted may serve the bytes, without the token', async () => {
  await using elsewhere = await startRegistry()
  await using registry = await startRegistry({ token: 'secret' })
  await using directory = await scratch()
  for (const one of [registry, elsewhere]) one.publish('tool', '1.0.0', files)
  const signedIn = { [`//${new URL(registry.url).host}/:_authToken`]: 'secret' }
  const resolved = await offered(registry, 'tool', 'latest', { npm: signedIn })
  registry.misbehave('tarball', 'redirect', { to: `${elsewhere.url}tool/-/tool-1.0.0.tgz` })
  const file = join(directory.path, 'tool.tgz')
  await fetchTarball(resolved, { file, npm: signedIn, origins: [elsewhere.url] })
  expect(registry.requestsFor('tarball')[0]!.headers.authorization).toBe('Bearer secret')
  expect(elsewhere.requests).toHaveLength(1)
  expect(elsewhere.requests[0]!.headers.authorization).toBeUndefined()
  expect(await listing(directory.path)).toEqual(['tool.tgz'])
})

test('a token is sent to its registry only; without one the answer is REGISTRY_STATUS', async () => {
  await using registry = await startRegistry({ token: 'secret' })
  registry.publish('tool', '1.0.0', files)
  const otherHost = { '//registry.example/:_authToken': 'secret' }
  const error = await failure(offered(registry, 'tool', 'latest', { npm: otherHost }))
  expect(error).toMatchObject({ code: 'REGISTRY_STATUS', details: { status: 401 } })
  expect(error.hint).toContain('token')
  expect(registry.requests[0]!.headers.authorization).toBeUndefined()
})

test('a mirror that hands out addresses of the public registry is asked itself', async () => {
  await using registry = await startRegistry()
  await using directory = await scratch()
  registry.publish('tool', '1.0.0', files)
  const { default: registryFetch } = await import('npm-registry-fetch')
  const publicUrl = (registryFetch as unknown as { pickRegistry(spec: string): string }).pickRegistry('tool')
  const resolved = { ...(await offered(registry, 'tool')), tarball: `${publicUrl}tool/-/tool-1.0.0.tgz` }
  await fetchTarball(resolved, { file: join(directory.path, 'tool.tgz'), npm })
  expect(registry.requestsFor('tarball')).toHaveLength(1)
})
