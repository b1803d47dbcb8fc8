import { writevSync } from 'node:fs'
import { Socket } from 'node:net'

/**
 * Node's own handle around a descriptor that libuv polls. No public interface opens one on a terminal's master: `tty`
 * writes to it blocking, `net.Socket` refuses it, and `fs` takes a thread for it.
 */
export interface PipeHandle {
  readonly fd: number
  /** How many bytes have been read through it. */
  readonly bytesRead: number
  /** How many bytes were given to it, with those that libuv still queues. */
  readonly bytesWritten: number
  /** How many of them the kernel has not taken. */
  readonly writeQueueSize: number
  /** What a `net.Socket` around the handle believes. */
  reading?: boolean
  /** Called after each read; with {@link useUserBuffer} the bytes are there. */
  onread: () => void
  /** 0, else a negative error number. The descriptor is made non-blocking, and is the handle's to close. */
  open(fd: number): number
  readStart(): number
  readStop(): number
  /** The caller keeps the buffer alive as long as the handle may read. */
  useUserBuffer(buffer: Uint8Array): void
  close(done?: () => void): void
}

/** The handle that a socket uses; null when it has closed it. */
export const pipeOf = (socket: Socket) => (socket as unknown as { readonly _handle: PipeHandle | null })._handle

// One for all: libuv fills it and calls back before anything else is read.
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024)

/**
 * Gives what arrives to `take`, which may use the bytes only during the call, and leaves the socket to tell its end and its
 * errors. Memory and events of its own for each keystroke would take longer than all else that is done for it.
 */
export function receiveDirectly(socket: Socket, take: (bytes: Buffer) => void): void {
  const pipe = pipeOf(socket)
  if (pipe === null) return // it ended before it could be listened to
  const toSocket = pipe.onread
  let seen = pipe.bytesRead
  pipe.useUserBuffer(readBuffer)
  pipe.onread = function (this: PipeHandle, ...told: []) {
    const length = pipe.bytesRead - seen
    seen += length
    if (length > 0) take(readBuffer.subarray(0, length))
    else toSocket.apply(this, told)
  }
  socket.resume()
}

/** Nothing more arrives until {@link goOnReceiving}. The socket's own `pause` would not stop what is received directly. */
export function stopReceiving(socket: Socket): void {
  const pipe = pipeOf(socket)
  if (pipe === null) return
  pipe.reading = false
  pipe.readStop()
}

export function goOnReceiving(socket: Socket): void {
  const pipe = pipeOf(socket)
  if (pipe === null) return
  pipe.reading = true
  pipe.readStart()
}

/**
 * Sends without the socket's own queue, which has to be empty. Returns what the kernel did not take at once; null where nobody
 * is there any more to take anything, which the socket will say, too.
 */
export function sendDirectly(socket: Socket, parts: readonly Buffer[]): readonly Buffer[] | null {
  const pipe = pipeOf(socket)
  if (pipe === null) return null
  let taken: number
  try {
    taken = writevSync(pipe.fd, parts)
  } catch (error) {
    return gone.has((error as NodeJS.ErrnoException).code!) ? null : parts
  }
  return parts.map((part) => {
    const rest = part.subarray(taken)
    taken = Math.max(0, taken - part.length)
    return rest
  })
}

const gone: ReadonlySet<string> = new Set(['EPIPE', 'ECONNRESET', 'ENOTCONN'])

interface PipeConstructor {
  new (type: number): PipeHandle
}

/** Values of libuv's wrapper, the same since Node 8. */
const types = { stream: 0, channel: 2 } as const

let known: PipeConstructor | undefined

/** A handle without a descriptor. Through a `channel` descriptors can be sent. */
export function newPipeHandle(type: keyof typeof types): PipeHandle {
  known ??= pipeConstructor()
  return new known(types[type])
}

/** `connect` makes the handle before it tries; what it is given is no socket, so that it reaches nobody. */
function pipeConstructor(): PipeConstructor {
  const socket = new Socket().on('error', () => {}) // it cannot succeed
  socket.connect({ path: '/dev/null' })
  const { _handle: handle } = socket as unknown as { _handle: { constructor: PipeConstructor } }
  socket.destroy()
  return handle.constructor
}
