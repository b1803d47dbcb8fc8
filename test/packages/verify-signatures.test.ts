import { expect, test } from 'vitest'
import { type SignaturePolicy, type VerifyOptions, verifySignatures } from '../../src/packages/verify-signatures.ts'
import { type AnswerFault, startRegistry, type TestRegistry, type VersionFault } from '../../src/testing/registry.ts'
import { failure, npm, offered } from './support.ts'

async function published(fault?: VersionFault): Promise<TestRegistry> {
  const registry = await startRegistry()
  registry.publish('@scope/tool', '1.0.0', { 'index.js': 'export {}' })
  if (fault) registry.tamper('@scope/tool', '1.0.0', fault)
  return registry
}

async function verified(registry: TestRegistry, policy: SignaturePolicy, more: Partial<VerifyOptions> = {}) {
  return verifySignatures(await offered(registry, '@scope/tool'), { policy, npm, ...more })
}

test('a signature by a key of the registry is verified, under prefer and require', async () => {
  await using registry = await published()
  expect(await verified(registry, 'prefer')).toEqual({ verified: true })
  expect(await verified(registry, 'require')).toEqual({ verified: true })
})

test('off asks nobody and claims nothing', async () => {
  await using registry = await published('wrong-signature')
  expect(await verified(registry, 'off')).toMatchObject({ verified: false })
  expect(registry.requestsFor('keys')).toEqual([])
})

test('a wrong signature is refused under prefer as well as under require', async () => {
  await using registry = await published('wrong-signature')
  for (const policy of ['prefer', 'require'] as const)
    expect(await failure(verified(registry, policy))).toMatchObject({ code: 'SIGNATURE_INVALID', retry: false })
})

test('a signature over other bytes is refused', async () => {
  await using registry = await published()
  const resolved = await offered(registry, '@scope/tool')
  const swapped = { ...resolved, integrity: `sha512-${Buffer.alloc(64).toString('base64')}` }
  expect((await failure(verifySignatures(swapped, { policy: 'prefer', npm }))).code).toBe('SIGNATURE_INVALID')
  const renamed = { ...resolved, version: '1.0.1' }
  expect((await failure(verifySignatures(renamed, { policy: 'prefer', npm }))).code).toBe('SIGNATURE_INVALID')
})

test('one wrong signature among good ones is refused', async () => {
  await using registry = await published()
  const resolved = await offered(registry, '@scope/tool')
  const { keyid } = resolved.signatures[0]!
  const mixed = { ...resolved, signatures: [...resolved.signatures, { keyid, sig: 'AAAA' }] }
  expect((await failure(verifySignatures(mixed, { policy: 'prefer', npm }))).code).toBe('SIGNATURE_INVALID')
})

test.each<[VersionFault, string]>([
  ['missing-signature', 'no signature'],
  ['unknown-key', 'no known key'],
])('%s is told under prefer and refused under require', async (fault, reason) => {
  await using registry = await published(fault)
  expect(await verified(registry, 'prefer')).toEqual({ verified: false, reason: expect.stringContaining(reason) })
  expect(await failure(verified(registry, 'require'))).toMatchObject({ code: 'SIGNATURE_MISSING', retry: false })
})

test.each<[AnswerFault, string]>([
  ['status', 'REGISTRY_STATUS'],
  ['disconnect', 'REGISTRY_UNREACHABLE'],
  ['invalid-json', 'REGISTRY_ANSWER_INVALID'],
])('keys that cannot be had (%s) are told under prefer, and worth another try under require', async (fault, code) => {
  await using registry = await published()
  registry.misbehave('keys', fault)
  expect(await verified(registry, 'prefer')).toEqual({ verified: false, reason: expect.any(String) })
  expect(await failure(verified(registry, 'require'))).toMatchObject({ code, retry: true })
})

test('a registry that publishes no keys cannot satisfy require', async () => {
  await using registry = await published()
  registry.misbehave('keys', 'status', { status: 404 })
  expect(await verified(registry, 'prefer')).toEqual({ verified: false, reason: expect.stringContaining('no keys') })
  expect((await failure(verified(registry, 'require'))).code).toBe('SIGNATURE_MISSING')
})

test('an expired key proves nothing, whenever the version claims to be published', async () => {
  await using registry = await published()
  registry.rotateKey({ expires: '2026-06-01T00:00:00.000Z' })
  expect(await verified(registry, 'prefer')).toEqual({ verified: false, reason: expect.stringContaining('expired') })
  expect((await failure(verified(registry, 'require'))).code).toBe('SIGNATURE_KEY_EXPIRED')
})

test('pinned keys are used instead of those the registry hands out', async () => {
  await using registry = await published()
  const pinned = registry.keys
  expect(await verified(registry, 'require', { keys: pinned })).toEqual({ verified: true })
  expect(registry.requestsFor('keys')).toEqual([])
  registry.rotateKey()
  expect(await verified(registry, 'require')).toEqual({ verified: true })
  expect((await failure(verified(registry, 'require', { keys: pinned }))).code).toBe('SIGNATURE_MISSING')
})

test('cancelling is not mistaken for keys that cannot be had', async () => {
  await using registry = await published()
  const resolved = await offered(registry, '@scope/tool')
  const gate = registry.hold('keys')
  const controller = new AbortController()
  const verifying = failure(verifySignatures(resolved, { policy: 'prefer', npm, signal: controller.signal }))
  await gate.reached
  controller.abort()
  expect((await verifying).code).toBe('ABORTED')
})
