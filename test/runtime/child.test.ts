import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { appendFile, chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { exitOf, familyOf, findChild, isAlive, recordPath, startChild, stopChild } from '../../src/runtime/child.ts'
import { lastOutput, outputPaths } from '../../src/runtime/output.ts'
import { processEntry } from '../../src/runtime/processes.ts'
import { type Compiled, compile } from '../support/compiled.ts'
import { eventually, Trial } from '../support/runtimes/trial.ts'

let compiled: Compiled
beforeAll(async () => {
  compiled = await compile('src/runtime/child.ts')
})
afterAll(() => compiled.remove())

/** Starts children from a controller of its own, which is then killed as `kill -9` would. */
async function startedByAnother(specs: readonly object[]) {
  const script = `
    import { startChild } from ${JSON.stringify(compiled.file('src/runtime/child.ts'))}
    const started = await Promise.all(${JSON.stringify(specs)}.map((spec) => startChild(spec)))
    console.log(JSON.stringify(started.map(({ child }) => child)))
    setInterval(() => {}, 60_000)`
  const controller = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = await controller.stdout.take(1).toArray()
  controller.kill('SIGKILL')
  await new Promise((resolve) => controller.once('close', resolve))
  return JSON.parse(String(line))
}

const printed = async (record: string) => (await lastOutput(record)).stdout

test('a child is found by another controller after the one that started it was killed', async () => {
  await using trial = await Trial.begin()
  const spec = await trial.spec(['idle'], { key: '41:spawn' })
  const [theirs] = await startedByAnother([spec])
  trial.keep(theirs)

  const ours = await startChild(spec)
  expect(ours).toEqual({ child: theirs, how: 'adopted' })
  expect(await isAlive(ours.child)).toBe(true)

  await stopChild(ours.child)
  expect(await processEntry(theirs.pid)).toBeUndefined()
  expect(await trial.leftovers()).toEqual([])
})

test('a child lets others go first from its first moment on where it is told to, and no other does', async () => {
  await using trial = await Trial.begin()
  const places = await Promise.all([
    trial.start(['idle'], { key: 'polite', niceness: 10 }),
    trial.start(['idle'], { key: 'usual' }),
  ])
  const shares = places.map(({ pid }) => readFile(`/proc/${pid}/autogroup`, 'utf8').catch(() => 'no such thing here'))
  const isShared = existsSync('/proc/self/autogroup')
  const expected = isShared ? [/ nice 10$/, / nice 0$/] : [/^no such/, /^no such/]
  for (const [at, share] of (await Promise.all(shares)).entries()) expect(share.trim()).toMatch(expected[at]!)
  const { stderr } = await lastOutput(places[0].record)
  expect(stderr).toBe('')
})

test('the code of a child that ends at once is learned', async () => {
  await using trial = await Trial.begin()
  const children = Array.from({ length: 12 }, async (_, at) => {
    const spec = await trial.spec([], { key: `quick-${at}`, executable: '/bin/sh' })
    const { child } = await startChild({ ...spec, args: ['-c', 'exit 3'] })
    trial.keep(child)
    return exitOf(child, { signal: AbortSignal.timeout(20_000) })
  })
  for (const exit of await Promise.all(children)) expect(exit).toEqual({ code: 3, signal: null, lost: false })
})

test('a child that ended while no controller ran is reported as ended and not started again', async () => {
  await using trial = await Trial.begin()
  const spec = await trial.spec(['exit:0'])
  const [theirs] = await startedByAnother([spec])
  trial.keep(theirs)
  await eventually(async () => !(await isAlive(theirs)))

  const { child, how } = await startChild(spec)
  expect(how).toBe('ended')
  expect(await exitOf(child)).toEqual({ code: null, signal: null, lost: true })
  await stopChild(child)
  expect(await trial.leftovers()).toEqual([])
})

test('an adopted child that ends is lost, never taken to have ended well', async () => {
  await using trial = await Trial.begin()
  const [child] = await startedByAnother([await trial.spec(['after:300', 'exit:0'])])
  trial.keep(child)
  expect(await exitOf(child)).toEqual({ code: null, signal: null, lost: true })
})

test('the runtime finds its own record already written', async () => {
  await using trial = await Trial.begin()
  const place = { key: 'a', recordDirectory: trial.records }
  const child = await trial.start([`record:${recordPath(place)}`], place)
  await exitOf(child)
  expect(await printed(child.record)).toBe('recorded: true')
})

test('of several controllers that start one key at the same time, one starts it', async () => {
  await using trial = await Trial.begin()
  const spec = await trial.spec(['print:here', 'idle'])
  const starts = await Promise.all([startedByAnother([spec, spec]), startChild(spec), startChild(spec)])
  const [theirs, ...ours] = starts
  trial.keep(ours[0]!.child)
  expect(new Set([...theirs, ...ours.map(({ child }) => child)].map(({ pid }) => pid)).size).toBe(1)
  await eventually(async () => (await printed(ours[0]!.child.record)) !== '')
  expect(await printed(ours[0]!.child.record)).toBe('here')
  expect(await familyOf(ours[0]!.child)).toHaveLength(1)
})

test('a later process with the number of a child is not taken for it and not ended with it', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['idle'])
  // The system tells the start of a process in hundredths of a second; a number is never given out again so soon.
  await setTimeout(50)
  const other = await trial.start(['idle'])
  // What is left of a child whose number the system has given to `other`.
  const text = await readFile(child.record, 'utf8')
  await writeFile(child.record, text.replace(`{"pid":${child.pid}`, `{"pid":${other.pid}`))

  const found = await findChild({ key: child.key, recordDirectory: trial.records })
  expect(found?.pid).toBe(other.pid)
  expect(await isAlive(found!)).toBe(false)
  expect(await familyOf(found!)).toEqual([])
  expect((await exitOf(found!)).lost).toBe(true)
  await stopChild(found!)
  expect(await isAlive(other)).toBe(true)
})

test('a record from before a restart of the system names nobody', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['idle'])
  const before = { ...child, boot: 'another' }
  expect(await isAlive(before)).toBe(false)
  expect(await familyOf(before, true)).toEqual([])
})

test('a torn record is nobody, and the key is started anew', async () => {
  await using trial = await Trial.begin()
  const spec = await trial.spec(['idle'])
  await mkdir(trial.records)
  for (const torn of ['', '{"pid":1', 'null\n', '{"pid":1}\n', '\0\0\0\n']) {
    await writeFile(recordPath(spec), torn)
    const { child, how } = await startChild(spec)
    trial.keep(child)
    expect(how).toBe('started')
    await stopChild(child)
  }
})

test('codes and signals of a child are told as they were, also when asked late', async () => {
  await using trial = await Trial.begin()
  const seven = await trial.start(['exit:7'])
  const killed = await trial.start(['die:SIGKILL'])
  expect(await exitOf(seven)).toEqual({ code: 7, signal: null, lost: false })
  expect(await exitOf(killed)).toEqual({ code: null, signal: 'SIGKILL', lost: false })
  expect((await exitOf(seven)).code).toBe(7)
  expect((await startChild({ ...(await trial.spec(['idle'])), key: seven.key })).how).toBe('ended')
})

test('waiting for an end is given up with the reason of the signal, and the child lives on', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['idle'])
  const gone = new AbortController()
  const waiting = exitOf(child, { signal: gone.signal })
  gone.abort('detached')
  await expect(waiting).rejects.toBe('detached')
  await expect(exitOf({ ...child, record: 'elsewhere' }, { signal: gone.signal })).rejects.toBe('detached')
  expect(await isAlive(child)).toBe(true)
})

test('stopping asks first and uses force after the grace', async () => {
  await using trial = await Trial.begin()
  const polite = await trial.start(['print:up', 'idle'])
  const stubborn = await trial.start(['stubborn', 'print:up', 'idle'])
  for (const { record } of [polite, stubborn]) await eventually(async () => (await printed(record)) === 'up')
  const ends = [exitOf(polite), exitOf(stubborn)]
  await Promise.all([stopChild(polite), stopChild(stubborn, { graceMs: 200 })])
  expect((await Promise.all(ends)).map(({ signal }) => signal)).toEqual(['SIGTERM', 'SIGKILL'])
  expect(await trial.leftovers()).toEqual([])
  await stopChild(polite)
})

test('a process group ends as a whole, also after its leader has gone', async () => {
  await using trial = await Trial.begin()
  const leading = await trial.start(['helper', 'stubborn', 'idle'])
  const headless = await trial.start(['helper', 'exit:1'])
  await exitOf(headless)
  for (const child of [leading, headless]) {
    const helper = Number((await eventually(() => printed(child.record))).split(' ')[1])
    expect((await familyOf(child)).map(({ pid }) => pid)).toContain(helper)
    await stopChild(child, { graceMs: 100 })
    expect(await processEntry(helper)).toBeUndefined()
  }
})

test('a group without a leader that carries another nonce is left alone', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['helper', 'exit:1'])
  await exitOf(child)
  expect(await familyOf({ ...child, nonce: 'of an earlier child' }, true)).toEqual([])
  expect(await familyOf(child)).toHaveLength(1)
})

test('a process that left the group is ended only when everything is to end', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['daemon', 'idle'])
  const daemon = Number((await eventually(() => printed(child.record))).split(' ')[1])
  expect((await familyOf(child)).map(({ pid }) => pid)).not.toContain(daemon)
  await stopChild(child)
  expect(await processEntry(daemon)).toBeDefined()
  await stopChild(child, { everything: true })
  expect(await processEntry(daemon)).toBeUndefined()
})

test('arguments, port and environment arrive as given; overrides do not', async () => {
  await using trial = await Trial.begin()
  process.env.INSTAR_RUNTIME_OVERRIDE = '/elsewhere'
  try {
    const odd = 'a "b" \'c\' $HOME `d` \\ \n e\t*'
    const child = await trial.start(
      [
        `print:${odd}`,
        'print:',
        'environment:INSTAR_RUNTIME_OVERRIDE',
        'environment:INSTAR_NONCE',
        'environment:ODD',
        'where',
      ],
      { env: { ODD: odd } },
    )
    expect(await exitOf(child)).toMatchObject({ code: 0 })
    expect(await readFile(outputPaths(child.record).stdout, 'utf8')).toBe(
      `${odd}\n\nINSTAR_RUNTIME_OVERRIDE=undefined\nINSTAR_NONCE=${child.nonce}\nODD=${odd}\nin ${trial.folder}\n`,
    )
  } finally {
    delete process.env.INSTAR_RUNTIME_OVERRIDE
  }
})

test('keys of any shape have records of their own, closed to others', async () => {
  await using trial = await Trial.begin()
  const keys = ['../../up', '12:spawn', '12/spawn', 'x'.repeat(300), `${'x'.repeat(299)}y`, '.', 'ä*"']
  for (const key of keys) {
    const child = await trial.start(['idle'], { key })
    expect((await findChild({ key, recordDirectory: trial.records }))?.pid).toBe(child.pid)
    expect((await stat(outputPaths(child.record).stdout)).mode & 0o777).toBe(0o600)
  }
  expect((await stat(trial.records)).mode & 0o777).toBe(0o700)
  expect(await readdir(trial.records)).toHaveLength(3 * keys.length)
})

test('what cannot be started is refused by name and leaves nothing', async () => {
  await using trial = await Trial.begin()
  const spec = await trial.spec(['idle'])
  const script = join(trial.folder, 'script')
  await writeFile(script, '')
  await chmod(script, 0o644)
  const attempts: [object, string | undefined][] = [
    [{ executable: join(trial.folder, 'missing') }, 'ENOENT'],
    [{ executable: trial.folder }, 'EACCES'],
    [{ executable: 'node' }, 'EINVAL'],
    [{ cwd: join(trial.folder, 'missing') }, undefined],
    [{ args: ['x'.repeat(10_000_000)] }, 'E2BIG'],
  ]
  for (const [wrong, errno] of attempts) {
    const error = await startChild({ ...spec, ...wrong }).catch((error) => error)
    expect(error).toMatchObject({ code: 'RUNTIME_SPAWN_FAILED' })
    expect(error.details?.errno).toBe(errno)
  }
  expect(await trial.leftovers()).toEqual([])
})

test('a child does not keep its controller alive', async () => {
  await using trial = await Trial.begin()
  const spec = await trial.spec(['idle'], { ipc: 'ready' })
  const script = `
    import { exitOf, startChild } from ${JSON.stringify(compiled.file('src/runtime/child.ts'))}
    const { child } = await startChild(${JSON.stringify(spec)})
    exitOf(child)`
  const controller = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' })
  expect(await new Promise((resolve) => controller.once('exit', resolve))).toBe(0)
  const child = await findChild(spec)
  trial.keep(child!)
  expect(await isAlive(child!)).toBe(true)
})

test('a child that talks without end does not fill the disk while it is watched', async () => {
  await using trial = await Trial.begin()
  const child = await trial.start(['idle'])
  const { stdout } = outputPaths(child.record)
  await appendFile(stdout, 'x'.repeat(20_000_000))
  await appendFile(stdout, '\nthe last line\n')
  const gone = new AbortController()
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  try {
    const watching = exitOf(child, { signal: gone.signal })
    vi.advanceTimersByTime(30_000)
    await eventually(async () => (await stat(stdout)).size === 1_048_576)
    gone.abort('over')
    await expect(watching).rejects.toBe('over')
    expect(vi.getTimerCount()).toBe(0)
  } finally {
    vi.useRealTimers()
  }
  expect(await printed(child.record)).toBe('the last line')
})

test('a group that forks faster than anybody can look is ended at once', async () => {
  await using trial = await Trial.begin()
  // Each process starts the next and ends; the count is there so that a failure of this test ends too.
  const relay =
    'trap "" TERM; relay() { if [ $1 -gt 0 ]; then relay $(($1 - 1)) & else : >outran; fi; }; relay 20000; echo up; sleep 60'
  const child = await trial.start([], { executable: '/bin/sh', args: ['-c', relay] })
  await eventually(async () => (await printed(child.record)) === 'up')
  await stopChild(child, { graceMs: 0 })
  expect(await familyOf(child, true)).toEqual([])
  expect(await readdir(trial.folder)).not.toContain('outran')
})
