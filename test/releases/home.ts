import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Release } from '../../src/releases/seal.ts'
import { ReleaseStore, type StoreOptions } from '../../src/releases/store.ts'

/** A home of its own, gone when the test ends. */
export async function newHome(): Promise<string> {
  const home = await realpath(await mkdtemp(join(tmpdir(), 'releases-')))
  onTestFinished(() => rm(home, { recursive: true, force: true }))
  return home
}

export async function openStore(home: string, options: Partial<StoreOptions> = {}): Promise<ReleaseStore> {
  const store = await ReleaseStore.open({ home, kind: 'runtime', ...options })
  onTestFinished(() => store.close())
  return store
}

export type Files = Readonly<Record<string, string>>

export async function writeTree(root: string, files: Files): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, dirname(path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
}

export const filesOf = (version: string): Files => ({
  'package.json': JSON.stringify({ version }),
  'dist/cli.js': `console.log(${JSON.stringify(version)})\n`,
  'node_modules/native/prebuilt.node': `\0native ${version}`,
})

/** Stages and seals one release, as a fetch would. */
export async function publish(
  store: ReleaseStore,
  name: string,
  version: string,
  files = filesOf(version),
): Promise<Release> {
  const draft = await store.draft(name, `fetch ${version}`)
  await draft.reset()
  await writeTree(draft.content, files)
  return draft.seal({ version, integrity: integrityOf(version), source: 'a test' })
}

export const integrityOf = (version: string) => `sha512-${Buffer.from(version).toString('base64')}`

/** Every name below a folder, sorted; what a test compares to show that nothing was left. */
export async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).sort()
}

export const statePath = (home: string, name: string) => join(home, 'state', 'runtime', `${name}.json`)
export const releasesPath = (home: string, name: string) => join(home, 'releases', 'runtime', name)

export const refOf = ({ version, digest }: { version: string; digest: string }) => ({ version, digest })
