import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'

const folder = fileURLToPath(new URL('../../dist/console', import.meta.url))
const read = (name: string) => readFile(join(folder, name), 'utf8')

/** What a browser loads before anybody asks for a terminal. */
async function loadedAtOnce(): Promise<string[]> {
  const page = await read('index.html')
  const found = new Set([...page.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map(([, name]) => name!))
  for (const name of found)
    if (name.endsWith('.js'))
      for (const [, other] of (await read(name)).matchAll(/(?:import|from)\s*"\.\/([^"]+)"/g))
        found.add(`assets/${other}`)
  return [...found]
}

test('the page without its terminal is at most 60 kB of gzip', async () => {
  const names = await loadedAtOnce()
  expect(names.filter((name) => /\.(js|css)$/.test(name)).length).toBeGreaterThanOrEqual(2)
  const sizes = await Promise.all(names.map(async (name) => gzipSync(await read(name)).length))
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(60_000)
  // The terminal is there, and apart.
  const all = await readdir(join(folder, 'assets'))
  expect(all.filter((name) => /^attached-terminal-.*\.js$/.test(name))).toHaveLength(1)
  expect(names.filter((name) => name.includes('terminal-'))).toEqual([])
})

test('nothing in the page is inline, and nothing comes from elsewhere', async () => {
  const page = await read('index.html')
  expect(page).not.toMatch(/<style|\sstyle=|<script(?![^>]*\ssrc=)/)
  expect(
    [...page.matchAll(/(?:src|href)="([^"]+)"/g)]
      .map(([, where]) => where)
      .filter((where) => !where!.startsWith('/assets/')),
  ).toEqual([])
})
