import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { constants as osConstants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { closeStrayMasters, isMaster, loadNativePty } from '../../src/sessions/native-pty.ts'
import { signalName } from '../../src/sessions/signal-name.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { Terminals } from '../support/sessions/terminals.ts'

const packages = fileURLToPath(new URL('../../node_modules', import.meta.url))
const onLinux = process.platform === 'linux'

let terminals: Terminals
let folder: string
const masters: number[] = []

beforeEach(() => {
  terminals = new Terminals()
  folder = mkdtempSync(join(tmpdir(), 'instar-pty-'))
})
afterEach(async () => {
  for (const master of masters.splice(0)) closeSync(master)
  await terminals[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

function open(script: string, env?: Record<string, string>): ReturnType<Terminals['open']> {
  const forked = terminals.open(['/bin/sh', '-c', script], env)
  masters.push(forked.master)
  return forked
}

/** What comes out of a terminal until it says `last`. */
async function output(master: number, last: string): Promise<string> {
  const bytes = Buffer.alloc(4096)
  let text = ''
  await eventually(() => {
    try {
      text += bytes.toString('latin1', 0, readSync(master, bytes))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
    return text.includes(last)
  }, `"${last}"`)
  return text
}

test.each([
  ['exit 0', { code: 0, signal: null }],
  ['exit 7', { code: 7, signal: null }],
  ['kill -KILL $$', { code: null, signal: 'SIGKILL' }],
  ['kill -ABRT $$', { code: null, signal: 'SIGABRT' }],
])('how "%s" ended is told', async (script, status) => {
  expect(await open(script).exited).toEqual(status)
})

test('every signal has its usual name', () => {
  for (const name of ['SIGHUP', 'SIGINT', 'SIGABRT', 'SIGKILL', 'SIGTERM', 'SIGIO'] as const)
    expect(signalName(osConstants.signals[name])).toBe(name)
  expect(signalName(34)).toBe('SIG34')
})

test('a program has the environment, the directory and the size that were given, and nothing of ours', async () => {
  const { master, ptsName } = loadNativePty().fork(
    '/bin/sh',
    ['-c', 'pwd -P; stty size; tty; echo "<$ONE|$HOME>"; echo done'],
    {
      env: { PATH: process.env.PATH!, ONE: '1 and "more"' },
      cwd: folder,
      size: { columns: 123, rows: 45 },
    },
  )
  masters.push(master)
  const text = await output(master, 'done')
  expect(text.split('\r\n').slice(1)).toEqual(['45 123', ptsName, '<1 and "more"|>', 'done', ''])
  expect(text).toContain(folder)
})

test('a program sees the new size after a resize', async () => {
  const { master } = open('trap "stty size; echo done" WINCH; echo ready; while :; do sleep 0.05; done')
  await output(master, 'ready')
  loadNativePty().resize(master, { columns: 101, rows: 33 })
  expect(await output(master, 'done')).toContain('33 101')
})

describe.runIf(onLinux)('masters', () => {
  test('are not blocking, and a program in a terminal has none of them', async () => {
    const first = open('sleep 60')
    const { master } = open('ls -l /proc/self/fd/ /proc/$$/fd/; echo done')
    expect(isMaster(first.master)).toBe(true)
    expect(readFileSync(`/proc/self/fdinfo/${master}`, 'latin1')).toMatch(/^flags:\t0?[0-7]*[4-7][0-7]{3}$/m)
    expect(await output(master, 'done')).not.toContain('ptmx')
  })

  test('that came with this process and are not kept are closed, so that their terminals can hang up', async () => {
    const kept = open('echo ready; sleep 60')
    const stray = terminals.open(['/bin/sh', '-c', 'echo ready; exec sleep 60'])
    await output(stray.master, 'ready')
    expect(closeStrayMasters(new Set([kept.master]))).toEqual([stray.master])
    expect(await stray.exited).toEqual({ code: null, signal: 'SIGHUP' })
    expect(isMaster(stray.master)).toBe(false)
    expect(await output(kept.master, 'ready')).toContain('ready')
  })

  test('are told from every other descriptor', () => {
    const { master, ptsName } = open('sleep 60')
    const slave = openSync(ptsName, constants.O_RDONLY | constants.O_NOCTTY)
    const file = openSync(fileURLToPath(import.meta.url), 'r')
    const other = openSync('/dev/null', 'r')
    expect([master, slave, file, other, 900_000].map(isMaster)).toEqual([true, false, false, false, false])
    for (const fd of [slave, file, other]) closeSync(fd)
  })
})

test('where there are no terminals of this kind, that is said by name', () => {
  const platform = Object.getOwnPropertyDescriptor(process, 'platform')!
  Object.defineProperty(process, 'platform', { ...platform, value: 'win32' })
  try {
    expect(() => loadNativePty()).toThrow(expect.objectContaining({ code: 'PLATFORM_UNSUPPORTED' }))
  } finally {
    Object.defineProperty(process, 'platform', platform)
  }
})

describe('node-pty', () => {
  const fresh = async () => {
    vi.resetModules()
    return (await import('../../src/sessions/native-pty.ts')).loadNativePty
  }

  test('that is not there is named, with what to do', async () => {
    const load = await fresh()
    expect(() => load({ from: folder })).toThrow(
      expect.objectContaining({
        code: 'PTY_UNAVAILABLE',
        message: expect.stringContaining("Cannot find module 'node-pty/package.json'"),
        hint: expect.stringContaining('npm install node-pty@'),
      }),
    )
    expect(() => load({ from: join(folder, 'missing') })).toThrow(expect.objectContaining({ code: 'PTY_UNAVAILABLE' }))
    expect(load()).toBeDefined() // a failure is not for ever
  })

  test('of another version is refused, as its native part takes other arguments', async () => {
    const other = join(folder, 'node_modules/node-pty')
    mkdirSync(other, { recursive: true })
    writeFileSync(join(other, 'package.json'), JSON.stringify({ name: 'node-pty', version: '1.1.0' }))
    const load = await fresh()
    expect(() => load({ from: folder })).toThrow('version 1.1.0 is not one of 1.2')
  })

  test('is found from a directory, from a file, and from a link to a file elsewhere', async () => {
    const host = join(folder, 'host')
    mkdirSync(host)
    symlinkSync(packages, join(host, 'node_modules'))
    writeFileSync(join(host, 'host.js'), '')
    symlinkSync(join(host, 'host.js'), join(folder, 'link'))
    for (const from of [host, join(host, 'host.js'), join(folder, 'link')])
      expect((await fresh())({ from })).toBeDefined()
  })
})
