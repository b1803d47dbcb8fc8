import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PluginOffer } from '../../machines/index.ts'
import { diskError, InstarError } from '../errors.ts'
import { isGitSpec } from '../packages/git-spec.ts'
import { filePrefix, identityOf } from '../plugins/spec.ts'
import type { Draft } from '../releases/draft.ts'
import { download, tarballIn } from './package-draft.ts'
import type { PluginWorld } from './plugin-world.ts'
import { publishedOffer } from './published-offer.ts'

export interface Wanted {
  readonly plugin: string
  readonly wanted: string
  /** Names the attempt: the same after a crash. */
  readonly key: string
}

/** Which exact version is meant, and where its bytes are. */
export async function resolveOffer(world: PluginWorld, wanted: Wanted, signal: AbortSignal): Promise<PluginOffer> {
  if (wanted.wanted.startsWith(filePrefix)) return fileOffer(wanted)
  return isGitSpec(wanted.wanted)
    ? gitOffer(world, wanted, signal)
    : registryOffer(world, wanted.plugin, wanted.wanted, signal)
}

async function fileOffer({ plugin, wanted }: Wanted): Promise<PluginOffer> {
  const path = wanted.slice(filePrefix.length)
  const { name, version, isFolder } = await identityOf(path)
  assertIs(plugin, name, path)
  return { name, version, integrity: null, source: { kind: isFolder ? 'folder' : 'tarball', path } }
}

async function gitOffer(
  world: PluginWorld,
  { plugin, wanted, key }: Wanted,
  signal: AbortSignal,
): Promise<PluginOffer> {
  const { resolveGit } = await import('../packages/git.ts')
  await using draft = await world.store.draft(plugin, key, { signal })
  try {
    await draft.reset()
    const { name, version, url, commit } = await resolveGit(wanted, { directory: repositoryIn(draft), signal })
    assertIs(plugin, name, url)
    return { name, version, integrity: null, source: { kind: 'git', url, commit } }
  } finally {
    await draft.discard()
  }
}

/** The same for what a registry has under a dist-tag, a range or an exact version. */
export async function registryOffer(
  world: PluginWorld,
  plugin: string,
  wanted: string,
  signal: AbortSignal,
): Promise<PluginOffer> {
  const { name, version, integrity, tarball, registry, signatures } = await publishedOffer(
    world,
    { name: plugin, wanted },
    signal,
  )
  return { name, version, integrity, source: { kind: 'registry', tarball, registry, signatures } }
}

function assertIs(plugin: string, name: string, where: string): void {
  if (name !== plugin) throw new InstarError('MANIFEST_MISMATCH', `${where} holds ${name}, and ${plugin} was asked for`)
}

/** What of an offer the registry's side wants to know. */
export function publishedOf({ name, version, integrity, source }: PluginOffer) {
  if (source.kind !== 'registry' || integrity === null) throw new Error('not from a registry')
  const { tarball, registry, signatures } = source
  return { name, version, integrity, tarball, registry, signatures }
}

/** Where it comes from, for people. */
export function sourceText({ source }: PluginOffer): string {
  if (source.kind === 'registry') return source.registry
  return source.kind === 'git' ? `${source.url}#${source.commit}` : source.path
}

/**
 * Fills an empty draft with the archive of what is offered. A folder and a repository go through an archive too, so that
 * one set of rules judges what may be in a plugin.
 */
export async function bring(
  offer: PluginOffer,
  draft: Draft,
  { signal, progress }: { signal: AbortSignal; progress: (data: unknown) => void },
): Promise<void> {
  const { source, version } = offer
  const file = tarballIn(draft)
  if (source.kind === 'registry') return download(draft, publishedOf(offer), { signal, progress })
  try {
    if (source.kind === 'git') {
      const { archiveGit } = await import('../packages/git.ts')
      const onBytes = (bytes: number) => progress({ phase: 'fetching', version, bytes })
      await archiveGit(source, file, { directory: repositoryIn(draft), signal, onBytes })
    } else if (source.kind === 'folder') {
      const { packFolder } = await import('../packages/pack-folder.ts')
      await packFolder(source.path, file, signal)
    } else await copyFile(source.path, file)
  } catch (error) {
    throw diskError(error, `reading ${sourceText(offer)}`)
  }
}

const repositoryIn = (draft: Draft) => join(draft.scratch, 'repository')
