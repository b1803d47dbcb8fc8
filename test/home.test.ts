import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import * as disk from '../src/disk.ts'
import { inspectHome, openHome, resolveHome } from '../src/home.ts'

async function folder(): Promise<string> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'instar-home-')))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

const modeOf = async (path: string) => (await stat(path)).mode & 0o777

/** Names, kinds, modes and contents: what "nothing was touched" means. */
async function pictureOf(path: string): Promise<unknown> {
  const names = (await readdir(path, { recursive: true }).catch(() => [])).sort()
  return Promise.all(
    ['', ...names].map(async (name) => {
      const stats = await lstat(join(path, name))
      const content = stats.isFile() ? await readFile(join(path, name), 'utf8') : null
      return { name, mode: stats.mode, uid: stats.uid, content }
    }),
  )
}

async function expectRefused(path: string, code: string, around = path): Promise<void> {
  const before = await pictureOf(around)
  await expect(openHome(path)).rejects.toMatchObject({ code })
  expect(await inspectHome(path)).toMatchObject({ state: 'refused', error: { code } })
  expect(await pictureOf(around)).toEqual(before)
}

test('a new home is made with what is missing above it, for its user alone', async () => {
  const path = join(await folder(), 'a', 'b', 'home')
  expect(await inspectHome(path)).toEqual({ state: 'missing', path })
  expect(await openHome(path)).toEqual({ path, created: true, closedToOthers: false })
  expect(await modeOf(path)).toBe(0o700)
  expect(await modeOf(join(path, '..'))).toBe(0o700)
  expect(await readdir(path)).toEqual(['home.json'])
  expect(JSON.parse(await readFile(join(path, 'home.json'), 'utf8'))).toEqual({ format: 1 })
  expect(await inspectHome(path)).toEqual({ state: 'ours', path, mode: 0o700, format: 1 })
})

test('opening a home again leaves it as it is', async () => {
  const path = join(await folder(), 'home')
  await openHome(path)
  await writeFile(join(path, 'something'), 'x')
  const before = await pictureOf(path)
  expect(await openHome(path)).toEqual({ path, created: false, closedToOthers: false })
  expect(await pictureOf(path)).toEqual(before)
})

test('an empty directory becomes a home, also after a crash in the middle of that', async () => {
  const path = await folder()
  await writeFile(join(path, '.draft-123-1'), '{')
  expect(await openHome(path)).toMatchObject({ created: true })
})

test('many that make one home at once all get it', async () => {
  for (let round = 0; round < 40; round += 1) {
    const path = join(await folder(), 'home')
    const opened = Array.from({ length: 12 }, async (_, at) => {
      await pause(at * Math.random())
      await openHome(path)
      await mkdir(join(path, 'sessions'), { recursive: true }) // and work in it at once
    })
    await Promise.all(opened)
  }
})

test('a home reached through a symlink is known by its real path', async () => {
  const path = await folder()
  await mkdir(join(path, 'real'))
  await symlink('real', join(path, 'link'))
  expect((await openHome(join(path, 'link'))).path).toBe(join(path, 'real'))
})

test('a directory that holds other files is not ours', async () => {
  const path = await folder()
  await writeFile(join(path, 'thesis.txt'), 'x')
  await expectRefused(path, 'HOME_FOREIGN')
})

test("another program's home.json does not make a directory ours", async () => {
  const path = await folder()
  for (const content of ['', '{', '[]', '{ "format": "1" }', '{ "format": 0 }']) {
    await writeFile(join(path, 'home.json'), content)
    await expectRefused(path, 'HOME_FOREIGN')
  }
})

test('a home of a newer format is named as such', async () => {
  const path = await folder()
  await writeFile(join(path, 'home.json'), '{ "format": 2 }')
  await expectRefused(path, 'HOME_NEWER')
})

test('a file, a path below a file, and a link to nowhere cannot be a home', async () => {
  const path = await folder()
  await writeFile(join(path, 'file'), 'x')
  await symlink('nowhere', join(path, 'link'))
  await expectRefused(join(path, 'file'), 'HOME_UNUSABLE', path)
  await expectRefused(join(path, 'file', 'home'), 'HOME_UNUSABLE', path)
  await expect(openHome(join(path, 'link'))).rejects.toMatchObject({ code: 'HOME_UNUSABLE' })
})

test("another user's directory is refused", async () => {
  const path = await folder()
  // Root can give a directory away; everybody else finds one that was never theirs.
  if (process.getuid?.() === 0) {
    await chown(path, 12345, 12345)
    await expectRefused(path, 'HOME_UNUSABLE')
  } else await expect(openHome('/')).rejects.toMatchObject({ code: 'HOME_UNUSABLE' })
})

test('a directory where nothing can be written is refused', async () => {
  // As root no mode keeps us out, but nobody can write here.
  await expect(openHome('/proc/self/fd/home')).rejects.toMatchObject({ code: 'HOME_UNUSABLE' })
  if (process.getuid?.() === 0) return
  const path = await folder()
  await chmod(path, 0o500)
  await expectRefused(path, 'HOME_UNUSABLE')
})

test('a home that others could look into is closed to them, and that is said', async () => {
  const path = join(await folder(), 'home')
  await openHome(path)
  await chmod(path, 0o755)
  expect(await openHome(path)).toMatchObject({ created: false, closedToOthers: true })
  expect(await modeOf(path)).toBe(0o700)
})

test('a home that others could write into is refused, for what lies in it may be theirs', async () => {
  const path = join(await folder(), 'home')
  await openHome(path)
  await chmod(path, 0o770)
  await expectRefused(path, 'HOME_UNUSABLE')
})

test('a full disk is named, and directories that were made for nothing are gone', async () => {
  const path = await folder()
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  const write = vi.spyOn(disk.realDisk, 'write').mockRejectedValue(full)
  onTestFinished(() => write.mockRestore())
  await expect(openHome(join(path, 'a', 'home'))).rejects.toMatchObject({ code: 'DISK_FULL' })
  expect(await readdir(path)).toEqual([])
  await mkdir(join(path, 'empty'), { mode: 0o755 })
  await chmod(join(path, 'empty'), 0o755)
  await expect(openHome(join(path, 'empty'))).rejects.toMatchObject({ code: 'DISK_FULL' })
  expect(await readdir(join(path, 'empty'))).toEqual([])
  expect(await modeOf(join(path, 'empty'))).toBe(0o755)
})

test('the flag goes before INSTAR_HOME, and that before the place of the platform', async () => {
  const env = { INSTAR_HOME: '/from/env' }
  expect(await resolveHome('/from/flag', env)).toBe('/from/flag')
  expect(await resolveHome(undefined, env)).toBe('/from/env')
  expect(await resolveHome(undefined, { INSTAR_HOME: '' })).toMatch(/instar/)
  expect(await resolveHome('relative', {})).toBe(join(process.cwd(), 'relative'))
  await expect(resolveHome('', env)).rejects.toMatchObject({ code: 'USAGE' })
})
