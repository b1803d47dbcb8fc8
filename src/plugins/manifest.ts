import satisfies from 'semver/functions/satisfies.js'
import * as z from 'zod'
import { InstarError } from '../errors.ts'
import type { PackageManifest } from '../packages/read-manifest.ts'

/** The points of a host that a plugin adds to, by the host's names for them, each with whatever the host wants to know. */
const Contributes = z.record(z.string().min(1).max(100), z.unknown()).default({})

/** @throws {InstarError} `MANIFEST_INVALID` */
export function contributionsOf({ name, contributes }: PackageManifest): Readonly<Record<string, unknown>> {
  const read = Contributes.safeParse(contributes)
  if (read.success) return read.data
  throw new InstarError('MANIFEST_INVALID', `what ${name} contributes cannot be used`, { cause: read.error })
}

/**
 * @param engines Versions of what plugins run in; what is not named there is nobody's concern.
 * @throws {InstarError} `ENGINES_UNMET`, also for a range that is none.
 */
export function assertEngines(
  { name, version, engines: wanted }: PackageManifest,
  engines: Readonly<Record<string, string>>,
): void {
  for (const [engine, present] of Object.entries(engines)) {
    const range = wanted[engine]
    if (range !== undefined && !satisfies(present, range, { includePrerelease: true }))
      throw new InstarError('ENGINES_UNMET', `${name} ${version} wants ${engine} ${range}, and this is ${present}`)
  }
}
