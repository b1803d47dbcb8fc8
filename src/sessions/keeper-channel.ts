import type { PipeHandle } from './pipe-handle.ts'
import { DescriptorSocket } from './send-descriptor.ts'
import { signalName } from './signal-name.ts'

export interface ProcessStatus {
  readonly code: number | null
  /** Such as `SIGKILL`. */
  readonly signal: string | null
}

export interface KeeperListener {
  /** A process that the keeper has waited for. Those of kept sessions are told again after each `hello`, until `drop`. */
  exit(pid: number, status: ProcessStatus): void
  /** The keeper is gone or listens no more. Told once; not after `close`. */
  lost(): void
}

/** Of a line, with its end. */
const lineBytesMax = 8192

/** What `keep` and `note` take: the rest of a line behind two numbers. */
export const metaBytesMax = lineBytesMax - 64

/**
 * A daemon's end of the channel to its keeper. The keeper's protocol, version 1: lines of text; see native/keeper.c.
 *
 * The keeper takes the close of every copy of this descriptor for the end of the daemon. So it stays open after `lost`,
 * and is passed to a successor then too.
 */
export class KeeperChannel {
  /** Null until the keeper has answered `hello`, and when it is lost. */
  keeperPid: number | null = null

  private readonly socket: DescriptorSocket
  private rest = ''
  private isGreeting = false
  private readonly keeping = new Map<number, (isKept: boolean) => void>()
  private replacing: ((isReplaced: boolean) => void) | null = null

  /** Takes over the descriptor. Nothing is heard before `resume` or `hello`. */
  constructor(
    fd: number,
    private readonly listener: KeeperListener,
  ) {
    this.socket = new DescriptorSocket(fd, {
      data: (bytes) => this.hear(bytes.toString('latin1')),
      ended: () => this.lose(),
    })
  }

  /** This process is the daemon from now on: where it ends, the keeper starts another. */
  hello(): void {
    this.isGreeting = true
    this.resume()
    this.say(`hello 1 ${process.pid}`)
  }

  /**
   * Has the session's master held beyond the life of this process. Resolves true when it is, and false where it is not:
   * the keeper is lost or out of descriptors, `meta` is longer than `metaBytesMax`, or the master was closed. Replaces
   * what was kept under the same handle. See {@link DescriptorSocket.send} for when the master may be closed.
   *
   * @param meta One line that the next daemon gets with the master.
   */
  async keep(handle: number, pid: number, meta: string, master: PipeHandle): Promise<boolean> {
    if (!isMeta(meta)) return false
    const answer = new Promise<boolean>((resolve) => {
      this.keeping.get(handle)?.(false)
      this.keeping.set(handle, resolve)
    })
    if (!(await this.socket.send(`keep ${handle} ${pid} ${meta}\n`, master))) this.answerKeep(handle, false)
    return answer
  }

  /** Replaces what the next daemon gets with the master; one that is too long leaves the older one. */
  note(handle: number, meta: string): void {
    if (isMeta(meta)) this.say(`note ${handle} ${meta}`)
  }

  /** The keeper closes its copy of the master, and forgets the session and how it ended. */
  drop(handle: number): void {
    this.answerKeep(handle, false)
    this.say(`drop ${handle}`)
  }

  /**
   * What the next daemon is started with. False where a line cannot hold it, for length or for a TAB or LF in it: what
   * was told before still holds.
   */
  run(command: readonly string[]): boolean {
    const line = `run ${command.join('\t')}`
    const isSayable = command.length > 0 && command[0] !== '' && command.every((part) => !/[\t\n\0]/.test(part))
    if (!isSayable || Buffer.byteLength(line) >= lineBytesMax) return false
    this.say(line)
    return true
  }

  /**
   * The keeper becomes the program at `path`, which must be one that `findKeeper` accepts, with all that it holds.
   * Resolves to whether it did.
   */
  exec(path: string): Promise<boolean> {
    if (!path.startsWith('/') || /[\n\0]/.test(path) || Buffer.byteLength(path) > lineBytesMax - 64)
      return Promise.resolve(false)
    return new Promise((resolve) => {
      this.replacing?.(false)
      this.replacing = resolve
      void this.socket.send(`exec ${path}\n`).then((isSent) => {
        if (!isSent) this.answerExec(false)
      })
    })
  }

  /** When this process ends, the keeper closes everything and ends too. */
  bye(): void {
    this.say('bye')
  }

  /** Resolves when all that was said would reach the keeper even if this process were killed. */
  flushed(): Promise<void> {
    return this.socket.flushed()
  }

  /** A synchronous barrier: when it returns, nothing more is heard. What the keeper says waits for whoever resumes. */
  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  /** Safe to call twice. The keeper takes it for the end of this process, unless a successor holds the channel. */
  close(): void {
    this.socket.close()
    this.forget()
  }

  private say(line: string): void {
    void this.socket.send(`${line}\n`)
  }

  private hear(text: string): void {
    const lines = (this.rest + text).split('\n')
    this.rest = lines.pop()!.slice(0, lineBytesMax)
    for (const line of lines) this.understand(line)
  }

  // What is not known is of a newer keeper, or the second half of a line whose first half a predecessor has read. That
  // one was greeted with other numbers, so everything before the answer to our own hello is skipped.
  private understand(line: string): void {
    const [word, first, how, last] = line.split(' ')
    const number = Number(first)
    if (word === 'keeper' && first === '1') this.greet(Number(how))
    else if (this.keeperPid === null) return
    else if (word === 'kept') this.answerKeep(number, true)
    else if (word === 'refused' && first === 'keep') this.answerKeep(Number(how), false)
    else if (word === 'refused' && first === 'exec') this.answerExec(false)
    else if (word === 'exit' && how === 'exit') this.listener.exit(number, { code: Number(last), signal: null })
    else if (word === 'exit' && how === 'signal')
      this.listener.exit(number, { code: null, signal: signalName(Number(last)) })
  }

  /** Said in answer to hello, and by the program that the keeper has become. */
  private greet(pid: number): void {
    this.keeperPid = pid
    if (!this.isGreeting) this.answerExec(true)
    this.isGreeting = false
  }

  private answerKeep(handle: number, isKept: boolean): void {
    this.keeping.get(handle)?.(isKept)
    this.keeping.delete(handle)
  }

  private answerExec(isReplaced: boolean): void {
    this.replacing?.(isReplaced)
    this.replacing = null
  }

  private lose(): void {
    this.forget()
    this.listener.lost()
  }

  private forget(): void {
    this.keeperPid = null
    for (const handle of [...this.keeping.keys()]) this.answerKeep(handle, false)
    this.answerExec(false)
  }
}

function isMeta(text: string): boolean {
  return !/[\n\0]/.test(text) && Buffer.byteLength(text) <= metaBytesMax
}
