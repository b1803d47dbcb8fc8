import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from 'vitest'
import { realDisk } from '../../src/disk.ts'
import { builtKeeper, findKeeper } from '../../src/sessions/keeper.ts'
import { metaBytesMax } from '../../src/sessions/keeper-channel.ts'
import { type Compiled, compile } from '../support/compiled.ts'
import { eventually, settled } from '../support/sessions/eventually.ts'
import { BuiltKeeper, KeeperTrial, type KeeperTrialOptions } from '../support/sessions/keeper-trial.ts'
import type { SuccessorKind } from '../support/sessions/kept-daemon.ts'
import { residentBytes } from '../support/sessions/processes.ts'

const source = fileURLToPath(new URL('../../native/keeper.c', import.meta.url))
const shell = (...args: string[]) => ['sh', '/bin/sh', ...args]

describe.runIf(process.platform === 'linux')('the keeper', () => {
  let built: BuiltKeeper
  let compiled: Compiled
  beforeAll(async () => {
    ;[built, compiled] = await Promise.all([BuiltKeeper.build(), compile('test/support/sessions/kept-daemon.ts')])
  })
  afterAll(async () => {
    await built?.[Symbol.asyncDispose]()
    await compiled?.remove()
  })

  const keptDaemon = (directory: string) => {
    const program = compiled.file('test/support/sessions/kept-daemon.ts')
    return [process.execPath, program, directory, built.path]
  }
  async function start(options: Partial<KeeperTrialOptions> = {}): Promise<KeeperTrial> {
    const trial = await KeeperTrial.start({ keeper: built.path, command: keptDaemon, ...options })
    onTestFailed(async () => console.error(await trial.log()))
    return trial
  }
  const startScript = async (script: (directory: string) => string) => {
    const trial = await KeeperTrial.make({
      keeper: built.path,
      command: (directory) => ['/bin/sh', '-c', script(directory)],
    })
    trial.startKeeper()
    return trial
  }

  test('compiles without a warning', async () => {
    const target = join(built.folder, 'strict')
    await promisify(execFile)('cc', ['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-o', target, source])
  })

  // ---- beginning

  test('gives its daemon the descriptors in their places, and nothing else', async () => {
    await using trial = await start()
    const { descriptors, table } = await trial.ask('info')
    const log = join(trial.directory, 'daemon.log')
    expect(descriptors).toMatchObject({ 0: '/dev/null', 1: log, 2: log, 6: '/dev/null' })
    expect(descriptors[3]).toMatch(/^socket:/)
    expect(descriptors[4]).toMatch(/^socket:/)
    expect(descriptors[5]).toContain('memfd:kept')
    expect(descriptors[7]).toBe(join(trial.directory, 'lock'))
    expect(table).toEqual([])
    const modes = ['daemon.sock', 'daemon.log', 'lock'].map(
      async (name) => (await stat(join(trial.directory, name))).mode,
    )
    expect((await Promise.all(modes)).map((mode) => mode & 0o777)).toEqual([0o600, 0o600, 0o600])
  })

  test('is refused where another keeper keeps, and leaves that one its socket', async () => {
    await using trial = await start()
    const { ino } = await stat(join(trial.directory, 'daemon.sock'))
    const second = trial.startKeeper()
    const [said] = await once(second.stderr!, 'data')
    expect(String(said)).toContain('lock')
    expect(await trial.ended(second)).toBe(75)
    expect((await stat(join(trial.directory, 'daemon.sock'))).ino).toBe(ino)
    expect((await trial.starts()).length).toBe(1)
  })

  test('excludes, and is excluded by, whoever locks as the rest of Instar does', async () => {
    await using trial = await KeeperTrial.make({ keeper: built.path, command: keptDaemon })
    const path = join(trial.directory, 'lock')
    const lock = (await realDisk.tryLock(path))!
    expect(await trial.ended(trial.startKeeper())).toBe(75)
    lock.release()
    trial.startKeeper()
    await eventually(async () => (await trial.ask('info')).keeperPid !== null)
    expect(await realDisk.tryLock(path)).toBeNull()
    // The daemon's copy of the descriptor holds it too.
    const { pid } = await trial.ask('info')
    process.kill((await trial.ask('info')).keeperPid!, 'SIGKILL')
    await eventually(async () => (await trial.ask('info')).isLost)
    expect(await realDisk.tryLock(path)).toBeNull()
    process.kill(pid, 'SIGKILL')
    await eventually(async () => {
      const free = await realDisk.tryLock(path)
      free?.release()
      return free !== null
    })
  })

  test('replaces the socket file of a keeper that was killed', async () => {
    await using trial = await KeeperTrial.make({ keeper: built.path, command: keptDaemon })
    const stale = createServer().listen(join(trial.directory, 'stale'))
    await once(stale, 'listening')
    await promisify(execFile)('mv', [join(trial.directory, 'stale'), join(trial.directory, 'daemon.sock')])
    stale.close()
    trial.startKeeper()
    expect((await trial.ask('info')).table).toEqual([])
    expect(await readdir(trial.directory)).not.toContain('daemon.sock.new')
  })

  test.each([
    ['no command', ['--directory', '/tmp', '--']],
    ['a relative directory', ['--directory', 'here', '--', 'true']],
    ['a TAB in the command', ['--directory', '/tmp', '--', 'a\tb']],
    ['an unknown option', ['--home', '/tmp', '--', 'true']],
    ['a directory longer than a socket can have', ['--directory', `/${'d'.repeat(100)}`, '--', 'true']],
  ])('refuses %s', async (_what, args) => {
    await expect(promisify(execFile)(built.path, args)).rejects.toMatchObject({ code: expect.toBeOneOf([64, 71]) })
  })

  // ---- crashes

  test('shells survive kill -9 of the daemon, and the next one gets them all', async () => {
    await using trial = await start()
    const pids: number[] = []
    for (const handle of [1, 2, 3]) pids.push((await trial.ask('open', { handle, argv: shell('-i') })).pid)
    await trial.ask('note', { handle: 2, meta: '{"noted":true}' })
    await trial.asks(2, 'secret=4$((1+1))', '=')
    await trial.crash()
    await trial.crash()
    const { table } = await trial.ask('info')
    expect(table).toEqual([
      { descriptor: 8, handle: 1, pid: pids[0], meta: '{}' },
      { descriptor: 9, handle: 2, pid: pids[1], meta: '{"noted":true}' },
      { descriptor: 10, handle: 3, pid: pids[2], meta: '{}' },
    ])
    await trial.asks(2, 'echo "<$secret $$>"', `<42 ${pids[1]}>`)
    await trial.asks(3, 'echo "<$$>"', `<${pids[2]}>`)
    expect((await trial.starts()).length).toBe(3)
    expect(await trial.marked.zombies()).toEqual([])
  })

  test('how shells ended is told, and told again to the next daemon until the session is dropped', async () => {
    await using trial = await start()
    const first = await trial.ask('open', { handle: 1, argv: shell('-c', 'read answer; exit 7') })
    const second = await trial.ask('open', { handle: 2, argv: shell('-c', 'kill -9 $$') })
    const code = { pid: first.pid, code: 7, signal: null }
    const signal = { pid: second.pid, code: null, signal: 'SIGKILL' }
    await trial.ask('type', { handle: 1, text: '\n' })
    await eventually(async () => {
      const { exits } = await trial.ask('info')
      return [first, second].every(({ pid }) => exits.some((exit) => exit.pid === pid))
    })
    await trial.crash()
    await eventually(async () => (await trial.ask('info')).exits.length >= 2)
    expect((await trial.ask('info')).exits).toEqual([code, signal])
    await trial.ask('drop', { handle: 1 })
    await trial.crash()
    await eventually(async () => (await trial.ask('info')).exits.length >= 1)
    expect((await trial.ask('info')).exits).toEqual([signal])
  })

  test('a shell that ends while no daemon runs is told with its code', async () => {
    await using trial = await start()
    const { pid } = await trial.ask('open', { handle: 1, argv: shell('-c', 'read answer; exit 9') })
    const held = join(trial.directory, 'held')
    await writeFile(held, '')
    const script = `while [ -e ${held} ]; do sleep 0.05; done; exec "$0" "$@"`
    await trial.ask('run', { command: ['/bin/sh', '-c', script, ...keptDaemon(trial.directory)] })
    const daemon = (await trial.ask('info')).pid
    await trial.ask('type', { handle: 1, text: '\n' })
    process.kill(daemon, 'SIGKILL')
    await eventually(async () => (await trial.marked.all()).every((process) => process.pid !== pid))
    await promisify(execFile)('rm', [held])
    await trial.nextAfter(daemon)
    await eventually(async () => (await trial.ask('info')).exits.length > 0)
    expect((await trial.ask('info')).exits).toEqual([{ pid, code: 9, signal: null }])
  })

  test('a shell that ended before it was kept is told too', async () => {
    await using trial = await start()
    const endings = Array.from({ length: 8 }, (_, index) => ({ handle: index + 1, code: index }))
    const pids: number[] = []
    for (const { handle, code } of endings)
      pids.push((await trial.ask('open', { handle, argv: shell('-c', `exit ${code}`) })).pid)
    await trial.crash()
    await eventually(async () => (await trial.ask('info')).exits.length >= endings.length)
    const told = endings.map(({ code }, index) => ({ pid: pids[index], code, signal: null }))
    expect((await trial.ask('info')).exits).toEqual(told)
  })

  test('a dropped session hangs up when its daemon closes it too, and the others keep their terminals', async () => {
    await using trial = await start()
    for (const handle of [1, 2, 3]) await trial.ask('open', { handle, argv: shell('-i') })
    await trial.crash()
    const { table } = await trial.ask('info')
    await trial.ask('close', { handle: 1 })
    await trial.asks(2, 'echo "<$((20+3))>"', '<23>')
    expect((await trial.marked.all()).map(({ pid }) => pid)).toContain(table[0]!.pid)
    await trial.ask('drop', { handle: 1 })
    await eventually(async () => (await trial.marked.all()).every(({ pid }) => pid !== table[0]!.pid))
    await trial.crash()
    const after = (await trial.ask('info')).table
    expect(after.map(({ handle }) => handle).sort()).toEqual([2, 3])
    for (const { handle, pid } of after) await trial.asks(handle, 'echo "<$$>"', `<${pid}>`)
  })

  test('a shell holds no descriptor but its terminal, three times', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    await trial.crash()
    const { pid } = await trial.ask('open', { handle: 2, argv: ['sleep', '/bin/sleep', '1000'] })
    // What the program itself has open while it is being loaded is none of ours.
    expect((await settled(() => readdir(`/proc/${pid}/fd`))).sort()).toEqual(['0', '1', '2'])
  })

  test('a daemon that dies at once is started again ever more slowly', async () => {
    await using trial = await startScript((directory) => `echo start >> ${directory}/starts; exit 3`)
    await eventually(async () => (await trial.starts()).length >= 4)
    // At the earliest: at once, at once, and 100, 300, 700, 1500 and 3100 ms after the first.
    await sleep(1000)
    expect((await trial.starts()).length).toBeLessThanOrEqual(6)
    expect(await trial.log()).toContain('ended with code 3')
    // Nobody is there who could be asked to say goodbye.
    trial.keeper.kill('SIGTERM')
    expect(await trial.ended()).toBe(0)
    expect(await readdir(trial.directory)).not.toContain('daemon.sock')
  })

  test('a program that cannot be started is like a daemon that dies at once', async () => {
    await using trial = await KeeperTrial.make({ keeper: built.path, command: () => ['/nowhere/daemon'] })
    trial.startKeeper()
    await eventually(async () => (await trial.log()).split('/nowhere/daemon: No such file').length > 3)
    expect(await trial.marked.zombies()).toEqual([])
  })

  test('the command for the next start is the one told last', async () => {
    await using trial = await start()
    expect(await trial.ask('run', { command: [...keptDaemon(trial.directory), 'kept', 'with a blank', ''] })).toBe(true)
    expect(await trial.ask('run', { command: ['a\tb'] })).toBe(false)
    expect(await trial.ask('run', { command: ['x'.repeat(9000)] })).toBe(false)
    const pid = await trial.crash()
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8')
    expect(command.split('\0').slice(-4)).toEqual(['kept', 'with a blank', '', ''])
  })

  // ---- endings

  test('after bye it ends with its daemon, and hangs up what it kept', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    await trial.ask('bye')
    await trial.ask('quit', { code: 0 })
    expect(await trial.ended()).toBe(0)
    expect(await trial.marked.all()).toEqual([])
    expect(await readdir(trial.directory)).not.toContain('daemon.sock')
    expect((await trial.starts()).length).toBe(1)
  })

  test('without bye a daemon that ends in good order is started again', async () => {
    await using trial = await start()
    const { pid } = await trial.ask('info')
    await trial.ask('quit', { code: 0 })
    expect(await trial.nextAfter(pid)).not.toBe(pid)
  })

  test('passes SIGTERM to its daemon, which decides', async () => {
    await using trial = await start()
    trial.keeper.kill('SIGTERM')
    expect(await trial.ended()).toBe(0)
    expect(await trial.log()).toContain('ended with code 0')
  })

  test('SIGTERM while one daemon has ended and the next has not said hello reaches that one', async () => {
    await using trial = await start()
    await trial.ask('handOver', { predecessor: 'ends-at-once', successor: 'greets-late' })
    await eventually(async () => (await trial.log()).includes('ended with code 0'))
    trial.keeper.kill('SIGTERM')
    expect(await trial.ended()).toBe(0)
    expect((await trial.starts()).length).toBe(2)
  })

  // ---- replacing itself

  test('becomes another program in place, and keeps everything', async () => {
    await using trial = await start()
    const running = await trial.ask('open', { handle: 1, argv: shell('-i') })
    const gone = await trial.ask('open', { handle: 2, argv: shell('-c', 'exit 5') })
    await trial.ask('note', { handle: 1, meta: '{"a b":" c "}' })
    const other = join(trial.directory, 'other-keeper')
    await copyFile(built.path, other)
    await chmod(other, 0o700)
    expect(await trial.ask('exec', { path: other })).toBe(true)
    const { keeperPid, pid } = await trial.ask('info')
    expect(keeperPid).toBe(trial.keeper.pid)
    expect(await readFile(`/proc/${keeperPid}/cmdline`, 'latin1')).toBe(`${other}\0resume\0`)
    expect(await trial.ask('exec', { path: built.path })).toBe(true)

    process.kill(pid, 'SIGKILL')
    await trial.nextAfter(pid)
    const after = await trial.ask('info')
    expect(after.keeperPid).toBe(keeperPid)
    expect(after.table.map(({ handle, meta }) => [handle, meta])).toEqual([
      [1, '{"a b":" c "}'],
      [2, '{}'],
    ])
    await eventually(async () => (await trial.ask('info')).exits.length > 0)
    expect((await trial.ask('info')).exits).toEqual([{ pid: gone.pid, code: 5, signal: null }])
    await trial.asks(1, 'echo "<$$>"', `<${running.pid}>`)
    const { pid: sleeper } = await trial.ask('open', { handle: 3, argv: ['sleep', '/bin/sleep', '1000'] })
    expect((await readdir(`/proc/${sleeper}/fd`)).sort()).toEqual(['0', '1', '2'])
    expect(await trial.ended(trial.startKeeper())).toBe(75)
  })

  test('stays what it is where it cannot become another', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    expect(await trial.ask('exec', { path: '/nowhere/keeper' })).toBe(false)
    expect(await trial.ask('exec', { path: 'relative' })).toBe(false)
    await trial.crash()
    await trial.asks(1, 'echo "<$((20+3))>"', '<23>')
    expect((await trial.ask('info')).descriptors[5]).toContain('memfd:kept')
  })

  // ---- a daemon that speaks badly, or does not listen

  test.each<[string, string, number?]>([
    ['what is not the protocol', 'GET / HTTP/1.1\n'],
    ['a descriptor with a line that takes none', 'note 1 {}\n', 1],
    ['a NUL', 'hello\0 1 2\n'],
    ['an overlong line', `note 1 ${'x'.repeat(9000)}\n`],
    ['a line without an end', 'x'.repeat(20_000)],
    ['another version', 'hello 2 100\n'],
    ['a keep without a descriptor', 'keep 7 100 {}\n'],
    ['a handle of 0', 'drop 0\n'],
    ['a handle beyond 2^32', 'drop 4294967296\n'],
    ['a pid beyond all numbers', `hello 1 ${'9'.repeat(40)}\n`],
    ['a number that is none', 'drop -1\n'],
    ['a command that is empty', 'run \n'],
    ['an exec of nothing', 'exec \n'],
  ])('after %s it listens to this daemon no more, and still keeps for the next', async (_what, text, of) => {
    await using trial = await start()
    const { pid } = await trial.ask('open', { handle: 1, argv: shell('-i') })
    await trial.ask('raw', { text, ...(of !== undefined && { of }) })
    await eventually(async () => (await trial.ask('info')).isLost, 'the end of the channel')
    expect((await trial.ask('open', { handle: 2, argv: shell('-i') })).isKept).toBe(false)
    await trial.crash()
    expect((await trial.ask('info')).table.map((row) => row.pid)).toEqual([pid])
    await trial.asks(1, 'echo "<$$>"', `<${pid}>`)
    expect((await trial.starts()).length).toBe(2)
  })

  test('what a line cannot hold is not sent', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    await trial.ask('note', { handle: 1, meta: 'x'.repeat(metaBytesMax) })
    for (const meta of ['x'.repeat(metaBytesMax + 1), 'a\nbye', 'a\0b']) await trial.ask('note', { handle: 1, meta })
    expect(await trial.ask('exec', { path: `/${'x'.repeat(9000)}` })).toBe(false)
    await trial.crash()
    expect((await trial.ask('info')).table[0]!.meta).toBe('x'.repeat(metaBytesMax))
  })

  test('where the keeper is killed its daemon learns it, and serves on with the same descriptors', async () => {
    await using trial = await start()
    const { pid } = await trial.ask('open', { handle: 1, argv: shell('-i') })
    const before = await trial.ask('info')
    trial.keeper.kill('SIGSTOP')
    await trial.ask('note', { handle: 1, meta: '{"unread":true}' })
    trial.keeper.kill('SIGKILL')
    await eventually(async () => (await trial.ask('info')).isLost)
    const after = await trial.ask('info')
    expect(after).toMatchObject({ pid: before.pid, keeperPid: null })
    expect(after.descriptors[3]).toBe(before.descriptors[3])
    expect((await trial.ask('open', { handle: 2, argv: shell('-i') })).isKept).toBe(false)
    expect(await trial.ask('exec', { path: '/bin/true' })).toBe(false)
    await trial.asks(1, 'echo "<$$>"', `<${pid}>`)
  })

  test('lines may come in pieces', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    for (const text of ['no', 'te 1 {"piec', 'es":', '3}', '\nnote 9 x\nno', 'te 1 {"pieces":4}\n'])
      await trial.ask('raw', { text })
    await trial.crash()
    expect((await trial.ask('info')).table[0]!.meta).toBe('{"pieces":4}')
  })

  test.each([8192, 8193, 8200, 8210])(
    'a keep whose line is cut by the end of what is read at once, at %i bytes',
    async (cut) => {
      await using trial = await start()
      const pids: number[] = []
      for (const handle of [1, 2]) pids.push((await trial.ask('open', { handle, argv: shell('-i') })).pid)
      const keep = (handle: number, of: number) => `keep ${handle} ${pids[of - 1]} {}\n`
      const lines = [`note 2 ${'x'.repeat(8000)}\n`, 'drop 1\n', keep(3, 1)]
      const filler = cut - lines.join('').length - 'note 9 \n'.length
      trial.keeper.kill('SIGSTOP')
      await trial.ask('raw', { text: `note 9 ${'x'.repeat(filler)}\n${lines[0]}${lines[1]}` })
      await trial.ask('raw', { text: keep(3, 1), of: 1 })
      await trial.ask('raw', { text: keep(4, 2), of: 2 })
      trial.keeper.kill('SIGCONT')
      await trial.crash()
      const { table } = await trial.ask('info')
      expect(table.map(({ handle, pid }) => [handle, pid])).toEqual([
        [2, pids[1]],
        [3, pids[0]],
        [4, pids[1]],
      ])
      await trial.asks(3, 'echo "<$$>"', `<${pids[0]}>`)
      await trial.ask('type', { handle: 4, text: 'echo "<$$>"\n' })
      await eventually(async () => {
        const shown = [await trial.ask('screen', { handle: 2 }), await trial.ask('screen', { handle: 4 })]
        return shown.join('').includes(`<${pids[1]}>`)
      })
    },
  )

  test('a daemon that does not listen for a while misses nothing', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    const handles = Array.from({ length: 1500 }, (_, index) => index + 2)
    const kept = await trial.ask('keepMany', { handles, of: 1, unheard: true })
    expect(kept.every((isKept) => isKept)).toBe(true)
    await trial.crash()
    expect((await trial.ask('info')).table.length).toBe(1501)
  })

  test('where descriptors run out the daemon is told, and what is kept stays kept', async () => {
    await using trial = await start({ filesMax: 100 })
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    const handles = Array.from({ length: 120 }, (_, index) => index + 2)
    const kept = await trial.ask('keepMany', { handles, of: 1 })
    const count = kept.filter((isKept) => isKept).length
    expect(count).toBeGreaterThan(80)
    expect(kept.slice(count).every((isKept) => !isKept)).toBe(true)
    for (const handle of handles) await trial.ask('drop', { handle })
    expect((await trial.ask('open', { handle: 200, argv: shell('-i') })).isKept).toBe(true)
    await trial.crash()
    expect((await trial.ask('info')).table.map(({ handle }) => handle)).toEqual([1, 200])
  })

  // ---- planned handoffs

  test('follows a daemon that hands over, and starts the next when the successor crashes', async () => {
    await using trial = await start()
    const { pid: shellPid } = await trial.ask('open', { handle: 1, argv: shell('-c', 'read answer; exit 4') })
    const { pid } = await trial.ask('handOver', { predecessor: 'ends-at-once', successor: 'serves' })
    await eventually(async () => (await trial.ask('info')).keeperPid !== null)
    expect((await trial.ask('info')).pid).toBe(pid)
    await trial.ask('open', { handle: 2, argv: shell('-i') })
    await trial.crash()
    expect((await trial.ask('info')).table.map(({ handle }) => handle)).toEqual([1, 2])
    await trial.ask('type', { handle: 1, text: '\n' })
    await eventually(async () =>
      (await trial.ask('info')).exits.some((exit) => exit.pid === shellPid && exit.code === 4),
    )
    expect((await trial.starts()).map((line) => line.split(' ')[0])).toEqual(['kept', 'serves', 'kept'])
  })

  test('starts none while a successor that has not said hello holds the channel', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    const { pid } = await trial.ask('handOver', { predecessor: 'ends-at-once', successor: 'greets-late' })
    await eventually(async () => (await trial.ask('info')).keeperPid !== null)
    expect((await trial.ask('info')).pid).toBe(pid)
    expect((await trial.starts()).length).toBe(2)
    await trial.crash()
    expect((await trial.starts()).map((line) => line.split(' ')[0])).toEqual(['kept', 'greets-late', 'kept'])
  })

  test.each<[string, SuccessorKind, 'ends-at-once' | 'ends-last']>([
    ['says hello and dies before its predecessor', 'dies-after-hello', 'ends-last'],
    ['says hello and dies as its predecessor does', 'dies-after-hello', 'ends-at-once'],
    ['dies without a word after its predecessor', 'dies-silently', 'ends-at-once'],
    ['dies without a word before its predecessor', 'dies-silently', 'ends-last'],
  ])('starts a daemon where the successor %s', async (_what, successor, predecessor) => {
    await using trial = await start()
    const { pid } = await trial.ask('open', { handle: 1, argv: shell('-i') })
    await trial.ask('handOver', { predecessor, successor })
    await eventually(async () => (await trial.starts()).length === 3, 'another start')
    await eventually(async () => (await trial.ask('info')).keeperPid !== null)
    await trial.asks(1, 'echo "<$$>"', `<${pid}>`)
    expect((await trial.starts()).map((line) => line.split(' ')[0])).toEqual(['kept', successor, 'kept'])
    expect(await trial.marked.zombies()).toEqual([])
  })

  // ---- size

  test('takes at most 2 MiB, also with a hundred sessions', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    const handles = Array.from({ length: 99 }, (_, index) => index + 2)
    await trial.ask('keepMany', { handles, of: 1 })
    expect(await residentBytes(trial.keeper.pid!)).toBeLessThanOrEqual(2 * 1024 * 1024)
  })

  // ---- the shim

  test('says why a program cannot be started', async () => {
    await using trial = await start()
    const noEntry = await trial.ask('shim', { argv: ['x', '/nowhere/x'] })
    expect(noEntry).toEqual({ code: 127, file: 'error 2\n' })
    const denied = await trial.ask('shim', { argv: ['x', trial.directory] })
    expect(denied).toEqual({ code: 127, file: 'error 13\n' })
    expect((await readdir(trial.directory)).filter((name) => name.endsWith('.new'))).toEqual([])
    expect((await stat(join(trial.directory, 'pid-shim'))).mode & 0o777).toBe(0o600)
    expect(await trial.marked.zombies()).toEqual([])
  })

  test('a program starts with the signals of a fresh login, as leader of a session of its own', async () => {
    await using trial = await start()
    const { pid } = await trial.ask('open', { handle: 1, argv: ['sleep', '/bin/sleep', '1000'] })
    const status = await readFile(`/proc/${pid}/status`, 'latin1')
    // 32 and 33 belong to the C library.
    expect(/^SigBlk:\s(\w+)$/m.exec(status)![1]).toBe('0000000000000000')
    expect(/^SigIgn:\s(\w+)$/m.exec(status)![1]).toBe('0000000000000000')
    const fields = (await readFile(`/proc/${pid}/stat`, 'latin1')).split(') ')[1]!.split(' ').map(Number)
    const [, parent, group, session, terminal, foreground] = fields
    expect([parent, group, session, foreground]).toEqual([trial.keeper.pid, pid, pid, pid])
    expect(terminal).not.toBe(0)
  })

  test('a program is called as it was asked to be', async () => {
    await using trial = await start()
    const { pid } = await trial
      .ask('open', { handle: 1, argv: ['-sleep', '/bin/sleep', '1000', '', 'a b'] })
      .catch(() => ({ pid: 0 }))
    const { pid: login } = await trial.ask('open', { handle: 2, argv: ['-sh', '/bin/sh'] })
    expect(pid).toBeGreaterThan(0)
    expect(await readFile(`/proc/${login}/cmdline`, 'latin1')).toBe('-sh\0')
  })

  test('an interactive shell has job control: Ctrl-C at the prompt and in a program, Ctrl-Z and fg', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-i') })
    const keys = (text: string) => trial.ask('type', { handle: 1, text })
    await trial.asks(1, 'PS1="prompt $((1+1))> "', 'prompt 2> ')
    // What is typed while a shell is being interrupted is lost to anyone's shell.
    const interrupts = async (typed: string) => {
      await keys(`${typed}\x03`)
      await trial.shows(1, /\^C\s*prompt 2> $/)
    }
    await interrupts('half a line')
    await trial.asks(1, 'echo "<$((2+2))>"', '<4>')
    await trial.asks(1, `sh -c 'echo "<$((3+3))>"; exec sleep 1000'`, '<6>')
    await interrupts('')
    await trial.asks(1, 'echo "<$?>"', '<130>')
    await trial.asks(1, `sh -c 'echo "<$((4+4))>"; exec sleep 1000'`, '<8>')
    await keys('\x1a')
    await trial.shows(1, /\^Z[\s\S]*prompt 2> $/)
    await trial.asks(1, 'jobs', /\[1\].*(Stopped|Suspended)/)
    await trial.asks(1, 'kill -9 %1; wait; echo "<$((5+5))>"', '<10>')
    const screen = await trial.ask('screen', { handle: 1 })
    expect(screen).not.toContain('job control turned off')
  })

  test('what a program left in the background is waited for when it ends', async () => {
    await using trial = await start()
    await trial.ask('open', { handle: 1, argv: shell('-c', 'sleep 0.2 & sleep 0.1 & exit 0') })
    await eventually(async () => (await trial.marked.all()).length === 2, 'only keeper and daemon')
    expect(await trial.marked.zombies()).toEqual([])
  })
})

describe('finding the keeper', () => {
  const onLinux = process.platform === 'linux'

  test.runIf(onLinux)('one that runs here is found by its path', async () => {
    await using built = await BuiltKeeper.build()
    expect(findKeeper({ path: built.path })).toEqual({ path: built.path, reason: null })
  })

  test.runIf(onLinux)('the reason says what is in the way', async () => {
    await using built = await BuiltKeeper.build()
    const reasonFor = (path: string) => findKeeper({ path }).reason
    expect(reasonFor('native/keeper')).toContain('not absolute')
    expect(reasonFor(join(built.folder, 'nothing'))).toContain('There is no keeper')
    expect(reasonFor('/bin/true')).toContain('is not a keeper')
    expect(reasonFor(join(built.folder, 'native/keeper.c'))).toContain('does not run here')
    expect(findKeeper({ path: built.path, platform: 'darwin' })).toEqual({
      path: undefined,
      reason: expect.stringContaining('Linux only'),
    })
  })

  test('the one that belongs to the package lies where it is built', () => {
    expect(builtKeeper.endsWith('/dist/native/keeper')).toBe(true)
  })
})

describe.runIf(process.platform === 'linux')('building what is in C', () => {
  test('an installed package builds it, once', async () => {
    await using built = await BuiltKeeper.build()
    expect(built.message).toContain(built.path)
    expect((await BuiltKeeper.runBuild(built.folder)).match(/up to date/g)).toHaveLength(2)
    await writeFile(join(built.folder, 'native/keeper.c'), `${await readFile(source, 'utf8')}\n`)
    expect(await BuiltKeeper.runBuild(built.folder)).toContain(built.path)
    const { stdout } = await promisify(execFile)(built.path, ['--version'])
    expect(stdout).toBe('keeper 1\n')
  })

  test('without a compiler, or with a broken one, it says so and nothing fails', async () => {
    await using without = await BuiltKeeper.build({ CC: '/nowhere/cc' })
    expect(without.message).toContain('no C compiler was found')
    expect(without.message.trim().split('\n').length).toBe(2)
    await using broken = await BuiltKeeper.build({ CC: '/bin/false' })
    expect(broken.message).toContain('was not built')
    expect(await readdir(join(broken.folder, 'dist/native'))).toEqual([])
  })
})
