import { constants } from 'node:os'
import { resolve } from 'node:path'
import { InstarError } from '../errors.ts'
import { printable } from '../printable.ts'
import type { DaemonClient, Session } from '../sessions/client.ts'
import type { ParamsOf, SessionExit, SessionInfo, Size } from '../sessions/protocol.ts'
import { type Cli, type Command, exit } from './cli.ts'
import { reachDaemon } from './reach-daemon.ts'
import { bytesText, clock, table } from './text.ts'

/** Which daemon is spoken to. */
interface Where {
  readonly daemon?: string
}

interface OpenOptions extends Where {
  readonly id?: string
  readonly cwd?: string
  readonly size?: Size
  readonly attach?: boolean
  readonly detachKey: string
}

export const open: Command<[command: readonly string[], options: OpenOptions]> = async (cli, command, options) => {
  const { daemon: name, id, cwd = '.', size = sizeHere(), attach: isWanted = false, detachKey } = options
  if (isWanted) requireTerminal()
  await using daemon = await reachDaemon(cli, { daemon: name, start: true })
  const params = {
    cwd: resolve(cwd),
    ...(id !== undefined && { id }),
    ...(size !== undefined && { size }),
    ...(command.length > 0 && { command: [...command] }),
  }
  const session = await daemon.open(params, cli)
  if (isWanted) return await attachTo(cli, daemon, session, detachKey)
  await cli.output.document({ session: session.info }, () => `${session.id}\n`)
  return exit.done
}

function sizeHere(): Size | undefined {
  const { isTTY, columns, rows } = process.stdout
  return isTTY && columns > 0 && rows > 0 ? { columns, rows } : undefined
}

export const list: Command<[where: Where]> = async (cli, where) => {
  await using daemon = await reachDaemon(cli, where)
  const sessions = await daemon.list(cli)
  await cli.output.document({ sessions }, () => sessionTable(sessions) || 'No session is open.\n')
  return exit.done
}

export function sessionTable(sessions: readonly SessionInfo[]): string {
  return table(
    ['ID', 'PID', 'SIZE', 'OPENED', 'PRINTED', 'STATE', 'FOLDER', 'COMMAND'],
    sessions.map(({ id, pid, size, createdAt, offset, exit, cwd, command }) => [
      id,
      pid,
      sizeText(size),
      clock(createdAt),
      bytesText(offset),
      exit === null ? 'runs' : endText(exit),
      cwd,
      command.join(' '),
    ]),
  )
}

const sizeText = ({ columns, rows }: Size) => `${columns}x${rows}`

export const attach: Command<[id: string, options: Where & { readonly detachKey: string }]> = async (
  cli,
  id,
  { daemon: name, detachKey },
) => {
  requireTerminal()
  await using daemon = await reachDaemon(cli, { daemon: name })
  return await attachTo(cli, daemon, await daemon.session(id, cli), detachKey)
}

/** Said before anything is opened for it. */
function requireTerminal(): void {
  if (!process.stdin.isTTY || !process.stdout.isTTY)
    throw new InstarError('TERMINAL_REQUIRED', 'input and output are not both a terminal')
}

async function attachTo({ output, signal }: Cli, client: DaemonClient, session: Session, key: string): Promise<number> {
  const [{ attachTerminal }, { parseDetachKey }] = await Promise.all([
    import('../sessions/terminal.ts'),
    import('../sessions/detach-key.ts'),
  ])
  const { id } = session
  const attached = await attachTerminal(session, { client, detachKey: parseDetachKey(key), signal })
  if (attached.outcome === 'detached') {
    await output.document({ id, outcome: 'detached' }, () => `[detached from ${id}]\n`)
    return exit.done
  }
  const code = exitCodeOf(id, attached.exit)
  await output.document({ id, outcome: 'ended', exit: attached.exit }, () => `[${id} ${endText(attached.exit)}]\n`)
  return code
}

/** @throws {InstarError} `SESSION_LOST`, since no number says that nobody knows. */
function exitCodeOf(id: string, { code, signal, lost }: SessionExit): number {
  if (code !== null) return code
  const number = signal === null ? undefined : constants.signals[signal as NodeJS.Signals]
  if (!lost && number !== undefined) return 128 + number
  throw new InstarError('SESSION_LOST', `${id} has ended, and how is not known`)
}

function endText({ code, signal }: SessionExit): string {
  if (code !== null) return `ended with code ${code}`
  return signal === null ? 'ended, and how is not known' : `ended by ${signal}`
}

export const send: Command<[id: string, text: string, options: Where & { readonly enter?: boolean }]> = async (
  cli,
  id,
  text,
  { daemon: name, enter = false },
) => {
  const input = text === '-' ? await stdin() : Buffer.from(text)
  const bytes = enter ? Buffer.concat([input, Buffer.from('\r')]) : input
  await using daemon = await reachDaemon(cli, { daemon: name })
  const session = await daemon.session(id, cli)
  if (session.info.exit !== null) throw new InstarError('SESSION_ENDED', `${id} ${endText(session.info.exit)}`)
  await session.write(bytes, cli)
  // A daemon takes one thing after the other: when it has answered this, the input is in its hands.
  await daemon.info(cli)
  await cli.output.document({ id, bytes: bytes.length }, () => '')
  return exit.done
}

async function stdin(): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of process.stdin) pieces.push(piece)
  return Buffer.concat(pieces)
}

export const read: Command<[id: string, options: Where & { readonly from?: number }]> = async (
  cli,
  id,
  { daemon: name, from: wanted },
) => {
  await using daemon = await reachDaemon(cli, { daemon: name })
  const session = await daemon.session(id, cli)
  const { historyOf } = await import('../sessions/history.ts')
  const { from, to, gaps, pieces } = await historyOf(session, wanted ?? session.info.start)
  const bytes = Buffer.concat(pieces)
  const { output } = cli
  if (output.json) {
    await output.document({ id, from, to, gaps, encoding: 'base64', data: bytes.toString('base64') }, () => '')
    return exit.done
  }
  for (const gap of gaps) output.warn(`bytes ${gap.from} to ${gap.to} are gone`)
  await output.print(bytes)
  return exit.done
}

export const screen: Command<[id: string, where: Where]> = async (cli, id, where) => {
  await using daemon = await reachDaemon(cli, where)
  const session = await daemon.session(id, cli)
  const { screenOf } = await import('../sessions/screen.ts')
  const { isComplete, ...shown } = await screenOf(session)
  if (!isComplete)
    cli.output.note('Its oldest output is gone: what was printed then and not again since is not to be seen here.')
  await cli.output.document({ id, complete: isComplete, ...shown }, () => `${printable(shown.text).trimEnd()}\n`)
  return exit.done
}

export const resize: Command<[id: string, size: Size, where: Where]> = async (cli, id, size, where) => {
  await using daemon = await reachDaemon(cli, where)
  await (await daemon.session(id, cli)).resize(size, cli)
  await cli.output.document({ id, size }, () => `${id}: ${sizeText(size)}\n`)
  return exit.done
}

export const kill: Command<[id: string, options: Where & { readonly signal?: ParamsOf<'signal'>['signal'] }]> = async (
  cli,
  id,
  { daemon: name, signal },
) => {
  await using daemon = await reachDaemon(cli, { daemon: name })
  const session = await daemon.session(id, cli)
  if (signal !== undefined) {
    await session.signal(signal, cli)
    await cli.output.document({ id, signal }, () => `${id}: was sent ${signal}\n`)
    return exit.done
  }
  const ended = await session.close(cli)
  await cli.output.document({ id, exit: ended }, () => `${id} ${endText(ended)}\n`)
  return exit.done
}

export const wait: Command<[id: string, where: Where]> = async (cli, id, where) => {
  await using daemon = await reachDaemon(cli, where)
  // Not by way of the session: of those that ended long ago the daemon knows no more than how.
  const ended = await daemon.request('wait', { session: id }, cli)
  const code = exitCodeOf(id, ended)
  await cli.output.document({ id, exit: ended }, () => `${id} ${endText(ended)}\n`)
  return code
}
