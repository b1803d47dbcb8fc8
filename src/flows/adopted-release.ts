import type { AppRelease } from '../../machines/index.ts'
import { readAppManifest } from '../apps/manifest.ts'
import type { Release } from '../releases/seal.ts'
import type { ReleaseStore } from '../releases/store.ts'

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

export async function manifestOf(app: string, { content, version }: Release) {
  return readAppManifest(content, { name: app, version })
}
