import { open } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * The seal of an installed plugin: `.complete`, the last file that was written into its tree, so a tree that has it is
 * whole. One JSON object.
 *
 *   digest     SHA-256, in hex, of the tree's listing without this file (`docs/guides/plugins.md`)
 *   owner      names the home that put it there, and that alone removes it when it is old
 *   sealedAt   by the clock of the machine that installed it
 */
export interface PluginSeal {
  readonly schema: 1
  readonly name: string
  readonly version: string
  readonly digest: string
  readonly owner: string
  readonly sealedAt: string
}

export const sealName = '.complete'

/** More is no seal. */
export const sealBytesMax = 4096

/** The seal of a tree that is whole now. */
export const newSeal = (about: Pick<PluginSeal, 'name' | 'version' | 'digest' | 'owner'>): PluginSeal => ({
  schema: 1,
  ...about,
  sealedAt: new Date().toISOString(),
})

export const encodePluginSeal = (seal: PluginSeal) => `${JSON.stringify(seal)}\n`

/** What a seal says; null for text that is none. */
export function decodePluginSeal(text: string): PluginSeal | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null) return null
  const { schema, name, version, digest, owner, sealedAt } = value as Record<string, unknown>
  const texts = [name, version, digest, owner, sealedAt]
  if (schema !== 1 || !texts.every((text) => typeof text === 'string' && text.length > 0)) return null
  if (!/^[0-9a-f]{64}$/.test(digest as string)) return null
  return { schema, name, version, digest, owner, sealedAt } as PluginSeal
}

/** The seal in a tree; null where there is none, or none that makes sense. */
export async function readPluginSeal(tree: string): Promise<PluginSeal | null> {
  let handle: Awaited<ReturnType<typeof open>>
  try {
    handle = await open(join(tree, sealName), 'r')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw error
  }
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(sealBytesMax + 1), 0, sealBytesMax + 1, 0)
    return bytesRead > sealBytesMax ? null : decodePluginSeal(buffer.toString('utf8', 0, bytesRead))
  } finally {
    await handle.close()
  }
}
