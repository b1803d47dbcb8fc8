// Durable sends through the interpreter and the journal, beside a bare write and beside embedded databases.
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { openJournal } from '../dist/src/journal/journal.js'
import { Interpreter } from '../dist/src/run/interpreter.js'
import { event, flows } from './machines.mjs'
import { inScratch, inTurns, median, row, timed } from './measure.mjs'

const batch = 300
const rounds = 6
const concurrency = 256
const concurrentSends = 20_000

async function openInterpreter(directory) {
  const log = await openJournal({ directory })
  const interpreter = await Interpreter.open({ log, flows })
  const { run } = await interpreter.start('bench-plain', { key: 'bench', input: {}, busy: 'join' })
  return { interpreter, run, send: () => interpreter.send(run, event) }
}

/** A record as the journal writes it, for the peers to write as well. */
const line = (seq) =>
  `00000000\t{"seq":${seq},"records":[{"run":"bench-plain-1","at":${Date.now()},"event":${JSON.stringify(event)},"digest":"00000000"}]}\n`

async function oneAtATime(count, write) {
  const times = []
  for (let index = 0; index < count; index += 1) times.push(await timed(() => write(index)))
  return times
}

/** Sends per second with so many senders, each of which waits for its own. */
async function atOnce(count, send) {
  let left = count
  const sender = async () => {
    while (left-- > 0) await send()
  }
  const ms = await timed(() => Promise.all(Array.from({ length: concurrency }, sender)))
  return (count / ms) * 1000
}

export const sends = () =>
  inScratch(async (directory) => {
    const { interpreter, send } = await openInterpreter(join(directory, 'journal'))
    const raw = await open(join(directory, 'raw'), 'a')
    const writeRaw = async (index) => {
      await raw.write(line(index))
      await raw.datasync()
    }
    const peers = await openPeers(directory)
    try {
      await oneAtATime(batch, send) // warm
      await oneAtATime(batch, writeRaw)
      const times = await inTurns(rounds, {
        instar: () => oneAtATime(batch, send),
        raw: () => oneAtATime(batch, writeRaw),
        ...Object.fromEntries(
          Object.entries(peers.writers).map(([name, write]) => [name, () => oneAtATime(batch, write)]),
        ),
      })
      const p50 = Object.fromEntries(Object.entries(times).map(([name, values]) => [name, median(values)]))
      const rate = (name) => 1000 / p50[name]
      const [best, bestP50] = Object.keys(peers.writers)
        .map((name) => [name, p50[name]])
        .reduce((a, b) => (b[1] < a[1] ? b : a))
      await atOnce(concurrentSends, send) // warm
      const concurrent = median([
        await atOnce(concurrentSends, send),
        await atOnce(concurrentSends, send),
        await atOnce(concurrentSends, send),
      ])
      const many = await manyRecords(directory)
      return [
        row({
          name: 'durable send, one at a time, p50',
          value: p50.instar,
          unit: 'ms',
          peer: p50.raw,
          ratio: p50.instar / p50.raw,
          goal: '<= 1.6 × raw write + fdatasync',
        }),
        row({
          name: '256 concurrent senders',
          value: concurrent,
          unit: '/s',
          peer: rate('raw'),
          ratio: concurrent / rate('raw'),
          goal: '>= 5 × raw write + fdatasync, one at a time',
        }),
        row({
          name: 'one at a time, against the best embedded store',
          value: p50.instar,
          unit: 'ms',
          peer: bestP50,
          ratio: p50.instar / bestP50,
          goal: `<= 1.4 × ${best}`,
        }),
        ...Object.keys(peers.writers).map((name) =>
          row({
            name: `  one at a time, ${name}`,
            value: p50[name],
            unit: 'ms',
            peer: p50.instar,
            ratio: p50[name] / p50.instar,
            goal: 'for comparison',
            ok: true,
          }),
        ),
        row({
          name: '256 concurrent, against the best embedded store',
          value: concurrent,
          unit: '/s',
          peer: rate(best),
          ratio: concurrent / rate(best),
          goal: `>= 2.5 × ${best}, one transaction a record`,
        }),
        row({
          name: 'one at a time at 100 000 records, against lowdb',
          value: many.instar,
          unit: 'ms',
          peer: many.lowdb,
          ratio: many.lowdb / many.instar,
          goal: '>= 1 × lowdb',
        }),
      ]
    } finally {
      await peers.close()
      await raw.close()
      await interpreter.close()
    }
  })

async function openPeers(directory) {
  const { default: Database } = await import('better-sqlite3')
  const { ClassicLevel } = await import('classic-level')
  const { JSONFilePreset } = await import('lowdb/node')
  const sqlite = new Database(join(directory, 'sqlite.db'))
  sqlite.pragma('journal_mode = WAL')
  sqlite.pragma('synchronous = FULL')
  sqlite.exec('create table records (seq integer primary key, record text)')
  const insert = sqlite.prepare('insert into records (record) values (?)')
  const level = new ClassicLevel(join(directory, 'level'))
  await level.open()
  const low = await JSONFilePreset(join(directory, 'lowdb.json'), { records: [] })
  let next = 0
  return {
    writers: {
      'better-sqlite3': (index) => void insert.run(line(index)),
      'classic-level': (index) => level.put(String(next++).padStart(12, '0'), line(index), { sync: true }),
      lowdb: async (index) => {
        low.data.records.push(line(index))
        await low.write()
      },
    },
    async close() {
      sqlite.close()
      await level.close()
    },
  }
}

/** One send each when 100 000 records are there already. */
async function manyRecords(directory) {
  const { JSONFilePreset } = await import('lowdb/node')
  const { interpreter, send } = await openInterpreter(join(directory, 'many'))
  try {
    await atOnce(100_000, send)
    const low = await JSONFilePreset(join(directory, 'many.json'), {
      records: Array.from({ length: 100_000 }, (_, index) => line(index)),
    })
    const times = await inTurns(10, {
      instar: () => timed(send),
      lowdb: () =>
        timed(async () => {
          low.data.records.push(line(0))
          await low.write()
        }),
    })
    return { instar: median(times.instar), lowdb: median(times.lowdb) }
  } finally {
    await interpreter.close()
  }
}
