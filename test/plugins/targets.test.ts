import { mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { pack } from '../../src/plugins/pack.ts'
import { Targets } from '../../src/plugins/targets.ts'
import { draftTag } from '../../src/releases/draft.ts'
import { readTree } from '../../src/releases/tree.ts'
import { systemProgram } from '../support/system-program.ts'

// What each target answers to the step it is asked for, and what it leaves alone.

let scratch: string
let home: string
let count = 0
beforeAll(async () => {
  scratch = await realpath(await mkdtemp(join(tmpdir(), 'instar-target-')))
})
beforeEach(async () => {
  count += 1
  home = join(scratch, `home-${count}`)
  await mkdir(home)
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

/** A tree to put somewhere, with a file that may be executed and a folder in a folder. */
async function putting(version: string) {
  const content = join(home, `content ${version}`)
  await mkdir(join(content, 'lib', 'deep'), { recursive: true, mode: 0o700 })
  await writeFile(join(content, 'index.js'), version, { mode: 0o600 })
  await writeFile(join(content, 'lib', 'run it.sh'), '#!/bin/sh\n', { mode: 0o755 })
  const { digest, listing } = await readTree(content)
  const { signal } = new AbortController()
  return { plugin: 'tint', version, digest, content, listing, key: 'attempt', signal, progress: () => {} }
}

const places = { local: () => 'local', 'behind a prefix': () => `exec:/usr/bin/env#${home}/plugins` }

describe.each(Object.entries(places))('%s', (_, address) => {
  const targetOf = async () => (await Targets.of(home, {})).at(address())

  test('what has been put there is readable for everybody, and is what was sent', async () => {
    const target = await targetOf()
    const { folder, digest } = await target.put(await putting('1.0.0'))
    expect(await target.read('tint', [folder])).toMatchObject([{ digest, problems: [] }])
    const modeOf = async (path: string) => (await stat(join(home, 'plugins/.instar/tint', folder, path))).mode & 0o7777
    expect(await Promise.all(['.', 'lib/deep', 'index.js', 'lib/run it.sh'].map(modeOf))).toEqual([
      0o755, 0o755, 0o644, 0o755,
    ])
  })

  test('a live link whose shelf is gone leads nowhere', async () => {
    const target = await targetOf()
    const { folder } = await target.put(await putting('1.0.0'))
    await target.point('tint', 'live', folder)
    await rm(join(home, 'plugins/.instar'), { recursive: true })
    expect(await target.shelf('tint')).toEqual({ live: folder, astray: 'nowhere', previous: null, trees: [] })
  })

  test('a symlink that is named like a tree is none', async () => {
    const target = await targetOf()
    const { folder } = await target.put(await putting('1.0.0'))
    await symlink(folder, join(home, 'plugins/.instar/tint', `9.${folder}`))
    expect((await target.shelf('tint')).trees).toMatchObject([{ folder }])
  })

  test('what live or previous leads to is not removed, and what a cut removal has left is', async () => {
    const target = await targetOf()
    const folders: string[] = []
    for (const version of ['1.0.0', '2.0.0', '3.0.0', '4.0.0'])
      folders.push((await target.put(await putting(version))).folder)
    const [first, second, third] = folders as [string, string, string]
    await target.point('tint', 'previous', first)
    await target.point('tint', 'live', second)
    // As it is when a removal was killed after its rename.
    const shelf = join(home, 'plugins/.instar/tint')
    await rename(
      join(shelf, third),
      join(shelf, `.staging-${target.owner}-${draftTag(address()).slice(0, 8)}-trash-${third}`),
    )
    await target.remove('tint', folders)
    expect(await readdir(shelf)).toEqual([first, second, 'previous'])
  })

  test('what another address of the same home has under way in the same folder is left alone', async () => {
    const target = await targetOf()
    const other = (await Targets.of(home, {})).at(`exec:env#${home}/plugins`)
    await target.put(await putting('1.0.0'))
    const shelf = join(home, 'plugins/.instar/tint')
    const theirs = `.staging-${other.owner}-${draftTag(`exec:env#${home}/plugins`).slice(0, 8)}-attempt`
    await mkdir(join(shelf, theirs))
    await target.put(await putting('2.0.0'))
    expect(await target.sweep('tint')).toEqual([])
    expect(await other.sweep('tint')).toEqual([join(shelf, theirs)])
  })
})

describe('the owner', () => {
  const ownerOf = async (of: string) => (await Targets.of(of, {})).at('local').owner

  test('is the home, by a name that it was given once, and that no other home has', async () => {
    // Also where two processes ask for the first time at once.
    const [owner, ...others] = await Promise.all([ownerOf(home), ownerOf(home), ownerOf(home)])
    expect([...others, await ownerOf(home)]).toEqual([owner, owner, owner])
    expect(owner).toMatch(/^[0-9a-f]{20}$/)
    expect((await stat(join(home, 'owner'))).mode & 0o777).toBe(0o600)
    expect(await readdir(home)).toEqual(['owner'])
    await rename(home, `${home}-before`)
    await mkdir(home)
    expect(await ownerOf(home)).not.toBe(owner)
    expect(await ownerOf(`${home}-before`)).toBe(owner)
  })

  test.each(['', 'half', '-rf\n'])('that is %j is made anew', async (damaged) => {
    await writeFile(join(home, 'owner'), damaged)
    await writeFile(join(home, '.draft-999999999-killed'), '') // by one that was killed while it made one
    expect(await ownerOf(home)).toMatch(/^[0-9a-f]{20}$/)
    expect(await readdir(home)).toEqual(['owner'])
  })
})

describe('tools of the far side', () => {
  /** An address behind which these programs come first. */
  async function withTools(tools: Record<string, string>): Promise<string> {
    const bin = join(home, 'bin')
    await mkdir(bin)
    for (const [name, script] of Object.entries(tools))
      await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    return `exec:/usr/bin/env PATH=${bin}${delimiter}${process.env.PATH}#${home}/far`
  }

  test('a disk that fails is told, and not taken for a sync that does not know -f', async () => {
    const failing =
      'case $1 in --help) echo " -f" ;; -f) echo "sync: error syncing: Input/output error" >&2; exit 1 ;; esac'
    const target = (await Targets.of(home, {})).at(await withTools({ sync: failing }))
    await expect(target.put(await putting('1.0.0'))).rejects.toMatchObject({ code: 'DISK_FAILED' })
    expect((await target.shelf('tint')).trees).toEqual([])
  })

  test('a sync that does not know -f is asked for all', async () => {
    const plain = `[ $# = 0 ] && echo all >> ${home}/synced; [ "$1" = --help ] || [ $# = 0 ]`
    const target = (await Targets.of(home, {})).at(await withTools({ sync: plain }))
    await target.put(await putting('1.0.0'))
    expect(await readFile(join(home, 'synced'), 'utf8')).toBe('all\nall\n')
  })

  test.each(['openssl', 'sha256sum', 'shasum'])('of those that hash, %s alone will do', async (only) => {
    await systemProgram(only, { openssl: 'openssl', sha256sum: 'coreutils', shasum: 'perl' }[only])
    // What does not work is passed over.
    const broken = Object.fromEntries(['openssl', 'sha256sum', 'shasum'].map((name) => [name, 'echo broken']))
    delete broken[only]
    const target = (await Targets.of(home, {})).at(await withTools(broken))
    const { folder, digest } = await target.put(await putting('1.0.0'))
    expect(await target.read('tint', [folder])).toMatchObject([{ digest, problems: [] }])
  })
})

describe('packing', () => {
  test("the user's own options for tar mean nothing, and what tar complains of is told", async () => {
    const { content } = await putting('1.0.0')
    process.env.TAR_OPTIONS = '--exclude=*'
    try {
      expect(await text(pack(content, () => {}))).toContain('index.js')
    } finally {
      delete process.env.TAR_OPTIONS
    }
    await expect(text(pack(join(home, 'nowhere'), () => {}))).rejects.toMatchObject({
      code: 'TARGET_FAILED',
      message: expect.stringContaining('No such file'),
    })
  })
})
