import { readSync, writeSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { newPipeHandle, type PipeHandle } from './pipe-handle.ts'

export interface MasterListener {
  /** The bytes are valid only during the call. */
  data(bytes: Buffer): void
  /** Everything that was printed has been given to `data`. Told once. */
  end(): void
}

/** Never more than this is read before it is told of; Linux gives 4095 bytes at once. */
export const readBytesMax = 16 * 1024

// One for all: libuv fills it and calls back before anything else is read.
const readBuffer = Buffer.allocUnsafeSlow(readBytesMax)

// More than the kernel holds of a terminal's output (Linux: 4 KiB in the line discipline and 8 KiB on the way to it), so
// that it covers all that was printed before; less would not, and a process that goes on printing must not keep us here.
const tailBytesMax = 64 * 1024

const retryMsMax = 16
// Others have their turn after so much.
const writeBytesMax = 64 * 1024

const nothing = Buffer.alloc(0)

const congestedFrom = 256 * 1024
const drainedBelow = 64 * 1024

/**
 * The daemon's end of a terminal. Reads by polling, so that any number of them needs no threads. Input that the program
 * does not take waits here and not in libuv, so that at any moment it is known to the byte what has reached the kernel.
 */
export class Master {
  readonly fd: number
  readonly handle: PipeHandle
  /** The program has taken so much of its input that more may come. */
  onDrain?: () => void

  private reading = false
  private ended = false
  private closed = false
  private bytesRead = 0

  private unsent: Buffer[] = []
  private unsentLength = 0
  private congested = false
  private retry: NodeJS.Timeout | undefined
  private retryMs = 1

  /**
   * Takes over the descriptor; reads nothing before `start`.
   *
   * @throws Where it cannot be polled.
   */
  constructor(
    fd: number,
    private readonly listener: MasterListener,
  ) {
    this.fd = fd
    this.handle = newPipeHandle('stream')
    const failure = this.handle.open(fd)
    if (failure !== 0) throw new Error(`descriptor ${fd} cannot be polled: ${getSystemErrorName(failure)}`)
    this.handle.useUserBuffer(readBuffer)
    this.handle.onread = () => this.arrived()
  }

  // ---- output of the program

  /** Safe to call twice. */
  start(): void {
    if (this.reading || this.ended || this.closed) return
    this.reading = true
    this.poll()
  }

  /** When this returns, nothing more is read, and nothing that was read is still to be told. Safe to call twice. */
  stop(): void {
    if (!this.reading) return
    this.reading = false
    this.handle.readStop()
  }

  /**
   * For a program that is known to have ended, while others may keep its terminal open: tells what it has printed, also
   * where reading was stopped, and then the end.
   */
  finish(): void {
    if (this.ended || this.closed) return
    this.stop()
    for (let total = 0; total < tailBytesMax; ) {
      const { length, atEnd } = this.readOn()
      if (length > 0) this.listener.data(readBuffer.subarray(0, length))
      total += length
      if (atEnd || length < readBytesMax) break
    }
    this.conclude()
  }

  private poll(): void {
    if (this.handle.readStart() !== 0) this.finish()
  }

  private arrived(): void {
    const first = this.handle.bytesRead - this.bytesRead
    this.bytesRead += first
    // Never more at once than the kernel gives, about 4 KiB of a terminal: a further read sleeps until the kernel has moved
    // what came meanwhile, while other sessions wait. Nothing: a false alarm, or the end, which libuv may see before the
    // last bytes.
    const { length, atEnd } = first > 0 ? { length: first, atEnd: false } : this.readOn()
    if (length > 0) this.listener.data(readBuffer.subarray(0, length))
    if (!this.reading) return // an end will be seen again
    if (atEnd) this.conclude()
    else if (first === 0) this.pollAgain()
  }

  /** libuv does not go on by itself after what it takes for an end. */
  private pollAgain(): void {
    this.handle.readStop()
    this.poll()
  }

  /** Fills the buffer with what there is now. */
  private readOn(): { length: number; atEnd: boolean } {
    let length = 0
    while (length < readBytesMax) {
      let count: number
      try {
        count = readSync(this.fd, readBuffer, length, readBytesMax - length, null)
      } catch (error) {
        return { length, atEnd: (error as NodeJS.ErrnoException).code !== 'EAGAIN' }
      }
      if (count === 0) return { length, atEnd: true }
      length += count
    }
    return { length, atEnd: false }
  }

  private conclude(): void {
    if (this.ended || this.closed) return
    this.stop()
    this.ended = true
    // Linux takes input for a terminal that has hung up until it is full, and never says that it is for nobody.
    this.forgetUnsent()
    this.tellDrained()
    this.listener.end()
  }

  // ---- input for the program

  get unsentBytes(): number {
    return this.unsentLength
  }

  /** The bytes are the caller's again afterwards. What nobody can receive any more is dropped. */
  write(bytes: Buffer): void {
    if (this.ended || this.closed) return
    const sent = this.unsentLength === 0 ? this.send(bytes) : 0
    if (sent < bytes.length) this.keep(bytes.subarray(sent))
    this.tellDrained()
    this.retryLater(sent > 0)
  }

  /** What has not reached the kernel. Nothing of it is written any more, unless it is given to `write` again. */
  takeUnsent(): Buffer {
    if (this.unsentLength === 0) return nothing
    const rest = Buffer.concat(this.unsent)
    this.forgetUnsent()
    return rest
  }

  private keep(bytes: Buffer): void {
    this.unsent.push(Buffer.from(bytes))
    this.unsentLength += bytes.length
    this.congested ||= this.unsentLength > congestedFrom
  }

  private forgetUnsent(): void {
    this.unsent = []
    this.unsentLength = 0
    clearTimeout(this.retry)
    this.retry = undefined
  }

  private retryLater(progressed: boolean): void {
    if (this.unsentLength === 0 || this.retry !== undefined) return
    this.retryMs = progressed ? 1 : Math.min(2 * this.retryMs, retryMsMax)
    this.retry = setTimeout(() => {
      this.retry = undefined
      this.retryLater(this.sendUnsent())
    }, this.retryMs).unref()
  }

  /** Whether anything of it was taken. */
  private sendUnsent(): boolean {
    let sent = 0
    while (this.unsentLength > 0 && sent < writeBytesMax) {
      const first = this.unsent[0]!
      const count = this.send(first)
      if (count === 0) break
      sent += count
      this.unsentLength -= count
      if (count < first.length) this.unsent[0] = first.subarray(count)
      else this.unsent.shift()
    }
    this.tellDrained()
    return sent > 0
  }

  private tellDrained(): void {
    if (!this.congested || this.unsentLength >= drainedBelow) return
    this.congested = false
    this.onDrain?.()
  }

  /** How much of it the kernel took. */
  private send(bytes: Buffer): number {
    try {
      return writeSync(this.fd, bytes)
    } catch (error) {
      // Else it is hung up: to nobody everything can be sent.
      return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? 0 : bytes.length
    }
  }

  // ----

  /** Closes the descriptor; nothing is told any more. Safe to call twice. */
  close(): void {
    if (this.closed) return
    this.stop()
    this.closed = true
    this.forgetUnsent()
    this.handle.close()
  }
}
