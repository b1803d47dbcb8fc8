import { describe, expect, test } from 'vitest'
import type { AnswerFault, VersionFault } from '../../src/testing/registry.ts'
import type { HostileTree } from '../../src/testing/tarball.ts'
import { Host } from '../support/host.ts'

/**
 * Every way in which a registry can misbehave, met by a whole controller: the outcome, the error's code, and that nothing
 * has changed but what the check learned. Side by side, since the slow ones are waited for as long as the limits say.
 *
 * Seen caught: a draft that stays when fetching failed (`runtime-update.ts`: no `discard`), `require` that takes what
 * `prefer` takes (`verify-signatures.ts`), limits on time and size that are not kept (`request.ts`).
 */
describe.concurrent('a check that meets a hostile registry leaves everything as it was', () => {
  const answers: [AnswerFault, string][] = [
    ['disconnect', 'REGISTRY_UNREACHABLE'],
    ['hang', 'REGISTRY_TIMEOUT'],
    ['status', 'REGISTRY_ANSWER_INVALID'],
    ['redirect', 'REGISTRY_REDIRECT_REFUSED'],
    ['reset', 'REGISTRY_UNREACHABLE'],
    ['stall', 'REGISTRY_TOO_SLOW'],
    ['drip', 'REGISTRY_TOO_SLOW'],
    ['endless', 'REGISTRY_ANSWER_TOO_LARGE'],
    ['invalid-json', 'REGISTRY_ANSWER_INVALID'],
    ['huge', 'REGISTRY_ANSWER_TOO_LARGE'],
  ]

  test.each(answers)('packument: %s', async (fault, code) => {
    await meets({ code, outcome: 'check-failed' }, (host) => host.registry.misbehave('packument', fault))
  })

  test.each(answers)('keys, where a signature is required: %s', async (fault, code) => {
    await meets({ code, outcome: 'check-failed' }, (host) => host.registry.misbehave('keys', fault))
  })

  test.each(answers)('tarball: %s', async (fault, code) => {
    await meets({ code, outcome: 'check-failed' }, (host) => host.registry.misbehave('tarball', fault))
  })

  const versions: [VersionFault, string, string][] = [
    ['wrong-bytes', 'rejected', 'INTEGRITY_MISMATCH'],
    ['missing-integrity', 'rejected', 'INTEGRITY_MISSING'],
    ['weak-integrity', 'rejected', 'INTEGRITY_WEAK'],
    ['wrong-signature', 'rejected', 'SIGNATURE_INVALID'],
    ['missing-signature', 'rejected', 'SIGNATURE_MISSING'],
    ['unknown-key', 'rejected', 'SIGNATURE_MISSING'],
    ['wrong-name', 'check-failed', 'REGISTRY_ANSWER_INVALID'],
    ['garbage-version', 'check-failed', 'REGISTRY_ANSWER_INVALID'],
    ['missing-tarball', 'check-failed', 'VERSION_NOT_FOUND'],
    ['foreign-tarball', 'check-failed', 'REGISTRY_REDIRECT_REFUSED'],
  ]

  test.each(versions)('version: %s', async (fault, outcome, code) => {
    await meets({ code, outcome }, (host) => host.registry.tamper('tool', '1.1.0', fault))
  })

  test('version: the only key that signed it has expired', async () => {
    await meets({ code: 'SIGNATURE_KEY_EXPIRED', outcome: 'rejected' }, (host) =>
      host.registry.rotateKey({ expires: '2020-01-01T00:00:00.000Z' }),
    )
  })

  const trees: [HostileTree, string][] = [
    ['bomb', 'TREE_BOMB'],
    ['many-files', 'TREE_TOO_MANY_FILES'],
    ['symlink', 'TREE_UNSAFE'],
    ['hard-link', 'TREE_UNSAFE'],
    ['parent-path', 'TREE_UNSAFE'],
    ['absolute-path', 'TREE_UNSAFE'],
    ['drive-letter', 'TREE_UNSAFE'],
    ['backslash', 'TREE_UNSAFE'],
    ['device', 'TREE_UNSAFE'],
    ['fifo', 'TREE_UNSAFE'],
    ['case-collision', 'TREE_UNSAFE'],
    ['file-as-directory', 'TREE_UNSAFE'],
    ['duplicate', 'TREE_UNSAFE'],
    ['control-character', 'TREE_UNSAFE'],
    ['deep-path', 'TREE_UNSAFE'],
    ['reserved-name', 'TREE_UNSAFE'],
    ['wrong-name', 'MANIFEST_MISMATCH'],
    ['wrong-version', 'MANIFEST_MISMATCH'],
    ['no-manifest', 'MANIFEST_INVALID'],
    ['broken-manifest', 'MANIFEST_INVALID'],
  ]

  test.each(trees)('tree: %s', async (kind, code) => {
    await meets({ code, outcome: 'rejected' }, (host) => host.registry.publishHostile('tool', '1.1.0', kind))
  })
}, 120_000)

async function meets(
  expected: { readonly code: string; readonly outcome: string },
  spoil: (host: Host) => void,
): Promise<void> {
  await using host = await Host.make({ runtime: { policy: { signatures: 'require' } } })
  host.publish('1.1.0')
  spoil(host)
  await using controller = await host.open()
  expect(await controller.runtime('tool').check()).toMatchObject(expected)
  expect(await host.residue()).toEqual([])
  expect(await host.releaseFolders()).toEqual([])
  expect(await controller.runtime('tool').status()).toMatchObject({ current: null, previous: null, knownGood: null })
}
