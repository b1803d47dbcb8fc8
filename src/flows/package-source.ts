import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PackageOffer } from '../../machines/index.ts'
import { diskError, InstarError } from '../errors.ts'
import { isGitSpec } from '../packages/git-spec.ts'
import { filePrefix, identityOf, type PackageKind } from '../packages/spec.ts'
import type { SignaturePolicy } from '../packages/verify-signatures.ts'
import type { Draft } from '../releases/draft.ts'
import type { ReleaseStore } from '../releases/store.ts'
import { download, integrityOf, tarballIn, unpackAgain, unpackChecked } from './package-draft.ts'
import { publishedOffer } from './published-offer.ts'

/** Where packages of one kind come from, and where they are kept. */
export interface PackageWorld {
  readonly store: ReleaseStore
  readonly registry: string | undefined
}

export interface Wanted {
  readonly name: string
  readonly wanted: string
  readonly kind: PackageKind
  /** Names the attempt: the same after a crash. */
  readonly key: string
}

/** Which exact version is meant, and where its bytes are. */
export async function resolveOffer(world: PackageWorld, wanted: Wanted, signal: AbortSignal): Promise<PackageOffer> {
  if (wanted.wanted.startsWith(filePrefix)) return fileOffer(wanted)
  return isGitSpec(wanted.wanted)
    ? gitOffer(world, wanted, signal)
    : registryOffer(world, wanted.name, wanted.wanted, signal)
}

async function fileOffer({ name: asked, wanted, kind: use }: Wanted): Promise<PackageOffer> {
  const path = wanted.slice(filePrefix.length)
  const { name, version, kind } = await identityOf(path, use)
  assertIs(asked, name, path)
  return { name, version, integrity: null, source: { kind, path } }
}

async function gitOffer(
  world: PackageWorld,
  { name: asked, wanted, key }: Wanted,
  signal: AbortSignal,
): Promise<PackageOffer> {
  const { resolveGit } = await import('../packages/git.ts')
  await using draft = await world.store.draft(asked, key, { signal })
  try {
    await draft.reset()
    const { name, version, url, commit } = await resolveGit(wanted, { directory: repositoryIn(draft), signal })
    assertIs(asked, name, url)
    return { name, version, integrity: null, source: { kind: 'git', url, commit } }
  } finally {
    await draft.discard()
  }
}

/** The same for what a registry has under a dist-tag, a range or an exact version. */
export async function registryOffer(
  world: PackageWorld,
  asked: string,
  wanted: string,
  signal: AbortSignal,
): Promise<PackageOffer> {
  const { name, version, integrity, tarball, registry, signatures } = await publishedOffer(
    world,
    { name: asked, wanted },
    signal,
  )
  return { name, version, integrity, source: { kind: 'registry', tarball, registry, signatures } }
}

function assertIs(asked: string, name: string, where: string): void {
  if (name !== asked) throw new InstarError('MANIFEST_MISMATCH', `${where} holds ${name}, and ${asked} was asked for`)
}

/** What of an offer the registry's side wants to know. */
function publishedOf({ name, version, integrity, source }: PackageOffer) {
  if (source.kind !== 'registry' || integrity === null) throw new Error('not from a registry')
  const { tarball, registry, signatures } = source
  return { name, version, integrity, tarball, registry, signatures }
}

/** What a release that is sealed of an offer says of where it is from. */
export function originOf({ source }: PackageOffer): { readonly source: string; readonly published: boolean } {
  const published = source.kind === 'registry'
  if (source.kind === 'registry') return { source: source.registry, published }
  return { source: source.kind === 'git' ? `${source.url}#${source.commit}` : source.path, published }
}

interface Bringing {
  readonly signal: AbortSignal
  /** Names of folders that are not taken from a folder, at its root. */
  readonly leaveOut?: readonly string[]
  progress(data: unknown): void
}

/**
 * Fills an empty draft with the archive of what is offered, and answers with the integrity of what was fetched. All that
 * comes from elsewhere goes through such an archive, so that one set of rules judges what may be in a package.
 */
export async function bring(offer: PackageOffer, draft: Draft, bringing: Bringing): Promise<string> {
  if (offer.source.kind !== 'registry') {
    const fetched = await fetchElsewhere(offer, draft, bringing).catch((error) => {
      throw diskError(error, `reading ${originOf(offer).source}`)
    })
    return integrityOf(fetched)
  }
  await download(draft, publishedOf(offer), bringing)
  return offer.integrity!
}

/** Answers with the file that was fetched, or was made of what was. */
async function fetchElsewhere(
  { source, version }: PackageOffer,
  draft: Draft,
  { signal, progress, leaveOut }: Bringing,
): Promise<string> {
  const file = tarballIn(draft)
  if (source.kind === 'git') {
    const { archiveGit } = await import('../packages/git.ts')
    const onBytes = (bytes: number) => progress({ phase: 'fetching', version, bytes })
    await archiveGit(source, file, { directory: repositoryIn(draft), signal, onBytes })
  } else if (source.kind === 'folder') {
    const { packFolder } = await import('../packages/pack-folder.ts')
    await packFolder(source.path, file, { signal, leaveOut })
  } else if (source.kind === 'bundle') {
    const { packBundle } = await import('../packages/bundle.ts')
    // A copy: what its digest is taken of is what is unpacked, whatever becomes of the original meanwhile.
    const bundle = join(draft.scratch, 'bundle.mcpb')
    await copyFile(source.path, bundle)
    await packBundle(bundle, file, signal)
    return bundle
  } else if (source.kind === 'tarball') await copyFile(source.path, file)
  return file
}

/** Unpacks what was brought into a draft, in place of what an interrupted run has unpacked. */
export async function unpackOffer(
  draft: Draft,
  offer: PackageOffer,
  { signatures, signal }: { readonly signatures: SignaturePolicy; readonly signal: AbortSignal },
): Promise<void> {
  if (offer.source.kind === 'registry') return unpackChecked(draft, publishedOf(offer), { signatures, signal })
  return unpackAgain(draft, signal)
}

const repositoryIn = (draft: Draft) => join(draft.scratch, 'repository')
