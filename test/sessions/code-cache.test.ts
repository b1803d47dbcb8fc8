import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { pause } from '../../src/runtime/pause.ts'
import { CodeCache } from '../../src/sessions/code-cache.ts'

let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'instar-code-'))
  path = join(folder, 'code')
})
afterEach(() => rmSync(folder, { recursive: true }))

const code = Buffer.from('what was\nmade of it')

test('what was written is read for the same source, by nobody else to be read', () => {
  expect(new CodeCache(path, 'a()').read()).toBeUndefined()
  new CodeCache(path, 'a()').write(Buffer.from('older'))
  new CodeCache(path, 'a()').write(code)
  expect(new CodeCache(path, 'a()').read()).toEqual(code)
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('nothing is read for a source that is as long, nor where a byte is another or is missing', () => {
  new CodeCache(path, 'a()').write(code)
  expect(new CodeCache(path, 'b()').read()).toBeUndefined()
  const whole = readFileSync(path)
  for (let at = 0; at < whole.length; at += 1) {
    const altered = Buffer.from(whole)
    altered[at]! ^= 1
    writeFileSync(path, altered)
    expect(new CodeCache(path, 'a()').read(), `byte ${at}`).toBeUndefined()
    writeFileSync(path, whole.subarray(0, at))
    expect(new CodeCache(path, 'a()').read(), `${at} bytes`).toBeUndefined()
  }
})

test('nothing is read that others could have written', () => {
  new CodeCache(path, 'a()').write(code)
  for (const mode of [0o620, 0o602]) {
    chmodSync(path, mode)
    expect(new CodeCache(path, 'a()').read()).toBeUndefined()
  }
})

test('where it cannot be written nothing is left, and nothing is thrown', () => {
  const missing = join(folder, 'missing', 'code')
  new CodeCache(missing, 'a()').write(code)
  expect(existsSync(join(folder, 'missing'))).toBe(false)
})

test('a daemon keeps what was made of it, the next one begins with that, and writes it anew only where it is no good', async () => {
  const written = () => (existsSync(path) ? statSync(path).mtimeMs : 0)
  const runOnce = async ({ writes }: { writes: boolean }) => {
    const before = written()
    const program = fileURLToPath(new URL('../../dist/daemon.cjs', import.meta.url))
    const args = ['start', '--directory', folder, '--name', 'x', '--buffer-bytes', '1000', '--shell', '/bin/sh']
    const daemon = spawn(process.execPath, [program, ...args], { stdio: 'ignore' })
    try {
      await expect.poll(() => existsSync(join(folder, 'daemon.sock'))).toBe(true)
      if (writes) await expect.poll(written).not.toBe(before)
      else await pause(2500) // it would have done so a second after it had begun
    } finally {
      daemon.kill('SIGKILL')
      await once(daemon, 'exit')
    }
    rmSync(join(folder, 'daemon.sock'))
    return written()
  }
  const first = await runOnce({ writes: true })
  expect(readFileSync(path, 'latin1')).toMatch(new RegExp(`^${process.version} ${process.arch} `))
  expect(await runOnce({ writes: false })).toBe(first)
  writeFileSync(path, readFileSync(path).subarray(0, -1))
  await runOnce({ writes: true })
})
