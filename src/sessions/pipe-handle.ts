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
