import { fstatSync } from 'node:fs'
import { Socket } from 'node:net'
import { getSystemErrorName } from 'node:util'
import { newPipeHandle, type PipeHandle } from './pipe-handle.ts'

export interface DescriptorSocketListener {
  /** The bytes are valid only during the call. */
  data(bytes: Buffer): void
  /** The other end is gone, or cannot be written to any more. Told once; not after `close`. */
  ended(): void
}

interface Sending {
  readonly text: string
  readonly descriptor: PipeHandle | undefined
  readonly done: (isSent: boolean) => void
}

/** How Node's own handle writes; the third parameter is what `ChildProcess.send` uses for handles. */
interface WritingPipe extends PipeHandle {
  writeUtf8String(request: { handle: unknown } | null, text: string, descriptor?: PipeHandle): unknown
}

/**
 * One end of a unix stream socket through which descriptors can be sent beside text, by SCM_RIGHTS. Node offers that
 * only between its own processes; libuv does it for every pipe opened as a channel.
 */
export class DescriptorSocket {
  private readonly pipe: WritingPipe | null = null
  private readonly socket: Socket | null = null
  private readonly queue: Sending[] = []
  private sending: Sending | null = null
  private emptied: (() => void)[] = []
  private over = false
  private closePipe: () => void = () => {}

  /**
   * Takes over the descriptor; reads nothing before `resume`. It stays open until `close`, whatever fails: who waits for
   * the end of this process at the other end does not see one, and the number does not become another's. One that is no
   * socket is as one whose other end is gone.
   */
  constructor(
    fd: number,
    private readonly listener: DescriptorSocketListener,
  ) {
    if (!fstatSync(fd).isSocket()) {
      queueMicrotask(() => this.end())
      return
    }
    this.pipe = newPipeHandle('channel') as WritingPipe
    const failure = this.pipe.open(fd)
    if (failure !== 0) throw new Error(`descriptor ${fd} cannot be polled: ${getSystemErrorName(failure)}`)
    this.socket = this.socketOver(this.pipe)
    this.addDescriptors(this.pipe)
    this.keepOpen(this.pipe)
  }

  /**
   * Sends `text`, in order with all else, and `descriptor` with it. Resolves when the kernel has it: what the process does
   * afterwards does not matter to it. False where the socket or, before its turn came, the descriptor was closed.
   *
   * Close no descriptor that has not been sent yet: where the kernel was full at its turn, that ends the socket.
   */
  send(text: string, descriptor?: PipeHandle): Promise<boolean> {
    if (this.over || this.socket === null) return Promise.resolve(false)
    return new Promise((done) => {
      this.queue.push({ text, descriptor, done })
      this.sendNext()
    })
  }

  /** Resolves when the kernel has everything, or nothing more can be sent. */
  flushed(): Promise<void> {
    const isIdle = this.sending === null && this.queue.length === 0
    return isIdle ? Promise.resolve() : new Promise((resolve) => this.emptied.push(resolve))
  }

  /** When this returns, nothing more is read and nothing that was read is still to be told. Safe to call twice. */
  pause(): void {
    if (this.over || this.pipe === null || !this.pipe.reading) return
    this.pipe.reading = false
    this.pipe.readStop()
  }

  /** Safe to call twice. */
  resume(): void {
    if (this.over || this.pipe === null || this.pipe.reading) return
    this.pipe.reading = true
    this.pipe.readStart()
  }

  /** Closes this process's descriptor, without a word to the other end: others may hold it too. Safe to call twice. */
  close(): void {
    this.over = true
    this.socket?.destroy()
    this.closePipe()
    this.giveUp()
  }

  private socketOver(pipe: WritingPipe): Socket {
    const options = {
      handle: pipe,
      readable: true,
      writable: true,
      manualStart: true,
      allowHalfOpen: true,
      onread: {
        buffer: Buffer.allocUnsafeSlow(16 * 1024),
        callback: (length: number, bytes: Buffer) => {
          if (!this.over) this.listener.data(bytes.subarray(0, length))
          return true
        },
      },
    }
    return new Socket(options as ConstructorParameters<typeof Socket>[0])
      .on('end', () => this.end())
      .on('error', () => this.end())
  }

  private end(): void {
    if (this.over) return
    this.over = true
    this.giveUp()
    this.listener.ended()
  }

  private giveUp(): void {
    for (const { done } of this.queue.splice(0)) done(false)
    for (const resolve of this.emptied.splice(0)) resolve()
  }

  // One at a time: a socket that is given more joins the texts, and a descriptor belongs to one.
  private sendNext(): void {
    if (this.sending !== null || this.over) return
    const next = this.queue.shift()
    if (next === undefined) {
      for (const resolve of this.emptied.splice(0)) resolve()
      return
    }
    if (next.descriptor !== undefined && next.descriptor.fd < 0) {
      next.done(false)
      this.sendNext()
      return
    }
    this.sending = next
    this.socket!.write(next.text, 'utf8', (error) => {
      this.sending = null
      next.done(!error)
      this.sendNext()
    })
  }

  // A socket closes its handle after an error.
  private keepOpen(pipe: WritingPipe): void {
    const close = pipe.close
    pipe.close = () => {}
    this.closePipe = () => {
      this.closePipe = () => {}
      close.call(pipe)
    }
  }

  private addDescriptors(pipe: WritingPipe): void {
    const write = pipe.writeUtf8String
    pipe.writeUtf8String = (request, text) => {
      const descriptor = this.sending?.descriptor
      if (descriptor === undefined) return write.call(pipe, request, text)
      const result = write.call(pipe, request, text, descriptor)
      // libuv's wrapper notes there what it sends, and Node looks there for who sent it. Node 26 sets it by itself, later.
      if (request !== null) request.handle = pipe
      return result
    }
  }
}
