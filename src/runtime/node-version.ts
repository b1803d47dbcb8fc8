import { execFile } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import semver from 'semver'
import * as z from 'zod'
import { InstarError } from '../errors.ts'

const nodeFacts = z.object({
  /** Without the leading "v". */
  version: z.string().regex(/^\d+\.\d+\.\d+/),
  platform: z.string(),
  arch: z.string(),
  /** The number of the interface that native modules are compiled against. */
  modules: z.string(),
  /** The C library of a Linux system is musl. */
  musl: z.boolean(),
  electron: z.boolean(),
})

/** What a Node executable is, by its own account. */
export type NodeFacts = z.infer<typeof nodeFacts>

const tell = `console.log(JSON.stringify({
  version: process.versions.node, platform: process.platform, arch: process.arch, modules: process.versions.modules,
  musl: process.platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime,
  electron: process.versions.electron !== undefined }))`

const known = new Map<string, { readonly stamp: string; readonly facts: NodeFacts }>()

/**
 * Asks an executable which Node it is; once per path for as long as the file stays the same, so an upgrade in place is
 * noticed.
 *
 * @throws {InstarError} `NODE_UNUSABLE`.
 */
export async function inspectNode(executable: string, signal?: AbortSignal): Promise<NodeFacts> {
  try {
    const { mtimeMs, size, ino } = await stat(executable)
    const stamp = `${mtimeMs} ${size} ${ino}`
    const before = known.get(executable)
    if (before?.stamp === stamp) return before.facts
    const facts = await askNode(executable, signal)
    known.set(executable, { stamp, facts })
    return facts
  } catch (cause) {
    signal?.throwIfAborted()
    throw new InstarError('NODE_UNUSABLE', `${executable} does not answer like Node`, { cause })
  }
}

async function askNode(executable: string, signal?: AbortSignal): Promise<NodeFacts> {
  const { stdout } = await promisify(execFile)(executable, ['-e', tell], {
    env: plainNodeEnvironment(process.env),
    timeout: 20_000,
    windowsHide: true,
    ...(signal && { signal }),
  })
  return nodeFacts.parse(JSON.parse(stdout))
}

/** An environment in which an executable behaves as plain Node: also Electron, and without what a host preloads. */
export function plainNodeEnvironment(inherited: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...rest } = inherited
  return { ...rest, ELECTRON_RUN_AS_NODE: '1' }
}

/** The version of a Node executable, such as `22.3.0`. */
export async function nodeVersionOf(executable: string, signal?: AbortSignal): Promise<string> {
  return (await inspectNode(executable, signal)).version
}

/** Whether `engines.node` admits a version, by npm's rule: a preview counts as its release, an unreadable range as unmet. */
export function enginesSatisfied(range: string | undefined, version: string): boolean {
  return range === undefined || semver.satisfies(version, range, { includePrerelease: true })
}
