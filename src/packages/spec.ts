import { stat } from 'node:fs/promises'
import { isAbsolute, resolve } from 'node:path'
import { InstarError } from '../errors.ts'
import { isGitSpec, readGitSpec } from './git-spec.ts'

/** What a person asks to be installed. */
export interface PackageSpec {
  readonly name: string
  /**
   * A dist-tag, a range, an exact version; `file:` and the absolute path of a folder, a gzipped tar archive or an MCP
   * bundle; or a git repository, as npm writes it.
   */
  readonly wanted: string
}

/** What a package is for: it decides by which code a spec is refused that names none. */
export type PackageKind = 'plugin' | 'app'

export interface SpecRules {
  readonly kind: PackageKind
  /** @throws {InstarError} for a name that nothing of this kind may have. */
  assertName(name: string): void
}

export const filePrefix = 'file:'

const invalidCodes = { plugin: 'PLUGIN_SPEC_INVALID', app: 'APP_SPEC_INVALID' } as const

/** Whether a spec says nothing but where something lies. */
export const isPath = (text: string) =>
  text.startsWith('./') || text.startsWith('../') || text === '.' || isAbsolute(text)

/** Whether what is wanted is something else than a version that a registry has. */
export const isElsewhere = (wanted: string) => wanted.startsWith(filePrefix) || isGitSpec(wanted)

/**
 * Reads `NAME`, `NAME@RANGE`, `NAME@file:PATH`, `NAME@git+https://…`, or a path, whose package says its name itself.
 *
 * @param folder What relative paths are resolved against.
 * @throws {InstarError} `PLUGIN_SPEC_INVALID` or `APP_SPEC_INVALID`, and what `assertName` throws; `GIT_SPEC_INVALID`,
 *   `MANIFEST_INVALID`, `APP_MANIFEST_INVALID`, `TARBALL_INVALID`, `BUNDLE_INVALID`.
 */
export async function readSpec(text: string, folder: string, { kind, assertName }: SpecRules): Promise<PackageSpec> {
  if (isPath(text)) {
    const path = resolve(folder, text)
    const { name } = await identityOf(path, kind)
    assertName(name)
    return { name, wanted: `${filePrefix}${path}` }
  }
  const refused = (why: string) => new InstarError(invalidCodes[kind], why)
  if (isGitSpec(text)) throw refused(`a repository stands behind the name of its ${kind}`)
  const [, name = '', wanted = 'latest'] = /^(@?[^@]+)(?:@(.*))?$/s.exec(text) ?? []
  assertName(name)
  if (wanted === '') throw refused(`${text} names no version`)
  return { name, wanted: await readWanted(wanted, folder) }
}

/**
 * What is wanted of a package whose name is known: as it stands behind the name in a spec, or a path.
 *
 * @throws {InstarError} `GIT_SPEC_INVALID`
 */
export async function readWanted(wanted: string, folder: string): Promise<string> {
  if (isGitSpec(wanted)) await readGitSpec(wanted)
  const path = isPath(wanted) ? wanted : wanted.startsWith(filePrefix) ? wanted.slice(filePrefix.length) : null
  return path === null ? wanted : `${filePrefix}${resolve(folder, path)}`
}

export interface Identity {
  readonly name: string
  readonly version: string
  readonly kind: 'folder' | 'tarball' | 'bundle'
}

/**
 * What the package in a folder, an archive or a bundle calls itself.
 *
 * @throws {InstarError} `PLUGIN_SPEC_INVALID` or `APP_SPEC_INVALID` where nothing is there, or a bundle that is to be no
 *   app; `MANIFEST_INVALID`, `APP_MANIFEST_INVALID`; what the archive is refused for.
 */
export async function identityOf(path: string, kind: PackageKind): Promise<Identity> {
  const refused = (why: string, cause?: unknown) => new InstarError(invalidCodes[kind], why, { cause })
  const stats = await stat(path).catch((cause) => {
    throw refused(`there is nothing at ${path}`, cause)
  })
  const { manifestText, readIdentity } = await import('./read-manifest.ts')
  if (stats.isDirectory()) return { ...(await readIdentity(await manifestText(path))), kind: 'folder' }
  if (!stats.isFile()) throw refused(`${path} is neither a file nor a folder`)
  const { bundleIdentity, isBundle } = await import('./bundle.ts')
  if (!(await isBundle(path))) return { ...(await readIdentity(await manifestInArchive(path))), kind: 'tarball' }
  if (kind !== 'app') throw refused(`${path} is an MCP bundle, which is an app and no ${kind}`)
  return { ...(await bundleIdentity(path)), kind: 'bundle' }
}

async function manifestInArchive(file: string): Promise<string> {
  const [{ readArchive }, { Inflated }, { manifestBytes, treeLimits }] = await Promise.all([
    import('./archive.ts'),
    import('./inflated.ts'),
    import('./limits.ts'),
  ])
  let isManifest = false
  const parts: Buffer[] = []
  let length = 0
  await readArchive(new Inflated(file), treeLimits, undefined, {
    item: ({ path }) => {
      isManifest = path === 'package.json'
    },
    content: (bytes) => {
      if (!isManifest || length > manifestBytes) return
      parts.push(Buffer.from(bytes))
      length += bytes.length
    },
    whole() {},
    async settle() {},
  })
  return Buffer.concat(parts).toString('utf8')
}
