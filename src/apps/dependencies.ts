import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { InstarError } from '../errors.ts'
import type { PackageManifest } from '../packages/read-manifest.ts'
import { abortable } from '../runtime/pause.ts'
import { packagePlaces, requireFrom } from '../unbundled-packages.ts'

export interface DependencyOptions {
  /** The registry that is asked; npm's own settings where absent. */
  readonly registry: string | undefined
  /** Absolute path of a folder for downloads; the caller removes it. */
  readonly cache: string
  readonly signal?: AbortSignal
}

/** Whether there is anything to install; npm's engine takes its time to find that there is not. */
export function hasDependencies(manifest: PackageManifest): boolean {
  const { dependencies, optionalDependencies, peerDependencies } = manifest
  return [dependencies, optionalDependencies, peerDependencies].some((ranges) => Object.keys(ranges).length > 0)
}

/**
 * Installs what a package depends on beside it, by npm's own engine: as its shrinkwrap says, else the newest that fit. What
 * was chosen is written down in a lock file within the tree, and so is part of its digest. Install scripts never run;
 * development dependencies and peers that are optional are left out. When it throws, nothing works on the tree any more.
 *
 * @throws {InstarError} `DEPENDENCIES_FAILED`, with what npm's engine said as its cause. The signal's reason when that aborts.
 */
export async function installDependencies(tree: string, options: DependencyOptions): Promise<void> {
  const { registry, cache, signal } = options
  const { readNpmConfig } = await import('../packages/npm-config.ts')
  try {
    await reify(
      {
        ...(await readNpmConfig()),
        ...(registry !== undefined && { registry }),
        path: tree,
        cache: join(cache, 'npm'),
        ignoreScripts: true,
        audit: false,
        fund: false,
        packageLock: true,
        // Nor does it depend on which mirror they came from.
        omitLockfileRegistryResolved: true,
      },
      signal,
    )
    // Its own notes, with times in them: the same packages would never give the same digest.
    await rm(join(tree, 'node_modules', '.package-lock.json'), { force: true })
  } catch (cause) {
    signal?.throwIfAborted()
    throw new InstarError('DEPENDENCIES_FAILED', 'what it depends on could not be installed', { cause })
  }
}

/**
 * npm's engine takes no signal and works for seconds at a time. In a thread of its own it can be ended at any moment,
 * keeps nobody's calls waiting, and has only so much memory for what a registry answers. The thread is a text, because a
 * bundler would leave a file of its own behind.
 */
const thread = `
const { parentPort, workerData: { engine, options } } = require('node:worker_threads')
const Arborist = require(engine)
new Arborist(options).reify({ omit: ['dev'] }).then(
  () => parentPort.postMessage({}),
  ({ message, code }) => parentPort.postMessage({ failure: { message, code } }),
)`

const memoryMbMax = 2048

async function reify(options: object, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  const worker = new Worker(thread, {
    eval: true,
    workerData: { engine: npmEngine(), options },
    resourceLimits: { maxOldGenerationSizeMb: memoryMbMax },
  })
  try {
    const ended = once(worker, 'exit').then(() => {
      throw new Error("npm's engine has ended without an answer")
    })
    const [{ failure }] = await abortable(Promise.race([once(worker, 'message'), ended]), signal)
    if (failure !== undefined) throw Object.assign(new Error(failure.message), { code: failure.code })
  } finally {
    await worker.terminate()
  }
}

/** The file that it begins with. */
function npmEngine(): string {
  let cause: unknown
  for (const place of packagePlaces())
    try {
      return requireFrom(place).resolve('@npmcli/arborist')
    } catch (error) {
      cause ??= error
    }
  throw cause
}
