import { fstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { requireFrom } from '../src/unbundled-packages.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'instar-native-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

test('a package that is a link, as package managers make them, is loaded with what it needs, also after a look at a socket', async () => {
  const store = join(folder, 'store/node_modules')
  const host = join(folder, 'host')
  for (const name of ['outer', 'inner']) mkdirSync(join(store, name), { recursive: true })
  writeFileSync(join(store, 'outer/index.js'), "module.exports = require('inner')")
  writeFileSync(join(store, 'inner/index.js'), "module.exports = 'inner'")
  mkdirSync(join(host, 'node_modules'), { recursive: true })
  symlinkSync(join(store, 'outer'), join(host, 'node_modules/outer'))
  // Node keeps what it has found out about the folders above.
  writeFileSync(join(host, 'first.js'), '')
  requireFrom(host)('./first.js')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(join(folder, 'socket'), resolve))
  fstatSync((server as unknown as { _handle: { fd: number } })._handle.fd)
  expect(requireFrom(host)('outer')).toBe('inner')
  await new Promise((resolve) => server.close(resolve))
})
