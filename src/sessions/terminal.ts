import type { ReadStream, WriteStream } from 'node:tty'
import { InstarError } from '../errors.ts'
import type { ClientEvent, DaemonClient, Session } from './client.ts'
import type { DetachKey } from './detach-key.ts'
import { takeHistory } from './history.ts'
import { OwnTerminal } from './own-terminal.ts'
import type { Gap, SessionExit, Size } from './protocol.ts'
import { renderScreen } from './screen.ts'

export interface AttachOptions {
  /** The session's own. */
  readonly client: DaemonClient
  readonly input?: ReadStream
  readonly output?: WriteStream
  /** Null: only the end of the session, or `signal`, ends it. */
  readonly detachKey: DetachKey | null
  /** Detaches. */
  readonly signal?: AbortSignal
}

/** How an attachment ended. */
export type Attached =
  | { readonly outcome: 'detached' }
  /** The program has ended. */
  | { readonly outcome: 'ended'; readonly exit: SessionExit }

/** Beyond this much that the daemon has not taken, keys wait in the terminal; the one that detaches then waits too. */
const unsentBytesMax = 16 * 1024 * 1024

/** A daemon that was killed is back before that, and nobody is told. */
const noticedAfterMs = 1000

/**
 * Lends the terminal of this process to a session until its program ends or a person detaches. First draws what the
 * session shows. Goes on through upgrades and crashes of the daemon as the client does; output that is lost is said in a
 * line. However it ends, also by an exception or `process.exit`, the terminal is put back as it was.
 *
 * @throws {InstarError} `TERMINAL_REQUIRED` where input or output is none, and what the client fails with.
 */
export async function attachTerminal(session: Session, options: AttachOptions): Promise<Attached> {
  const { client, input = process.stdin, output = process.stdout, detachKey, signal } = options
  if (!input.isTTY || !output.isTTY)
    throw new InstarError('TERMINAL_REQUIRED', 'input and output are not both a terminal')
  if (signal?.aborted) return { outcome: 'detached' }
  const terminal = new OwnTerminal(input, output)
  const left = new AbortController()
  const until = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal])
  try {
    return await Promise.race([
      typing({ session, terminal, input, detachKey, signal: until }),
      showing({ session, terminal, output, signal: until }),
      obeying({ session, terminal, signal: until }),
      telling({ client, terminal, signal: until }),
    ])
  } catch (error) {
    if (signal?.aborted) return { outcome: 'detached' }
    throw error
  } finally {
    left.abort()
    terminal.restore()
  }
}

// ---- keys to the program

interface Typing {
  readonly session: Session
  readonly terminal: OwnTerminal
  readonly input: ReadStream
  readonly detachKey: DetachKey | null
  readonly signal: AbortSignal
}

/** Sends what is typed, unchanged, until the key that detaches; also where the terminal itself goes away. */
function typing({ session, terminal, input, detachKey, signal }: Typing): Promise<Attached> {
  return new Promise((resolve, reject) => {
    let unsentBytes = 0
    const leave = () => resolve({ outcome: 'detached' })
    const send = async (bytes: Buffer) => {
      unsentBytes += bytes.length
      if (unsentBytes > unsentBytesMax) input.pause()
      await session.write(bytes).catch((error) => undelivered(error, terminal))
      unsentBytes -= bytes.length
      if (unsentBytes <= unsentBytesMax && !signal.aborted) input.resume()
    }
    const take = (typed: Buffer) => {
      const at = detachKey?.find(typed) ?? -1
      const forProgram = at === -1 ? typed : typed.subarray(0, at)
      if (forProgram.length > 0) send(forProgram).catch(reject)
      if (at !== -1) leave()
    }
    input.on('data', take).once('end', leave).once('close', leave).once('error', leave)
    signal.addEventListener(
      'abort',
      () => {
        input.off('data', take).off('end', leave).off('close', leave)
        leave()
      },
      { once: true },
    )
  })
}

/** What becomes of the attachment is for its output to say; a key that may be lost is said here. */
async function undelivered(error: unknown, terminal: OwnTerminal): Promise<void> {
  const code = error instanceof InstarError ? error.code : undefined
  if (code === 'DAEMON_GONE') await terminal.say('the connection broke; what was typed last may be lost')
  else if (code !== 'SESSION_ENDED' && code !== 'SESSION_UNKNOWN') throw error
}

// ---- output of the program

interface Showing {
  readonly session: Session
  readonly terminal: OwnTerminal
  readonly output: WriteStream
  readonly signal: AbortSignal
}

async function showing({ session, terminal, output, signal }: Showing): Promise<Attached> {
  const { start: from, offset: until, size } = session.info
  const parts = session.output({ from, signal })[Symbol.asyncIterator]()
  const history = await takeHistory(parts, { from, until })
  const shownAs = terminal.size ?? size
  const screen = await renderScreen(history.pieces, size, { from: history.from, shownAs })
  await terminal.clear()
  await terminal.write(Buffer.from(screen.ansi))
  await terminal.write(history.rest)
  const sizing = new Sizing(session, size)
  const adapt = () => sizing.adapt(terminal.size ?? size)
  adapt()
  if (!screen.isComplete) redraw(session)
  output.on('resize', adapt)
  try {
    for (;;) {
      const { done, value } = await parts.next()
      if (done) break
      if ('bytes' in value) await terminal.write(value.bytes)
      else await showGap(session, terminal, value)
    }
  } finally {
    output.off('resize', adapt)
  }
  return { outcome: 'ended', exit: await session.exit }
}

async function showGap(session: Session, terminal: OwnTerminal, { from, known, to }: Gap): Promise<void> {
  if (to === from) return
  await terminal.say(lossText(known - from, to - from))
  if (terminal.isAlternate) redraw(session)
}

function lossText(atLeast: number, atMost: number): string {
  if (atLeast === atMost) return `${atMost} bytes of output are lost`
  if (atLeast === 0) return `up to ${atMost} bytes of output may be lost`
  return `between ${atLeast} and ${atMost} bytes of output are lost`
}

/** Programs that fill the screen draw it anew when they believe that its size has changed. */
function redraw(session: Session): void {
  session.signal('SIGWINCH').catch(ignoreFailed)
}

/** Tells the session the size of the terminal, one at a time; of sizes that come faster the last one counts. */
class Sizing {
  private isTelling = false
  private wanted: Size

  constructor(
    private readonly session: Session,
    private told: Size,
  ) {
    this.wanted = told
  }

  adapt(size: Size): void {
    this.wanted = size
    if (!this.isTelling) void this.tell()
  }

  private async tell(): Promise<void> {
    this.isTelling = true
    while (this.told.columns !== this.wanted.columns || this.told.rows !== this.wanted.rows) {
      this.told = this.wanted
      await this.session.resize(this.told).catch(ignoreFailed)
    }
    this.isTelling = false
  }
}

/** The session may be over, or the connection; output or input says which, and nothing is wrong with the terminal. */
function ignoreFailed(): void {}

// ---- signals to this process

interface Obeying {
  readonly session: Session
  readonly terminal: OwnTerminal
  readonly signal: AbortSignal
}

/** Those that would end this process without a word, or have stopped it, find the terminal put back or taken again. */
function obeying({ session, terminal, signal }: Obeying): Promise<never> {
  const quit = () => {
    terminal.restore()
    process.off('SIGQUIT', quit)
    process.kill(process.pid, 'SIGQUIT')
  }
  const goOn = () => {
    terminal.takeAgain()
    redraw(session)
  }
  process.on('SIGQUIT', quit).on('SIGCONT', goOn)
  signal.addEventListener('abort', () => process.off('SIGQUIT', quit).off('SIGCONT', goOn), { once: true })
  return new Promise(() => {})
}

// ---- the connection

interface Telling {
  readonly client: DaemonClient
  readonly terminal: OwnTerminal
  readonly signal: AbortSignal
}

/** Says that there is no connection where it takes long enough to be noticed, and that there is one again. */
function telling({ client, terminal, signal }: Telling): Promise<never> {
  let isSaid = false
  let noticed: NodeJS.Timeout | undefined
  const say = () => {
    isSaid = true
    void terminal.say('the connection is lost; trying again')
  }
  const unsubscribe = client.onEvent((event: ClientEvent) => {
    if (event.type === 'disconnected') noticed ??= setTimeout(say, noticedAfterMs).unref()
    if (event.type !== 'reconnected') return
    clearTimeout(noticed)
    noticed = undefined
    if (isSaid) void terminal.say('connected again')
    isSaid = false
  })
  const end = () => {
    clearTimeout(noticed)
    unsubscribe()
  }
  signal.addEventListener('abort', end, { once: true })
  return new Promise(() => {})
}
