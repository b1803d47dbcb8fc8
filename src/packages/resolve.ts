import * as z from 'zod'
import { InstarError } from '../errors.ts'
import { metadataLimits, type TransferLimits } from './limits.ts'
import { accessRegistry, type RegistryAccess, type RegistryChoice } from './registry-access.ts'
import { request } from './request.ts'

/** One exact version as the registry describes it. Plain data. All of it is the registry's claim until bytes are checked. */
export interface Resolved {
  readonly name: string
  readonly version: string
  /** Always one sha512, `sha512-<base64>`. */
  readonly integrity: string
  readonly tarball: string
  readonly engines: Readonly<Record<string, string>>
  /** Give it to the next `resolve` to be told `notModified`; null where the registry has none. */
  readonly etag: string | null
  readonly signatures: readonly RegistrySignature[]
  /** The registry that was asked; ends with a slash. */
  readonly registry: string
  readonly unpackedBytes?: number
  readonly fileCount?: number
  readonly deprecated?: string
  /** ISO 8601. Unsigned and often absent: for people to read, not to decide by. */
  readonly publishedAt?: string
}

export interface RegistrySignature {
  readonly keyid: string
  readonly sig: string
}

export interface ResolveOptions extends RegistryChoice {
  readonly package: string
  /** A dist-tag, a range or an exact version. */
  readonly channel: string
  /** From an earlier answer about the same package and registry. */
  readonly etag?: string | null
  /** Integrity of the versions that were seen before; one that changed is refused. */
  readonly firstSeen?: Readonly<Record<string, string>>
  /** Where a range has several answers, those whose `engines` this Node satisfies come first. Default: engines are not looked at. */
  readonly nodeVersion?: string
  readonly signal?: AbortSignal
  readonly limits?: Partial<TransferLimits>
}

const Sha512 = /^sha512-[A-Za-z0-9+/]{85}[AQgw]==$/
const Text = z.string()
const Count = z.int().nonnegative().optional().catch(undefined)

const Packument = z.object({
  name: Text,
  'dist-tags': z.record(Text, Text),
  versions: z.record(Text, z.looseObject({})),
  time: z.record(Text, z.unknown()).optional().catch(undefined),
})

const Entry = z.object({
  name: Text,
  version: Text,
  // Old packages have lists and sentences here; npm does not believe those either.
  engines: z.record(Text, Text).catch({}),
  deprecated: Text.min(1).optional().catch(undefined),
  dist: z.object({
    tarball: z.url({ protocol: /^https?$/ }),
    integrity: Text.optional(),
    signatures: z.array(z.object({ keyid: Text, sig: Text })).default([]),
    unpackedSize: Count,
    fileCount: Count,
  }),
})

/**
 * Learns which exact version a channel names now, by one conditional request for the abbreviated packument.
 *
 * Reads nothing from and writes nothing to a cache. With `etag`, a registry that has nothing new answers without a body.
 * A channel that is a range follows npm's rules: the version tagged `latest` where it fits, else the highest that is
 * not deprecated.
 *
 * @throws {InstarError} `PACKAGE_NAME_INVALID`, `CHANNEL_INVALID`, `PACKAGE_NOT_FOUND`, `VERSION_NOT_FOUND`,
 *   `INTEGRITY_MISSING`, `INTEGRITY_WEAK`, `INTEGRITY_CHANGED`, `CONFIG_INVALID`, `ABORTED` and the `REGISTRY_*` codes.
 */
export async function resolve(options: ResolveOptions): Promise<Resolved | { readonly notModified: true }> {
  const spec = await registrySpec(options.package, options.channel)
  const access = await accessRegistry(options.package, options)
  const limits = { ...metadataLimits, ...options.limits }
  const url = new URL(spec.escapedName, access.url)
  const headers = {
    accept: 'application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*',
    ...(options.etag && { 'if-none-match': options.etag }),
  }
  const wanted = { access, url, headers, compressed: true, limits, signal: options.signal } as const
  return request({ ...wanted, tooLarge: 'REGISTRY_ANSWER_TOO_LARGE' }, async ({ status, headers: got, body }) => {
    if (status === 404) throw new InstarError('PACKAGE_NOT_FOUND', `${access.url} has no package ${options.package}`)
    if (status === 304) {
      if (options.etag) return { notModified: true } as const
      throw new InstarError('REGISTRY_ANSWER_INVALID', 'the registry says "not modified" to an unconditional question')
    }
    const packument = await readJson(body, Packument)
    return pick(packument, options, access, typeof got.etag === 'string' ? got.etag : null)
  })
}

/** Reads a body as JSON of the given shape. */
export async function readJson<T>(body: AsyncIterable<Buffer>, shape: z.ZodType<T>): Promise<T> {
  const chunks: Buffer[] = []
  for await (const chunk of body) chunks.push(chunk)
  try {
    return shape.parse(JSON.parse(Buffer.concat(chunks).toString('utf8')))
  } catch (error) {
    throw new InstarError('REGISTRY_ANSWER_INVALID', 'the answer is not the JSON that a registry gives', {
      cause: error,
    })
  }
}

/** Only what a registry can answer: no git address, no path, no alias that would smuggle in another name. */
async function registrySpec(name: string, channel: string): Promise<{ escapedName: string }> {
  const { default: parse } = await import('npm-package-arg')
  const attempt = <T>(code: 'PACKAGE_NAME_INVALID' | 'CHANNEL_INVALID', message: string, run: () => T): T => {
    try {
      return run()
    } catch (error) {
      throw new InstarError(code, message, { cause: error })
    }
  }
  const plain = attempt('PACKAGE_NAME_INVALID', `${JSON.stringify(name)} is not a package name`, () => parse(name))
  if (plain.name !== name || !plain.registry)
    throw new InstarError('PACKAGE_NAME_INVALID', `${JSON.stringify(name)} is not a package name`)
  const refusal = `${JSON.stringify(channel)} is not a tag, range or version`
  const spec = attempt('CHANNEL_INVALID', refusal, () => parse.resolve(name, channel))
  if (!['tag', 'range', 'version'].includes(spec.type)) throw new InstarError('CHANNEL_INVALID', refusal)
  return { escapedName: spec.escapedName! }
}

async function pick(
  packument: z.infer<typeof Packument>,
  { package: name, channel, firstSeen = {}, nodeVersion }: ResolveOptions,
  access: RegistryAccess,
  etag: string | null,
): Promise<Resolved> {
  const invalid = (message: string, cause?: unknown) => new InstarError('REGISTRY_ANSWER_INVALID', message, { cause })
  if (packument.name !== name) throw invalid(`asked for ${name}, the registry answered about ${quoted(packument.name)}`)

  const [{ default: pickManifest }, { default: semver }] = await Promise.all([
    import('npm-pick-manifest'),
    import('semver'),
  ])
  let picked: unknown
  try {
    const { versions, 'dist-tags': tags } = packument
    // Without `nodeVersion` npm would take this process's, which need not be the one to run the package.
    picked = pickManifest({ name, versions, 'dist-tags': tags }, channel, { nodeVersion: nodeVersion ?? null })
  } catch (error) {
    const { code } = error as { code?: string }
    if (code !== 'ETARGET' && code !== 'ENOVERSIONS')
      throw invalid(`${name} has entries that cannot be compared`, error)
    throw new InstarError('VERSION_NOT_FOUND', `${access.url} has no ${name}@${channel}`)
  }
  const found = Entry.safeParse(picked)
  if (!found.success) throw invalid(`${name}@${channel} is described in a way that cannot be used`, found.error)
  const { version, dist, engines, deprecated } = found.data
  if (semver.valid(version) !== version) throw invalid(`${name} has a version ${quoted(version)}, which is none`)
  // A signature is over name and version, so an entry must not be able to pose as another.
  const listed = Object.hasOwn(packument.versions, version) ? packument.versions[version]!.dist : undefined
  if (found.data.name !== name || listed !== (picked as { dist: unknown }).dist)
    throw invalid(`${name}@${channel} leads to an entry that calls itself ${quoted(`${found.data.name}@${version}`)}`)

  const integrity = strongIntegrity(dist.integrity, `${name}@${version}`)
  const seen = Object.hasOwn(firstSeen, version) ? firstSeen[version] : undefined
  if (seen !== undefined && seen !== integrity)
    throw new InstarError('INTEGRITY_CHANGED', `${name}@${version} has other bytes than when it was first seen`, {
      details: { version, firstSeen: seen, now: integrity },
    })
  const publishedAt = packument.time?.[version]
  return {
    name,
    version,
    integrity,
    tarball: dist.tarball,
    engines,
    etag,
    signatures: dist.signatures,
    registry: access.url,
    ...(dist.unpackedSize !== undefined && { unpackedBytes: dist.unpackedSize }),
    ...(dist.fileCount !== undefined && { fileCount: dist.fileCount }),
    ...(deprecated !== undefined && { deprecated }),
    ...(typeof publishedAt === 'string' && { publishedAt }),
  }
}

function strongIntegrity(integrity: string | undefined, id: string): string {
  if (!integrity) throw new InstarError('INTEGRITY_MISSING', `the registry gives no integrity for ${id}`)
  if (Sha512.test(integrity)) return integrity
  // A second sha512 would mean "either of these bytes", which is not what a version is.
  if (integrity.includes('sha512-'))
    throw new InstarError('REGISTRY_ANSWER_INVALID', `the integrity of ${id} is not one sha512`, {
      details: { integrity: integrity.slice(0, 200) },
    })
  throw new InstarError('INTEGRITY_WEAK', `the registry knows ${id} only by ${quoted(integrity.split('-')[0]!)}`)
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text)
}
