// Replay of a journal, beside a bare loop of XState's own transition; and opening a home with a million records.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { initialTransition, transition } from 'xstate'
import { openJournal } from '../dist/src/journal/journal.js'
import { Interpreter } from '../dist/src/run/interpreter.js'
import { event, flows, plain, rich } from './machines.mjs'
import { inScratch, inTurns, median, row, timed } from './measure.mjs'

const records = 60_000
const million = 1_000_000

/** Writes a journal of `count` sends to one run. */
async function fill(directory, machine, count, snapshotEveryRecords) {
  const log = await openJournal({ directory, retainRecords: Number.POSITIVE_INFINITY })
  const interpreter = await Interpreter.open({ log, flows, snapshotEveryRecords })
  const { run } = await interpreter.start(machine.id, { key: 'bench', input: {}, busy: 'join' })
  let left = count - 1
  const sender = async () => {
    while (left-- > 0) await interpreter.send(run, event)
  }
  await Promise.all(Array.from({ length: 1024 }, sender))
  return { interpreter, log }
}

/** Ends without a snapshot, as a crash would. */
async function abandon({ interpreter, log }) {
  log.saveSnapshot = async () => {}
  await interpreter.close()
}

async function replayOf(directory, machine, goal) {
  await abandon(await fill(directory, machine, records, Number.POSITIVE_INFINITY))
  const text = JSON.stringify(event)
  const perSecond = (ms) => (records / ms) * 1000
  const rates = await inTurns(3, {
    async instar() {
      const log = await openJournal({ directory })
      let interpreter
      const ms = await timed(async () => {
        interpreter = await Interpreter.open({ log, flows, snapshotEveryRecords: Number.POSITIVE_INFINITY })
      })
      await abandon({ interpreter, log })
      return perSecond(ms)
    },
    async bare() {
      const ms = await timed(() => {
        let [snapshot] = initialTransition(machine, {})
        for (let index = 0; index < records; index += 1) [snapshot] = transition(machine, snapshot, JSON.parse(text))
      })
      return perSecond(ms)
    },
  })
  const [value, peer] = [median(rates.instar), median(rates.bare)]
  return row({
    name: `replay, ${machine.id.replace('bench-', '')}`,
    value,
    unit: '/s',
    peer,
    ratio: value / peer,
    goal: `>= ${goal} /s, or within 1.3 × of XState's own transition`,
    ok: value >= goal || peer / value <= 1.3,
  })
}

async function openingAMillion(home) {
  // Ended just before the next snapshot is due, so that as much as possible has to be read and replayed.
  inHome('fill', home, million - 1)
  const times = await inTurns(3, { instar: () => Number(inHome('open', home)) })
  const value = median(times.instar)
  return row({
    name: 'opening a home with 1 000 000 records',
    value,
    unit: 'ms',
    peer: 1000,
    ratio: value / 1000,
    goal: '<= 1 × one second',
  })
}

function inHome(...args) {
  const program = fileURLToPath(new URL('./home.mjs', import.meta.url))
  const { stdout, stderr, signal } = spawnSync(process.execPath, [program, ...args.map(String)], { encoding: 'utf8' })
  if (signal !== 'SIGKILL') throw new Error(`it did not come to its end: ${stderr}`)
  return stdout
}

export const replay = () =>
  inScratch(async (directory) => [
    await replayOf(join(directory, 'plain'), plain, 100_000),
    await replayOf(join(directory, 'rich'), rich, 40_000),
    await openingAMillion(join(directory, 'million')),
  ])
