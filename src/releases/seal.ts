import { lstat, readdir, readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import compare from 'semver/functions/compare.js'
import * as z from 'zod'
import { InstarError } from '../errors.ts'
import { absent } from './absent.ts'
import {
  contentOf,
  isCanonical,
  isDigest,
  isReleaseFolder,
  kinds,
  type Place,
  pathOf,
  type ReleaseRef,
  sealFile,
  treeFile,
} from './layout.ts'
import { differences, digestOf, readTree } from './tree.ts'

/**
 * The seal, format 1: `release.json`, the last file written into a release. One JSON object.
 *
 *   integrity   of what was fetched, as the registry or the caller named it
 *   digest      of the tree that came out of it; the first 12 digits are in the folder's name
 *   source      where it came from, for people
 *   firstSeen   when this machine first heard of the version, by its own clock
 *   published   whether a registry gave it, which never has other bytes under this version
 *   draft       which draft it was, so that sealing twice finds the first result
 */
const Seal = z.strictObject({
  schema: z.literal(1),
  kind: z.enum(kinds),
  name: z.string(),
  version: z.string().refine(isCanonical),
  digest: z.string().refine(isDigest),
  integrity: z.string().min(1),
  source: z.string(),
  firstSeen: z.iso.datetime(),
  published: z.boolean(),
  sealedAt: z.iso.datetime(),
  draft: z.string(),
  files: z.int().nonnegative(),
  bytes: z.int().nonnegative(),
})

export type Seal = z.infer<typeof Seal>

/** A sealed release on this machine. */
export interface Release extends Omit<Seal, 'schema' | 'draft'> {
  /** The release's own folder. */
  readonly path: string
  /** What was released: the folder that runs. */
  readonly content: string
}

export type Verdict =
  | { readonly whole: true; readonly release: Release }
  | {
      readonly whole: false
      /** `RELEASE_INCOMPLETE`: there is no sealed release. `RELEASE_DAMAGED`: there was one. */
      readonly code: 'RELEASE_INCOMPLETE' | 'RELEASE_DAMAGED'
      readonly problems: readonly string[]
    }

export function encodeSeal(seal: Seal): Buffer {
  return Buffer.from(`${JSON.stringify(seal, null, 2)}\n`)
}

/** The seal in a release's folder; null where there is none, or none that makes sense. */
export async function readSeal(path: string): Promise<Seal | null> {
  const text = await readFile(join(path, sealFile), 'utf8').catch(absent)
  if (text === null) return null
  try {
    return Seal.parse(JSON.parse(text))
  } catch {
    return null // nothing vouches for this folder, whatever is wrong with the text
  }
}

export function releaseOf(seal: Seal, path: string): Release {
  const { schema: _schema, draft: _draft, ...release } = seal
  return { ...release, path, content: contentOf({ path }) }
}

/** Every sealed release of a name, newest version first; of one version the one sealed last comes first. */
export async function readSealed(place: Place): Promise<{ seal: Seal; release: Release }[]> {
  const found: { seal: Seal; release: Release }[] = []
  for (const entry of (await readdir(place.releases, { withFileTypes: true }).catch(absent)) ?? []) {
    if (!entry.isDirectory() || !isReleaseFolder(entry.name)) continue
    const path = join(place.releases, entry.name)
    const seal = await readSeal(path)
    if (seal !== null && sealBelongs(seal, place, path)) found.push({ seal, release: releaseOf(seal, path) })
  }
  return found.sort(
    ({ seal: a }, { seal: b }) => compare(b.version, a.version) || Date.parse(b.sealedAt) - Date.parse(a.sealedAt),
  )
}

const sealBelongs = (seal: Seal, place: Place, path: string) =>
  seal.kind === place.kind && seal.name === place.name && pathOf(place, seal) === path

/**
 * Says whether a release is what was sealed: at its computed place, reached through no symlink, its seal present and
 * its own; with `full`, every byte of its tree as well.
 */
export async function judgeRelease(
  place: Place,
  ref: ReleaseRef,
  { full, signal }: { full: boolean; signal?: AbortSignal | undefined },
): Promise<Verdict> {
  const path = pathOf(place, ref)
  if (path === null) return incomplete(`${ref.version} with digest ${ref.digest} cannot name a release`)
  const found = await realpath(path).catch(absent)
  if (found === null) return incomplete(`${path} is missing`)
  if (found !== path) return damaged([`${path} is reached through a symlink`])
  const seal = await readSeal(path)
  if (seal === null) return incomplete(`${path} has no seal that can be read`)
  if (!sealBelongs(seal, place, path) || seal.digest !== ref.digest)
    return damaged([`${path} carries the seal of ${seal.kind} ${seal.name} ${seal.version}`])
  const content = contentOf({ path })
  if (!(await lstat(content).catch(absent))?.isDirectory()) return damaged([`${content} is not a folder`])
  const problems = full ? await problemsOf(path, seal.digest, signal) : []
  return problems.length > 0 ? damaged(problems) : { whole: true, release: releaseOf(seal, path) }
}

async function problemsOf(path: string, digest: string, signal?: AbortSignal): Promise<string[]> {
  let listing: string
  try {
    const tree = await readTree(contentOf({ path }), signal)
    if (tree.digest === digest) return []
    listing = tree.listing
  } catch (error) {
    signal?.throwIfAborted()
    if (error instanceof InstarError && error.code === 'RELEASE_UNSAFE') return [error.message]
    absent(error)
    return ['a file went missing while it was read']
  }
  // The sealed listing only names what differs. It is worth nothing unless the seal vouches for it.
  const sealed = await readFile(join(path, treeFile), 'utf8').catch(() => '')
  return digestOf(sealed) === digest ? differences(sealed, listing) : ['the tree is not the one that was sealed']
}

const incomplete = (problem: string): Verdict => ({ whole: false, code: 'RELEASE_INCOMPLETE', problems: [problem] })
const damaged = (problems: readonly string[]): Verdict => ({ whole: false, code: 'RELEASE_DAMAGED', problems })

/** What the digest of a sealed release is made of. @throws {InstarError} `RELEASE_DAMAGED` */
export async function readListing({ path, digest, version }: Release): Promise<string> {
  const listing = await readFile(join(path, treeFile), 'utf8').catch(absent)
  if (listing !== null && digestOf(listing) === digest) return listing
  throw new InstarError('RELEASE_DAMAGED', `the listing of ${version} is not the one that was sealed`)
}
