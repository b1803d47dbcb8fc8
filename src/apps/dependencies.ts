import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { InstarError } from '../errors.ts'
import type { PackageManifest } from '../packages/read-manifest.ts'

export interface DependencyOptions {
  /** The registry that is asked; npm's own settings where absent. */
  readonly registry: string | undefined
  /** Absolute path of a folder for downloads; the caller removes it. */
  readonly cache: string
}

/** Whether there is anything to install; npm's engine takes its time to find that there is not. */
export function hasDependencies(manifest: PackageManifest): boolean {
  const { dependencies, optionalDependencies, peerDependencies } = manifest
  return [dependencies, optionalDependencies, peerDependencies].some((ranges) => Object.keys(ranges).length > 0)
}

/**
 * Installs what a package depends on beside it, by npm's own engine: as its shrinkwrap says, else the newest that fit. What
 * was chosen is written down in a lock file within the tree, and so is part of its digest. Install scripts never run;
 * development dependencies and peers that are optional are left out.
 *
 * @throws {InstarError} `DEPENDENCIES_FAILED`, with what npm's engine said as its cause.
 */
export async function installDependencies(tree: string, { registry, cache }: DependencyOptions): Promise<void> {
  const { default: Arborist } = await import('@npmcli/arborist')
  const { readNpmConfig } = await import('../packages/npm-config.ts')
  try {
    const arborist = new Arborist({
      ...(await readNpmConfig()),
      ...(registry !== undefined && { registry }),
      path: tree,
      cache: join(cache, 'npm'),
      ignoreScripts: true,
      audit: false,
      fund: false,
      packageLock: true,
      save: false,
    })
    await arborist.reify({ omit: ['dev'], save: false })
    // Its own notes, with times in them: the same packages would never give the same digest.
    await rm(join(tree, 'node_modules', '.package-lock.json'), { force: true })
  } catch (cause) {
    throw new InstarError('DEPENDENCIES_FAILED', 'what it depends on could not be installed', { cause })
  }
}
