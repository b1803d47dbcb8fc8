import { InstarError } from '../errors.ts'
import { held } from '../held.ts'
import { abortable } from '../runtime/pause.ts'
import type { DaemonClient } from './client.ts'
import type { Link } from './client-link.ts'
import { type From, Output, type OutputHost } from './client-output.ts'
import { limits, type ParamsOf, type SessionExit, type SessionInfo, type Size } from './protocol.ts'

export interface Asking {
  /** Gives up waiting; the call rejects with the signal's reason. What the daemon was asked for may still happen. */
  readonly signal?: AbortSignal | undefined
}

export interface OutputOptions extends Asking {
  /** Default: `start`, the oldest byte that can still be had. */
  readonly from?: From
}

/** What a session needs of its client. */
export interface SessionHost {
  /** Null while there is no connection. */
  current(): Link | null
  link(signal?: AbortSignal): Promise<Link>
  /** @throws {InstarError} `SESSION_UNKNOWN` where the daemon, which is another by now, has it no more. */
  recognise(session: Session, link: Link): Promise<void>
  outputHost(session: Session): OutputHost
  detach(session: Session): Promise<void>
}

/** A program in a terminal of a daemon. The same one for as long as it runs, whichever daemon serves it. */
export class Session implements AsyncDisposable {
  /** @internal The connection whose daemon is known to have it. */
  knownBy: Link | null
  /** @internal How it ended, once that was heard. */
  ended: SessionExit | null

  private told: SessionInfo
  private exiting: Promise<SessionExit> | null = null
  /** The last write that has not resolved yet. */
  private writing: Promise<void> | null = null

  /** @internal Sessions come from a {@link DaemonClient}. */
  constructor(
    info: SessionInfo,
    link: Link | null,
    private readonly client: DaemonClient,
    private readonly host: SessionHost,
  ) {
    this.told = info
    this.knownBy = link
    this.ended = info.exit
  }

  get id(): string {
    return this.told.id
  }

  /** What the protocol names it by. */
  get handle(): number {
    return this.told.handle
  }

  /** As it was when the daemon was asked for it. */
  get info(): SessionInfo {
    return this.told
  }

  /**
   * What it prints, from some byte on, each byte once and in order, through upgrades, crashes and lost connections. What
   * cannot be had any more is a {@link Gap}. Ends with the session. Nothing is asked for before the first `next()`; one
   * output of a session at a time, by one client.
   *
   * A consumer that is slower than the program holds it up: at most 320 KiB wait in this process, then nothing more is
   * received by this client. Where other outputs or requests need the connection, a consumer that takes longer than a
   * quarter of a second for what waits is detached until it has caught up; the program then runs on, and what leaves the
   * daemon's scrollback meanwhile is a gap. One that must not give way has a client of its own.
   *
   * @throws {InstarError} from `next()`: `SESSION_UNKNOWN`; `SESSION_ATTACHED`; `PARAMETERS_INVALID` where `from` is more
   *   than it has printed; `DAEMON_GONE` and the like where the client gives up; and the signal's reason.
   */
  output({ from = 'start', signal }: OutputOptions = {}): Output {
    return new Output(this.told, from, this.host.outputHost(this), signal)
  }

  /** Ends its output, if there is one. Resolves when nothing more comes for it. */
  detach(): Promise<void> {
    return this.host.detach(this)
  }

  /** Detaches; the session lives on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.detach()
  }

  /**
   * Types `bytes`, which must not be changed before it resolves. Writes of one session stay in order. Resolves when the
   * system has taken them and would take more; a daemon that is killed then may still lose them. What nobody was there to
   * take is typed into the next daemon.
   *
   * @throws {InstarError} `SESSION_ENDED`, `SESSION_UNKNOWN`; `DAEMON_GONE` where the connection broke in the middle:
   *   `writtenBytes` of the details were handed over, and nobody knows how many of them arrived.
   */
  write(bytes: Uint8Array | string, { signal }: Asking = {}): Promise<void> {
    const input = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
    const written = this.writing === null ? this.send(input, signal) : this.writing.then(() => this.send(input, signal))
    const over = () => {
      if (this.writing === settled) this.writing = null
    }
    const settled = written.then(over, over) // its caller is told
    this.writing = settled
    return held(written)
  }

  private async send(input: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    let link = await this.reached(signal)
    for (let at = 0; at < input.length; at += limits.dataBytesMax) {
      signal?.throwIfAborted()
      const part = input.subarray(at, at + limits.dataBytesMax)
      while (!(await this.isTaken(link, part, at))) link = await this.reached(signal)
    }
  }

  /** False where the daemon is gone and nothing was sent, so that the next one can be given all of it. */
  private async isTaken(link: Link, part: Uint8Array, writtenBytes: number): Promise<boolean> {
    let cause: unknown
    try {
      if (await link.input(this.handle, part)) return true
      if (writtenBytes === 0) return false
    } catch (error) {
      cause = error
    }
    const details = { writtenBytes }
    throw new InstarError('DAEMON_GONE', `the connection broke while ${this.id} was written to`, { cause, details })
  }

  /** A connection whose daemon has it. */
  private async reached(signal: AbortSignal | undefined): Promise<Link> {
    const link = this.host.current() ?? (await this.host.link(signal))
    if (this.knownBy !== link) await abortable(this.host.recognise(this, link), signal)
    if (this.ended !== null) throw new InstarError('SESSION_ENDED', `${this.id} has ended`)
    if (this.knownBy !== link) throw new InstarError('SESSION_UNKNOWN', `the daemon has no session ${this.id} any more`)
    return link
  }

  async resize(size: Size, asking: Asking = {}): Promise<void> {
    await this.client.request('resize', { session: this.id, size }, { ...asking, about: this })
    this.told = { ...this.told, size }
  }

  /** To the process group in the foreground of its terminal. */
  async signal(signal: ParamsOf<'signal'>['signal'], asking: Asking = {}): Promise<void> {
    await this.client.request('signal', { session: this.id, signal }, { ...asking, about: this })
  }

  /** Hangs up. Resolves when it has ended. */
  close(asking: Asking = {}): Promise<SessionExit> {
    return this.client.request('close', { session: this.id }, { ...asking, about: this })
  }

  /**
   * How it ends, or ended, also while this client was not connected. Asked for when it is first read.
   *
   * Rejects with `SESSION_UNKNOWN` where the daemon knows nothing of it any more, and with what the client gave up for.
   */
  get exit(): Promise<SessionExit> {
    if (this.ended !== null) return Promise.resolve(this.ended)
    if (this.exiting === null) {
      this.exiting = this.waitForExit()
      this.exiting.catch(() => {}) // whoever awaits it is told; nobody has to
    }
    return this.exiting
  }

  private async waitForExit(): Promise<SessionExit> {
    try {
      this.ended = await this.client.request('wait', { session: this.id }, { about: this })
    } catch (error) {
      if (this.ended === null) throw error
    }
    return this.ended
  }
}
