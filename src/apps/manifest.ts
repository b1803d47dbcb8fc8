import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { InstarError } from '../errors.ts'
import type { PackageManifest } from '../packages/read-manifest.ts'
import { entryPath } from '../runtime/entry.ts'
import { enginesSatisfied } from '../runtime/node-version.ts'

const Words = z.array(z.string().max(4096)).max(100)

/** What the `package.json` of an app may say about being one: the field `instar`. All of it may be left out. */
const AppField = z.strictObject({
  /** Put before the arguments of an install. */
  args: Words.default([]),
  env: z.record(z.string().regex(/^[A-Za-z_]\w*$/), z.string().max(32_768)).default({}),
  /** Two of it must never run for one workspace at the same time, for example because of a lock on its data. */
  exclusive: z.boolean().default(false),
  /** What the host must be able to do, by the host's names. */
  requires: z.array(z.string().min(1).max(100)).max(100).default([]),
})

/** How an app is run, whatever kind of package it is. */
export interface AppManifest extends z.output<typeof AppField> {
  readonly name: string
  readonly version: string
  /** Path below the release, run by Node. */
  readonly entry: string
  readonly engines: Readonly<Record<string, string>>
}

/** What this host is, for the gate. */
export interface AppHost {
  readonly nodeVersion: string
  readonly capabilities: readonly string[]
}

/**
 * What a package says about how it is run.
 *
 * @throws {InstarError} `APP_MANIFEST_INVALID`, naming the place.
 */
export async function readAppManifest(
  tree: string,
  { name, version, bin, engines }: PackageManifest,
): Promise<AppManifest> {
  const { instar = {} } = JSON.parse((await readFile(join(tree, 'package.json'), 'utf8')).replace(/^\ufeff/, ''))
  const field = AppField.safeParse(instar)
  if (!field.success) {
    const [issue] = field.error.issues
    throw new InstarError('APP_MANIFEST_INVALID', `instar.${issue!.path.join('.')}: ${issue!.message}`, {
      cause: field.error,
    })
  }
  return { ...field.data, name, version, entry: entryIn(name, bin), engines }
}

/** As npm chooses what `npx NAME` runs: the only command, or the one that is called as the package is. */
function entryIn(name: string, bin: PackageManifest['bin']): string {
  const paths = new Set(Object.values(bin))
  const [only] = paths
  const entry = paths.size === 1 ? only : bin[name.replace(/^@[^/]*\//, '')]
  if (entry === undefined)
    throw new InstarError('APP_MANIFEST_INVALID', `${name} names no command that it is run by`, {
      details: { bin: Object.keys(bin) },
    })
  return entry
}

/**
 * Whether this host can run it.
 *
 * @throws {InstarError} `ENGINES_UNMET`, `APP_CAPABILITY_MISSING`, `ENTRY_MISSING`.
 */
export async function assertRunnable(tree: string, manifest: AppManifest, host: AppHost): Promise<void> {
  const { name, version, engines, requires, entry } = manifest
  if (!enginesSatisfied(engines.node, host.nodeVersion))
    throw new InstarError(
      'ENGINES_UNMET',
      `${name} ${version} wants Node ${engines.node}, and this is ${host.nodeVersion}`,
    )
  const missing = requires.filter((capability) => !host.capabilities.includes(capability))
  if (missing.length > 0)
    throw new InstarError('APP_CAPABILITY_MISSING', `${name} ${version} needs ${missing.join(', ')} of its host`, {
      details: { missing },
    })
  await entryPath(tree, entry)
}
