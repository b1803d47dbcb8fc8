import { stat } from 'node:fs/promises'
import { isAbsolute, resolve } from 'node:path'
import { InstarError } from '../errors.ts'
import { isGitSpec, readGitSpec } from '../packages/git-spec.ts'
import { assertPluginName } from './layout.ts'

/** What a person asks to be installed. */
export interface PluginSpec {
  readonly name: string
  /**
   * A dist-tag, a range, an exact version; `file:` and the absolute path of a folder or a gzipped tar archive; or a git
   * repository, as npm writes it.
   */
  readonly wanted: string
}

export const filePrefix = 'file:'

/**
 * Reads `NAME`, `NAME@RANGE`, `NAME@file:PATH`, `NAME@git+https://…`, or a path, whose package says its name itself.
 *
 * @param folder What relative paths are resolved against.
 * @throws {InstarError} `PLUGIN_SPEC_INVALID`, `PLUGIN_NAME_INVALID`, `GIT_SPEC_INVALID`, `MANIFEST_INVALID`,
 *   `TARBALL_INVALID`.
 */
export async function readSpec(text: string, folder: string): Promise<PluginSpec> {
  if (text.startsWith('./') || text.startsWith('../') || text === '.' || isAbsolute(text))
    return namedByItself(resolve(folder, text))
  if (isGitSpec(text)) throw new InstarError('PLUGIN_SPEC_INVALID', 'a repository stands behind the name of its plugin')
  const [, name = '', wanted = 'latest'] = /^(@?[^@]+)(?:@(.*))?$/s.exec(text) ?? []
  assertPluginName(name)
  if (wanted === '') throw new InstarError('PLUGIN_SPEC_INVALID', `${text} names no version`)
  if (isGitSpec(wanted)) await readGitSpec(wanted)
  if (!wanted.startsWith(filePrefix)) return { name, wanted }
  return { name, wanted: `${filePrefix}${resolve(folder, wanted.slice(filePrefix.length))}` }
}

async function namedByItself(path: string): Promise<PluginSpec> {
  const { name } = await identityOf(path)
  assertPluginName(name)
  return { name, wanted: `${filePrefix}${path}` }
}

/**
 * What the package in a folder or an archive calls itself.
 *
 * @throws {InstarError} `PLUGIN_SPEC_INVALID` where nothing is there; `MANIFEST_INVALID`; what the archive is refused for.
 */
export async function identityOf(path: string): Promise<{ name: string; version: string; isFolder: boolean }> {
  const stats = await stat(path).catch((cause) => {
    throw new InstarError('PLUGIN_SPEC_INVALID', `there is nothing at ${path}`, { cause })
  })
  const { manifestText, readIdentity } = await import('../packages/read-manifest.ts')
  if (stats.isDirectory()) return { ...(await readIdentity(await manifestText(path))), isFolder: true }
  return { ...(await readIdentity(await manifestInArchive(path))), isFolder: false }
}

async function manifestInArchive(file: string): Promise<string> {
  const [{ readArchive }, { manifestBytes, treeLimits }] = await Promise.all([
    import('../packages/archive.ts'),
    import('../packages/limits.ts'),
  ])
  let isManifest = false
  const parts: Buffer[] = []
  let length = 0
  await readArchive(file, treeLimits, undefined, {
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
