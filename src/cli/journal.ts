import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { ControlClient } from '../control/connect.ts'
import { InstarError } from '../errors.ts'
import { inspectHome } from '../home.ts'
import type { JournalRecord } from '../journal/cursor.ts'
import { printable } from '../printable.ts'
import type { RunState } from '../run/run.ts'
import { type Cli, type Command, exit, homeOf } from './cli.ts'
import { reachObserver, reachRunning } from './reach.ts'
import { clock, listing, stateText, table } from './text.ts'

const recordsShown = 20
const lookAgainMs = 300

// ---- records

export const tail: Command<[options: { follow: boolean; from: number | undefined }]> = async (
  cli,
  { follow, from },
) => {
  const { output } = cli
  if (!follow) {
    const shown: JournalRecord[] = []
    for await (const record of recordsFrom(cli, from ?? 0)) {
      shown.push(record)
      if (from === undefined && shown.length > recordsShown) shown.shift()
    }
    await output.document({ records: shown }, () => shown.map(recordText).join(''))
    return exit.done
  }
  const print = (record: JournalRecord) =>
    output.print(output.json ? `${JSON.stringify({ type: 'record', ...record })}\n` : recordText(record))
  // Ctrl-C is how it ends.
  await followFrom(cli, from, print).catch((error) => {
    if (!cli.signal.aborted) throw error
  })
  return exit.done
}

/** Goes on through controllers that come and go: what none has told us is read from the disk. */
async function followFrom(cli: Cli, from: number | undefined, print: (record: JournalRecord) => Promise<void>) {
  const { output, signal } = cli
  let next = from
  const catchUp = async () => {
    const shown: JournalRecord[] = []
    for await (const record of recordsFrom(cli, next ?? 0)) {
      if (output.closed) return
      if (next !== undefined) await print(record)
      else if (shown.push(record) > recordsShown) shown.shift()
      if (next !== undefined) next = record.seq + 1
    }
    for (const record of shown) await print(record)
    next ??= (shown.at(-1)?.seq ?? 0) + 1
    const client = await reachRunning(cli, await homeOf(cli))
    if (client !== undefined) next = await followRunning(cli, client, next, print)
  }
  for (;;) {
    await catchUp().catch((error) => {
      if (!isGone(error)) throw error // one that is stopping is as good as none
    })
    if (output.closed) return
    await setTimeout(lookAgainMs, undefined, { signal }).catch(() => signal.throwIfAborted())
  }
}

const isGone = (error: unknown) => error instanceof InstarError && error.code === 'CONTROLLER_GONE'

/** Prints what a running controller appends until it ends; answers with the next record to ask for. */
async function followRunning(
  { output, signal }: Cli,
  client: ControlClient,
  from: number,
  print: (record: JournalRecord) => Promise<void>,
): Promise<number> {
  const closed = new AbortController()
  let next = from
  let printing = Promise.resolve()
  const onProgress = (data: unknown) => {
    const record = data as JournalRecord
    next = record.seq + 1
    printing = printing.then(() => print(record))
    if (output.closed) closed.abort(new InstarError('ABORTED', 'nobody reads any more'))
  }
  try {
    await client.perform('journal.follow', { from }, { signal: AbortSignal.any([signal, closed.signal]), onProgress })
  } catch (error) {
    signal.throwIfAborted()
    if (!isGone(error) && !closed.signal.aborted) throw error
  } finally {
    await client.close()
    await printing
  }
  return next
}

/** Every record from `from` on, once: from the running controller, which knows what is durable, else from the disk. */
async function* recordsFrom(cli: Cli, from: number): AsyncGenerator<JournalRecord, void, void> {
  const home = await homeOf(cli)
  const client = await reachRunning(cli, home)
  if (client === undefined) {
    const { readJournal } = await import('../journal/read.ts')
    yield* readJournal(await journalOf(home), { from })
    return
  }
  try {
    for (let next = from; ; ) {
      const { records } = await client.perform('journal.read', { from: next }, cli)
      yield* records
      if (records.length === 0) return
      next = records.at(-1)!.seq + 1
    }
  } finally {
    await client.close()
  }
}

/**
 * The journal's folder in a home that is there.
 *
 * @throws {InstarError} what keeps it from being one.
 */
async function journalOf(home: string): Promise<string> {
  const found = await inspectHome(home)
  if (found.state === 'refused') throw found.error
  if (found.state !== 'ours')
    throw new InstarError('HOME_UNUSABLE', `there is no home at ${home} yet`, { hint: 'Name another one with --home.' })
  return join(found.path, 'journal')
}

function recordText(record: JournalRecord): string {
  const { seq, at, run, event, answers, ends } = record as JournalRecord & Record<string, any>
  const parts = [answers && `answers ${answers}`, ends && `ends ${ends}`].filter(Boolean).join(', ')
  const line = `${String(seq).padStart(6)}  ${clock(at)}  ${run}  ${event?.type}${parts === '' ? '' : `  (${parts})`}`
  return `${printable(line).replace(/\n/g, ' ')}\n`
}

export const exportAll: Command<[]> = async (cli) => {
  for await (const record of recordsFrom(cli, 0)) {
    if (cli.output.closed) break
    await cli.output.print(`${JSON.stringify(record)}\n`)
    cli.signal.throwIfAborted()
  }
  return exit.done
}

// ---- runs

export const runs: Command<[]> = async (cli) => {
  await using controller = await reachObserver(cli)
  const { runs } = await controller.perform('journal.runs', {}, cli)
  await cli.output.document({ runs }, () => runTable(runs) || 'Nothing has been done here yet.\n')
  return exit.done
}

export function runTable(runs: readonly RunState[]): string {
  return table(
    ['RUN', 'MACHINE', 'KEY', 'STATUS', 'STATE', 'STARTED', 'LAST RECORD'],
    runs.map(({ run, machine, key, status, value, startedAt, seq }) => [
      run,
      machine,
      key,
      status,
      stateText(value),
      clock(startedAt),
      seq,
    ]),
  )
}

export const show: Command<[run: string, at: number | undefined]> = async (cli, run, at) => {
  await using controller = await reachObserver(cli)
  const state = await controller.perform('journal.show', { run, ...(at !== undefined && { at }) }, cli)
  await cli.output.document({ run: state }, () => runText(state))
  return exit.done
}

function runText(state: RunState): string {
  const { run, machine, key, status, value, startedAt, startedSeq, seq, at, effects, timers, context, output, error } =
    state
  return listing([
    ['run', run],
    ['machine', machine],
    ['key', key],
    ['status', status],
    ['state', stateText(value)],
    ['started', `${clock(startedAt)}, record ${startedSeq}`],
    ['last record', `${seq}, ${clock(at)}`],
    ...effects.map(({ src, key }) => ['doing', `${src} (${key})`] as const),
    ...timers.map(({ id, due }) => ['timer', `${id}, due ${clock(due)}`] as const),
    ['error', error],
    ['output', output],
    ['context', context],
  ])
}

// ---- the files

export const verify: Command<[]> = async (cli) => {
  const { verifyJournal } = await import('../journal/verify.ts')
  const report = await verifyJournal(await journalOf(await homeOf(cli)))
  await cli.output.document(report, () => {
    const { sound, records, bytes, lastSeq, torn, problems } = report
    return [
      `${sound ? 'The journal is sound' : 'The journal is damaged'}: ${records} records in ${bytes} bytes, the last is ${lastSeq ?? 'none'}.\n`,
      ...(torn === null ? [] : [`A commit is unfinished (${torn.bytes} bytes); the next opening cuts it off.\n`]),
      ...problems.map(
        ({ file, line, message }) => `${file}${line === undefined ? '' : `, line ${line}`}: ${message}\n`,
      ),
      ...(sound ? [] : ['What can be saved is saved by: instar journal repair\n']),
    ].join('')
  })
  return report.sound ? exit.done : exit.failed
}

export const repair: Command<[]> = async (cli) => {
  const { repairJournal } = await import('../journal/repair.ts')
  const result = await repairJournal(await journalOf(await homeOf(cli)))
  await cli.output.result(result, () => listing(Object.entries(result)))
  return exit.done
}
