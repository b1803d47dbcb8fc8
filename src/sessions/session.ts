import { InstarError } from '../errors.ts'
import type { Connection } from './connection.ts'
import { foregroundGroup, isAlive, signalGroup } from './foreground.ts'
import { Master } from './master.ts'
import type { Gap, SessionExit, SessionInfo, Size } from './protocol.ts'
import type { Ring } from './ring.ts'
import type { Identity } from './snapshot.ts'

/** How a program ended, as far as somebody could know. */
export interface Status {
  readonly code: number | null
  readonly signal: string | null
}

/** One client's view of one session: what it has been given so far. */
export interface Attachment {
  readonly session: Session
  readonly connection: Connection
  /** The next byte to give. */
  cursor: number
  /** When it last took something, or had nothing to take. */
  movedAtMs: number
}

/** What the daemon does for its sessions. */
export interface SessionHost {
  /** More was printed: attached clients may be given it, and the watermark may have to be raised. */
  printed(session: Session, bytes: number): void
  /** Its program has ended and all of its output is in the ring. */
  ended(session: Session, exit: SessionExit): void
  /** The program has taken so much input that clients may go on. */
  inputDrained(session: Session): void
  resize(descriptor: number, size: Size): void
}

/** Bytes `known` to before `to` may have been printed, or any part of them. */
export interface Doubt {
  readonly known: number
  readonly to: number
}

export interface SessionStart {
  readonly descriptor: number
  readonly ring: Ring
}

/** The fastest client may lag so far before the program has to wait. */
const lagBytesMax = 64 * 1024
/** A client that took nothing for so long holds nobody up any more. */
const stalledAfterMs = 10_000
/** After SIGHUP, before SIGKILL. */
const hangupGraceMs = 2_000
const tailGraceMs = 1_000
const lookEveryMs = 500
/** A keeper tells of an end within milliseconds; what takes so many looks will not be told. */
const untoldLooks = 4

/** A program in a terminal. */
export class Session {
  readonly attachments = new Set<Attachment>()
  ring: Ring
  exit: SessionExit | null = null

  private identity: Identity
  private readonly master: Master | null
  /** What may have been lost with a daemon that was killed: nobody knows how many of these bytes there were. */
  private doubt: Doubt | null = null
  /** Not given to the program yet. */
  private input: Buffer | null = null
  private status: Status | null = null
  private outputEnded = false
  private frozen = true
  private hanging: NodeJS.Timeout | undefined
  private tail: NodeJS.Timeout | undefined
  private looking: NodeJS.Timeout | undefined

  /** Begins frozen; see {@link thaw}. */
  constructor(
    identity: Identity,
    private readonly host: SessionHost,
    start: SessionStart | { readonly ring: Ring; readonly exit: SessionExit },
  ) {
    this.identity = identity
    this.ring = start.ring
    if ('exit' in start) {
      this.exit = start.exit
      this.master = null
      return
    }
    this.master = new Master(start.descriptor, {
      data: (bytes) => {
        this.ring.append(bytes)
        this.regulate()
        this.host.printed(this, bytes.length)
      },
      end: () => {
        this.outputEnded = true
        this.concludeWhenKnown()
        // Whoever is to tell how the program ended may be gone, or never have heard of it.
        if (this.exit === null) this.watch(untoldLooks)
      },
    })
    this.master.onDrain = () => this.host.inputDrained(this)
  }

  get id(): string {
    return this.identity.id
  }

  get handle(): number {
    return this.identity.handle
  }

  get pid(): number {
    return this.identity.pid
  }

  /** What it is, for a successor or the keeper. */
  get plan(): Identity {
    return this.identity
  }

  /** Throws where the session has ended. */
  get descriptor(): number {
    return this.live().fd
  }

  get info(): SessionInfo {
    const { id, handle, pid, command, cwd, createdAt, size } = this.identity
    const { start, end } = this.ring
    return {
      id,
      handle,
      pid,
      command: partOf(command),
      cwd: shortened(cwd, cwdBytesMax),
      size,
      createdAt,
      start,
      offset: end,
      exit: this.exit,
    }
  }

  // ---- what clients do

  write(bytes: Buffer): void {
    this.master?.write(bytes)
  }

  get unsentInputBytes(): number {
    return this.master?.unsentBytes ?? 0
  }

  resize(size: Size): void {
    this.identity = { ...this.identity, size }
    this.host.resize(this.live().fd, size)
  }

  /** @throws {InstarError} `SESSION_SIGNAL_DENIED` */
  signal(signal: NodeJS.Signals): void {
    if (signalGroup(foregroundGroup(this.pid), signal)) return
    throw new InstarError('SESSION_SIGNAL_DENIED', `what runs in the foreground of ${this.id} is another user's`)
  }

  /** As when a terminal is closed; what does not mind is killed; what cannot be killed has no terminal any more. */
  hangUp(): void {
    if (this.exit !== null || this.hanging !== undefined) return
    this.signalAll('SIGHUP', 'SIGCONT') // a stopped one would not hear the first
    this.hanging = setTimeout(() => {
      this.signalAll('SIGKILL')
      this.hanging = setTimeout(() => this.told({ code: null, signal: null }), tailGraceMs)
    }, hangupGraceMs)
  }

  private signalAll(...signals: NodeJS.Signals[]): void {
    for (const group of new Set([foregroundGroup(this.pid), this.pid]))
      for (const signal of signals) signalGroup(group, signal)
  }

  /**
   * What a client that asks for byte `from` cannot have any more; null where all of it is here, or still to come. Where it
   * ends another one may follow.
   */
  gapBefore(from: number): Gap | null {
    const to = this.ring.start
    if (from >= to || this.ring.historyPending) return null
    const { doubt } = this
    if (doubt !== null && from < doubt.to) return { from, known: Math.max(from, doubt.known), to: doubt.to }
    return { from, known: to, to }
  }

  /** Before this byte all that was ever counted has been printed. */
  get certainTo(): number {
    return this.doubt?.known ?? this.ring.end
  }

  // ---- reading

  /** Reads as long as somebody keeps up, or nobody looks. */
  regulate(): void {
    if (this.master === null || this.frozen || this.outputEnded) return
    if (this.isHeldUp()) this.master.stop()
    else this.master.start()
  }

  private isHeldUp(): boolean {
    const movedSinceMs = Date.now() - stalledAfterMs
    let isFollowed = false
    for (const { cursor, movedAtMs } of this.attachments) {
      if (movedAtMs < movedSinceMs) continue
      if (this.ring.end - cursor < lagBytesMax) return false
      isFollowed = true
    }
    return isFollowed
  }

  // ---- the end

  /** How the program ended, told by whoever could wait for it. */
  told(status: Status): void {
    if (this.exit !== null) return
    this.status = status
    this.concludeWhenKnown()
  }

  get knownStatus(): Status | null {
    return this.status
  }

  /** Nobody will tell how it ends: its parent is gone, and so is the keeper, or there is none. */
  watchWithoutParent(): void {
    if (this.exit === null) this.watch(1)
  }

  /** Looks whether the program lives; one that was gone so many times, and of which nobody told, has ended somehow. */
  private watch(looks: number): void {
    clearInterval(this.looking)
    let gone = 0
    this.looking = setInterval(() => {
      if (this.frozen || this.status !== null || isAlive(this.pid)) return
      gone += 1
      if (gone < looks) return
      clearInterval(this.looking)
      this.told({ code: null, signal: null })
    }, lookEveryMs).unref()
  }

  private concludeWhenKnown(): void {
    if (this.exit !== null || this.frozen || this.status === null) return
    if (this.outputEnded) {
      this.conclude(this.status)
      return
    }
    // A process that kept the terminal open is cut off; what the program itself printed is there by now.
    this.master!.start()
    this.tail ??= setTimeout(() => this.master!.finish(), tailGraceMs)
  }

  private conclude({ code, signal }: Status): void {
    this.release()
    const lost = code === null && signal === null
    this.exit = { code, signal, lost, offset: this.ring.end, hash: this.ring.hash, at: Date.now() }
    this.host.ended(this, this.exit)
  }

  private release(): void {
    clearTimeout(this.hanging)
    clearTimeout(this.tail)
    clearInterval(this.looking)
    this.master?.close()
  }

  // ---- handing over

  /** As the session of a predecessor that it is. */
  continueAs(size: Size, doubt: Doubt | null): void {
    this.doubt = doubt
    if (size.columns !== this.identity.size.columns || size.rows !== this.identity.size.rows)
      this.identity = { ...this.identity, size }
  }

  /** Where it goes on, with the input that its program has not taken. */
  continueAt(ring: Ring, input: Buffer): void {
    this.ring = ring
    this.input = input
  }

  /** Where it goes on after a daemon was killed. */
  goOnAfterLoss(ring: Ring, doubt: Doubt): void {
    this.ring = ring
    this.doubt = { known: Math.min(doubt.known, this.doubt?.known ?? doubt.known), to: doubt.to }
  }

  get knownDoubt(): Doubt | null {
    return this.doubt
  }

  /** From here on no byte moves in either direction. Synchronous, and {@link thaw} takes it back. */
  freeze(): void {
    this.frozen = true
    clearTimeout(this.tail)
    this.tail = undefined
    if (this.exit === null) this.master?.stop()
  }

  /** Input that the program has not taken; the session holds it no more. */
  takeInput(): Buffer {
    return this.master?.takeUnsent() ?? Buffer.alloc(0)
  }

  thaw(): void {
    this.frozen = false
    if (this.input !== null && this.input.length > 0) this.master?.write(this.input)
    this.input = null
    this.regulate()
    this.concludeWhenKnown()
  }

  /** The handle that the keeper is given. */
  get pipe(): Master['handle'] {
    return this.live().handle
  }

  /** Lets go without a word: another process has the terminal. */
  abandon(): void {
    this.release()
  }

  private live(): Master {
    if (this.master === null) throw new Error(`session ${this.id} has ended`)
    return this.master
  }
}

/** As JSON. With them the list of as many sessions as there can be fits into one frame. */
const commandBytesMax = 2048
const cwdBytesMax = 1024

/** A whole script may be an argument. */
function partOf(command: readonly string[]): string[] {
  let left = commandBytesMax
  return command.flatMap((word) => {
    const shown = shortened(word, left)
    left -= jsonBytes(shown) + 1
    return left < 0 ? [] : [shown]
  })
}

function shortened(text: string, bytesMax: number): string {
  let shown = text.slice(0, Math.max(bytesMax, 0))
  while (shown !== '' && jsonBytes(shown) > bytesMax) shown = shown.slice(0, shown.length / 2)
  return shown
}

const jsonBytes = (text: string) => Buffer.byteLength(JSON.stringify(text))
