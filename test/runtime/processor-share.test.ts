import { expect, test, vi } from 'vitest'
import { setSessionNiceness } from '../../src/runtime/processor-share.ts'

const writeFile = vi.hoisted(() => vi.fn())
vi.mock('node:fs/promises', () => ({ writeFile }))

const failing = (code: string) => async () => {
  throw Object.assign(new Error(code), { code })
}

test('only what the kernel does not take just now is worth another try', async () => {
  writeFile.mockImplementationOnce(async () => {})
  expect(await setSessionNiceness(4711, 10)).toBe(true)
  expect(writeFile).toHaveBeenCalledWith('/proc/4711/autogroup', '10', { flag: 'r+' })
  writeFile.mockImplementationOnce(failing('EAGAIN'))
  expect(await setSessionNiceness(4711, 0)).toBe(false)
  for (const code of ['ENOENT', 'EACCES', 'ESRCH']) {
    writeFile.mockImplementationOnce(failing(code))
    expect(await setSessionNiceness(4711, 0)).toBe(true)
  }
})
