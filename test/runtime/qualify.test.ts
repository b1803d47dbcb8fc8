import { cp, mkdir, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { attribute } from '../../src/runtime/attribute.ts'
import { exitOf, familyOf, isAlive, startChild } from '../../src/runtime/child.ts'
import { lastOutput } from '../../src/runtime/output.ts'
import { processTable } from '../../src/runtime/processes.ts'
import { type Trial as QualifyTrial, qualify } from '../../src/runtime/qualify.ts'
import { startRuntime } from '../../src/runtime/start.ts'
import { runtimeFile, Trial } from '../support/runtimes/trial.ts'

async function release(trial: Trial, args: string[], more: Partial<QualifyTrial> = {}): Promise<QualifyTrial> {
  const folder = join(trial.folder, 'release')
  await mkdir(join(folder, 'dist'), { recursive: true })
  await cp(runtimeFile, join(folder, 'dist/cli.mjs'))
  return {
    release: folder,
    home: trial.folder,
    entry: 'dist/cli.mjs',
    node: process.execPath,
    args,
    env: {},
    probe: { http: '/', contains: 'MARKER', timeoutMs: 30_000 },
    key: '7:qualify',
    recordDirectory: trial.records,
    ...more,
  }
}

/** Processes that run from this trial's folder. */
async function running(trial: Trial): Promise<number> {
  const pids = [...(await processTable()).keys()]
  const here = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => '')))
  return here.filter((cwd) => cwd.startsWith(trial.folder)).length
}

test('a good release is started on a spare port, in an empty folder, and is gone afterwards', async () => {
  await using trial = await Trial.begin()
  const steps = ['environment:INSTAR_QUALIFYING', 'where', 'listen:${port}', 'helper', 'daemon', 'idle']
  const ready = await qualify(await release(trial, steps))
  expect(ready.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  expect(await trial.leftovers()).toEqual([])
  expect(await running(trial)).toBe(0)
})

test('a release that lacks a dependency is rejected with the name of what is missing', async () => {
  await using trial = await Trial.begin()
  const bad = await release(trial, [])
  await writeFile(join(bad.release, 'dist/cli.mjs'), 'import "zod-that-is-not-there"')
  const failure = await qualify(bad).catch((error) => error)
  expect(failure).toMatchObject({ code: 'RUNTIME_EXITED', details: { code: 1 } })
  expect(failure.message).toMatch(/ERR_MODULE_NOT_FOUND.*zod-that-is-not-there/)
  expect(attribute(failure)).toBe('version')
  expect(await trial.leftovers()).toEqual([])
})

test('a release without its entry is rejected before anything is started', async () => {
  await using trial = await Trial.begin()
  await expect(qualify(await release(trial, [], { entry: 'dist/missing.js' }))).rejects.toMatchObject({
    code: 'ENTRY_MISSING',
  })
  expect(await trial.leftovers()).toEqual([])
})

test('a trial that is cancelled leaves no process', async () => {
  await using trial = await Trial.begin()
  const gone = new AbortController()
  setTimeout(() => gone.abort(new Error('cancelled')), 300)
  await expect(
    qualify(await release(trial, ['stubborn', 'daemon', 'idle'], { signal: gone.signal, graceMs: 50 })),
  ).rejects.toThrow('cancelled')
  expect(await running(trial)).toBe(0)
  expect(await trial.leftovers()).toEqual([])
})

test('what an interrupted trial left is ended before the next one starts', async () => {
  await using trial = await Trial.begin()
  const again = await release(trial, ['listen:${port}', 'idle'])
  const leftover = (await startRuntime({ ...again, args: ['stubborn', 'daemon', 'idle'] })).child
  trial.keep(leftover)
  await qualify({ ...again, graceMs: 50 })
  expect(await isAlive(leftover)).toBe(false)
  expect(await familyOf(leftover, true)).toEqual([])
  expect(await trial.leftovers()).toEqual([])
})

test('a launch tells the runtime its port, home and release, and adopts the port of an earlier start', async () => {
  await using trial = await Trial.begin()
  const spec = await release(trial, ['print:${port}', 'print:${home}', 'environment:WHERE', 'idle'], {
    env: { WHERE: '${release}/x' },
  })
  const first = await startRuntime(spec)
  trial.keep(first.child)
  const second = await startRuntime(spec)
  expect(second).toEqual({ child: first.child, how: 'adopted' })
  await expect
    .poll(async () => (await lastOutput(first.child.record)).stdout)
    .toBe(`${first.child.port}\n${trial.folder}\nWHERE=${spec.release}/x`)
})

test('a start without its placeholder says so and starts nothing', async () => {
  await using trial = await Trial.begin()
  await expect(startRuntime(await release(trial, ['${prot}']))).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  expect(await trial.leftovers()).toEqual([])
})

test('a text file in place of the node executable fails as an environment that cannot run it', async () => {
  await using trial = await Trial.begin()
  const spec = await trial.spec([])
  const bogus = join(trial.folder, 'node')
  await writeFile(bogus, '\u007fELF bogus', { mode: 0o755 })
  const { child } = await startChild({ ...spec, executable: bogus })
  trial.keep(child)
  const exit = await exitOf(child)
  expect([126, 127]).toContain(exit.code)
})
