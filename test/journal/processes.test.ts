import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { acquireLock, openJournal, readJournal, repairJournal, verifyJournal } from '../../src/journal/index.ts'
import { type Compiled, compile } from '../support/compiled.ts'
import { all, codeOf, range, seqs } from './files.ts'

let compiled: Compiled
beforeAll(async () => {
  compiled = await compile('src/journal/index.ts')
})
afterAll(() => compiled.remove())

let directory: string
const writers: ChildProcess[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'instar-processes-'))
})
afterEach(async () => {
  await Promise.all(writers.splice(0).map(kill))
  await rm(directory, { recursive: true, force: true })
})

interface Writer {
  readonly process: ChildProcess
  /** What it says, as it says it. */
  readonly lines: string[]
  /** Resolves when it has said so many lines. */
  said(count: number): Promise<void>
}

function startWriter(): Writer {
  const script = fileURLToPath(new URL('fixtures/writer.mjs', import.meta.url))
  const module = pathToFileURL(compiled.file('src/journal/index.ts')).href
  const child = spawn(process.execPath, [script, module, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  writers.push(child)
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout })
  reader.on('line', (line) => lines.push(line))
  const said = async (count: number) => {
    while (lines.length < count) await once(reader, 'line')
  }
  return { process: child, lines, said }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'close')
}

describe('scenario Journal 6: two controllers on one home', () => {
  test('the second one is refused and told who holds it; a killed one leaves the lock free at once', async () => {
    const first = startWriter()
    await first.said(1)
    const second = startWriter()
    await second.said(1)
    const refusal = JSON.parse(second.lines[0]!)
    expect(refusal).toMatchObject({
      code: 'HOME_LOCKED',
      details: { holder: { pid: first.process.pid, host: hostname(), purpose: 'test' } },
    })
    expect(refusal.message).toContain(`is held by process ${first.process.pid} on ${hostname()} since`)
    expect(await codeOf(repairJournal(directory))).toBe('HOME_LOCKED')

    await kill(first.process)
    await using journal = await openJournal({ directory })
    expect(journal.lastSeq).toBeGreaterThanOrEqual(Number(first.lines.at(-1)))
  })

  test('so is a second one in the same process, and one that only wants the lock', async () => {
    const journal = await openJournal({ directory })
    expect(await codeOf(openJournal({ directory }))).toBe('HOME_LOCKED')
    expect(await codeOf(acquireLock(directory))).toBe('HOME_LOCKED')
    await journal.close()
    using lock = await acquireLock(directory, { purpose: 'upkeep' })
    expect(await codeOf(openJournal({ directory }))).toBe('HOME_LOCKED')
    lock.release()
    await (await openJournal({ directory })).close()
  })
})

test('a writer that is killed again and again has lost nothing it reported, and its readers never see a gap', async () => {
  let reported = 0
  for (let round = 0; round < 6; round += 1) {
    const writer = startWriter()
    await writer.said(3 + round * 4)
    const read = seqs(await all(readJournal(directory)))
    expect(read).toEqual(range(1, read.length))
    await setTimeout(round)
    await kill(writer.process)
    expect(Number(writer.lines[0])).toBeGreaterThanOrEqual(reported)
    reported = Number(writer.lines.at(-1))
  }
  const report = await verifyJournal(directory)
  expect(report).toMatchObject({ sound: true, firstSeq: 1, torn: null })
  expect(report.lastSeq).toBeGreaterThanOrEqual(reported)
  await using journal = await openJournal({ directory })
  expect((await all(journal.read())).map(({ n }) => n)).toEqual(range(1, journal.lastSeq))
})
