import type { AppRelease, ReleaseRef } from '../../machines/index.ts'
import { type AppManifest, assertRunnable, readAppManifest } from '../apps/manifest.ts'
import type { Settings } from '../apps/settings.ts'
import { InstarError } from '../errors.ts'
import type { Release } from '../releases/seal.ts'
import type { ReleaseStore } from '../releases/store.ts'
import type { AppWorld } from './app-world.ts'

/** The organisation's version of an app; null where it has none. */
export async function adoptedRelease(store: ReleaseStore, app: string): Promise<AppRelease | null> {
  const { current } = await store.pointer(app)
  const release = current === null ? null : await store.find(app, current)
  return release === null ? null : appRelease(app, release)
}

export async function appRelease(app: string, release: Release): Promise<AppRelease> {
  const { exclusive } = await manifestOf(app, release)
  return { version: release.version, digest: release.digest, exclusive }
}

async function manifestOf(app: string, { content, version }: Release) {
  return readAppManifest(content, { name: app, version })
}

/** What a kept release lets its user decide; nothing where it cannot be read, which whoever starts it will be told. */
export async function settingsOf(
  { store }: Pick<AppWorld, 'store'>,
  app: string,
  ref: ReleaseRef,
): Promise<Settings | null> {
  const release = await store.find(app, ref)
  const manifest = release === null ? null : await manifestOf(app, release).catch(() => null)
  return manifest?.settings ?? null
}

/**
 * A kept release that is whole, and that this host can run.
 *
 * @throws {InstarError} `RELEASE_INCOMPLETE`, `RELEASE_DAMAGED`; what the gate refuses it for.
 */
export async function throughGate(
  { store, capabilities }: Pick<AppWorld, 'store' | 'capabilities'>,
  app: string,
  ref: ReleaseRef,
  signal: AbortSignal,
): Promise<{ readonly release: Release; readonly manifest: AppManifest }> {
  const verdict = await store.verify({ name: app, ...ref }, { full: true, signal })
  if (!verdict.whole) throw new InstarError(verdict.code, `${app} ${ref.version}: ${verdict.problems.join('; ')}`)
  const { release } = verdict
  const manifest = await manifestOf(app, release)
  await assertRunnable(manifest, { nodeVersion: process.versions.node, capabilities })
  return { release, manifest }
}
