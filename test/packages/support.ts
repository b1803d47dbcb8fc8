import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InstarError } from '../../src/errors.ts'
import type { TransferLimits } from '../../src/packages/limits.ts'
import { type Resolved, type ResolveOptions, resolve } from '../../src/packages/resolve.ts'
import type { TestRegistry } from '../../src/testing/registry.ts'

/** A directory that is gone, with all it holds, when the test is over. */
export async function scratch(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'instar-packages-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** The machine's npm configuration must not decide what these tests see. */
export const npm = {}

export async function offered(
  registry: TestRegistry,
  name: string,
  channel = 'latest',
  more: Partial<ResolveOptions> = {},
): Promise<Resolved> {
  const answer = await resolve({ package: name, channel, registry: registry.url, npm, ...more })
  if ('notModified' in answer) throw new Error('expected an answer')
  return answer
}

/** The error that `promise` ends with, which must be one of ours. */
export async function failure(promise: Promise<unknown>): Promise<InstarError> {
  const error = await promise.then(
    () => new Error('it did not fail'),
    (error: unknown) => error,
  )
  if (error instanceof InstarError) return error
  throw error
}

/** Every path below `root`, sorted; directories end with a slash. */
export async function listing(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1) + (entry.isDirectory() ? '/' : ''))
    .sort()
}

/**
 * Limits that make a test of one of these ends short. Any other end is met with the default ones: on a busy machine an
 * answer may be late that is not the test's subject.
 */
export function limitsFor(code: string): Partial<TransferLimits> {
  if (code === 'REGISTRY_TIMEOUT') return { answerTimeoutMs: 300 }
  return code === 'REGISTRY_TOO_SLOW' ? { slowAfterMs: 300 } : {}
}

export const text = (path: string) => readFile(path, 'utf8')
