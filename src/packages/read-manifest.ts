import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { InstarError } from '../errors.ts'
import { manifestBytes } from './limits.ts'

const Ranges = z.record(z.string(), z.string()).default({})

const Manifest = z.object({
  name: z.string(),
  version: z.string(),
  type: z.enum(['module', 'commonjs']).default('commonjs'),
  dependencies: Ranges,
  optionalDependencies: Ranges,
  peerDependencies: Ranges,
  // Old packages have lists and sentences here; npm does not believe those either.
  engines: z.record(z.string(), z.string()).catch({}),
  contributes: z.unknown().optional(),
  bin: z.union([z.string(), z.record(z.string(), z.string())]).default({}),
  bundleDependencies: z.union([z.array(z.string()), z.boolean()]).default([]),
  bundledDependencies: z.union([z.array(z.string()), z.boolean()]).optional(),
})

const Identity = z.object({ name: z.string(), version: z.string() })
type Identity = z.output<typeof Identity>

/** What a package says about itself. */
export interface PackageManifest {
  readonly name: string
  readonly version: string
  readonly type: 'module' | 'commonjs'
  readonly dependencies: Readonly<Record<string, string>>
  readonly optionalDependencies: Readonly<Record<string, string>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly engines: Readonly<Record<string, string>>
  /** What a plugin offers its host, as it was written; undefined where it says nothing. */
  readonly contributes?: unknown
  /** Command names and the files they run, whichever way the package wrote them. */
  readonly bin: Readonly<Record<string, string>>
  /** Dependencies that the tarball brings along. */
  readonly bundleDependencies: readonly string[]
}

/**
 * What a package that nobody has vouched for calls itself.
 *
 * @throws {InstarError} `MANIFEST_INVALID`
 */
export async function readIdentity(text: string): Promise<Identity> {
  try {
    return await identityIn(text)
  } catch (error) {
    throw new InstarError('MANIFEST_INVALID', "the package's own package.json cannot be used", { cause: error })
  }
}

/** Name and version in the text of a manifest of any kind. The error of one that has none is not ours. */
export async function identityIn(text: string): Promise<Identity> {
  const { default: valid } = await import('semver/functions/valid.js')
  const { name, version } = Identity.parse(JSON.parse(text.replace(/^\ufeff/, '')))
  const canonical = valid(version, { loose: true })
  if (canonical === null) throw new Error(`${JSON.stringify(version.slice(0, 100))} is no version`)
  return { name, version: canonical }
}

/** The `package.json` of a folder, as text. @throws {InstarError} `MANIFEST_INVALID` */
export async function manifestText(directory: string): Promise<string> {
  try {
    return await readBounded(join(directory, 'package.json'))
  } catch (error) {
    throw new InstarError('MANIFEST_INVALID', `${directory} has no package.json that can be read`, { cause: error })
  }
}

/**
 * Reads the `package.json` of an unpacked package. This is what to decide by: the registry's own account of dependencies
 * and engines is covered by no signature, while these bytes are covered by the integrity.
 *
 * @throws {InstarError} `MANIFEST_INVALID` where it is missing, larger than 1 MiB or not usable; `MANIFEST_MISMATCH`
 *   where it is another package or version than `expected`.
 */
export async function readManifest(
  directory: string,
  expected: { readonly name: string; readonly version: string },
): Promise<PackageManifest> {
  const { name, version, bin, bundleDependencies, bundledDependencies, ...rest } = await parsed(
    join(directory, 'package.json'),
  )
  const { default: semver } = await import('semver')
  // As the registry does when it lists a version: `v1.2.3` and `1.2.3+build` are 1.2.3.
  if (name !== expected.name || semver.valid(version, { loose: true }) !== expected.version)
    throw new InstarError('MANIFEST_MISMATCH', 'the package inside is not the one that was asked for', {
      details: { expected: `${expected.name}@${expected.version}`, inside: `${name}@${version}`.slice(0, 300) },
    })
  const bundled = bundledDependencies ?? bundleDependencies
  return {
    ...rest,
    name,
    version: expected.version,
    bin: typeof bin === 'string' ? { [name.replace(/^@[^/]*\//, '')]: bin } : bin,
    bundleDependencies: Array.isArray(bundled) ? bundled : bundled ? Object.keys(rest.dependencies) : [],
  }
}

async function parsed(path: string): Promise<z.infer<typeof Manifest>> {
  try {
    return Manifest.parse(JSON.parse((await readBounded(path)).replace(/^\ufeff/, '')))
  } catch (error) {
    throw new InstarError('MANIFEST_INVALID', `the package's own package.json cannot be used`, { cause: error })
  }
}

/** The text of a manifest. The error of one that cannot be read, or is too large, is not ours. */
export async function readBounded(path: string): Promise<string> {
  // A pipe of that name would keep whoever opens it waiting.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stats = await handle.stat()
    if (!stats.isFile()) throw new Error('it is no file')
    const { size } = stats
    if (size > manifestBytes) throw new Error(`${size} bytes, at most ${manifestBytes} are read`)
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}
