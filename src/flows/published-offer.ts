import type { Offer } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import type { ReleaseStore } from '../releases/store.ts'

/**
 * Which version a registry has for a dist-tag, a range or an exact version; its digest is noted when it is first seen, and
 * must stay.
 */
export async function publishedOffer(
  { store, registry: asked }: { readonly store: ReleaseStore; readonly registry: string | undefined },
  { name: package_, wanted }: { readonly name: string; readonly wanted: string },
  signal: AbortSignal,
): Promise<Offer> {
  const { resolve } = await import('../packages/resolve.ts')
  const { seen } = await store.state(package_)
  const answer = await resolve({
    package: package_,
    channel: wanted,
    ...(asked !== undefined && { registry: asked }),
    firstSeen: Object.fromEntries(Object.entries(seen).map(([version, { integrity }]) => [version, integrity])),
    signal,
  })
  if ('notModified' in answer) throw new InstarError('INTERNAL', 'no etag was given, and one was answered to')
  const { name, version, integrity, tarball, registry, engines, signatures } = answer
  if (seen[version] === undefined) await store.seen(package_, version, integrity)
  return { name, version, integrity, tarball, registry, engines, signatures }
}
