import { connect, type Socket } from 'node:net'
import {
  CancellationTokenSource,
  createMessageConnection,
  type MessageConnection,
  ResponseError,
} from 'vscode-jsonrpc/node'
import * as z from 'zod'
import { type ErrorRecord, errorFrom, InstarError } from '../errors.ts'
import { packageVersion } from '../package-info.ts'
import { findAddress } from './address.ts'
import type { VerbName, VerbParams, VerbResult } from './verbs.ts'
import {
  answerBytesMax,
  controlProtocol,
  type Hello,
  helloAnswer,
  LineReader,
  LineWriter,
  progressType,
  requestBytesMax,
} from './wire.ts'

const helloTimeoutMs = 5000

export interface Asking {
  readonly signal?: AbortSignal
  readonly onProgress?: (data: unknown) => void | Promise<void>
}

export interface ControlClient extends AsyncDisposable {
  /** Who answered. */
  readonly controller: Hello
  /**
   * Asks the controller to perform a verb. When `signal` aborts, the controller is told and its answer still awaited, for
   * only it knows what came of it.
   *
   * @throws {InstarError} what the verb failed with, as the controller saw it; `CONTROLLER_GONE` when it ended before it answered.
   */
  perform<Name extends VerbName>(verb: Name, params: VerbParams<Name>, asking?: Asking): Promise<VerbResult<Name>>
  /**
   * Tells the controller something to which there is no answer. Resolves when the system has taken it.
   *
   * @throws {InstarError} `CONTROLLER_GONE`
   */
  tell<Name extends VerbName>(verb: Name, params: VerbParams<Name>): Promise<void>
  close(): Promise<void>
}

const errorData = z.object({
  name: z.string(),
  message: z.string(),
  code: z.string().optional(),
  hint: z.string().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
})

/**
 * Connects to the controller that runs on `home`; undefined where none does.
 *
 * @throws {InstarError} `CONTROL_DENIED`, `CONTROLLER_SILENT`, `CONTROLLER_BUSY`; `CONTROL_VERSION` where the two cannot
 * understand each other, saying which is older.
 */
export async function connectControl(home: string): Promise<ControlClient | undefined> {
  const address = await findAddress(home)
  const socket = address === undefined ? undefined : await dial(address)
  if (socket === undefined) return undefined
  const connection = createMessageConnection(
    new LineReader(socket, answerBytesMax),
    new LineWriter(socket, requestBytesMax),
  )
  // Disposing is what rejects the requests that are still open.
  socket.once('close', () => connection.dispose())
  connection.onError(() => {}) // what it means for a request, the request says
  connection.listen()
  try {
    const controller = await greet(connection)
    return clientOf(socket, connection, controller)
  } catch (error) {
    socket.destroy()
    throw error
  }
}

function dial(address: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(address)
    const onError = (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined)
      else if (error.code === 'EACCES' || error.code === 'EPERM')
        reject(new InstarError('CONTROL_DENIED', `you may not connect to ${address}`, { cause: error }))
      else if (error.code === 'EAGAIN')
        reject(new InstarError('CONTROLLER_BUSY', `nobody accepts on ${address}`, { cause: error }))
      else reject(error)
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      socket.off('error', onError)
      resolve(socket)
    })
  })
}

async function greet(connection: MessageConnection): Promise<Hello> {
  let timer: NodeJS.Timeout | undefined
  const silent = new Promise<never>((_, reject) => {
    const late = new InstarError('CONTROLLER_SILENT', `the controller did not say hello within ${helloTimeoutMs} ms`)
    timer = setTimeout(() => reject(late), helloTimeoutMs)
  })
  const said = connection.sendRequest<unknown>('hello', { protocol: controlProtocol, version: packageVersion })
  const answer = await Promise.race([said, silent])
    .catch((error) => {
      throw fromWire(error)
    })
    .finally(() => clearTimeout(timer))
  const hello = helloAnswer.safeParse(answer)
  if (!hello.success) throw new InstarError('CONTROL_INVALID', 'what answers there is no controller')
  const { protocol, version } = hello.data
  if (protocol !== controlProtocol) {
    const which = protocol < controlProtocol ? 'older' : 'newer'
    throw new InstarError(
      'CONTROL_VERSION',
      `the controller (${version}) is ${which} than this command (${packageVersion})`,
      {
        details: { controller: version, command: packageVersion },
      },
    )
  }
  return hello.data
}

function clientOf(socket: Socket, connection: MessageConnection, controller: Hello): ControlClient {
  let tokens = 0
  const close = async () => {
    if (socket.destroyed) return
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve())
      socket.destroy()
    })
  }
  return {
    controller,
    async perform(verb, params, { signal, onProgress } = {}) {
      signal?.throwIfAborted()
      tokens += 1
      const token = tokens
      const cancellation = new CancellationTokenSource()
      const cancel = () => cancellation.cancel()
      signal?.addEventListener('abort', cancel, { once: true })
      const progress = connection.onProgress(progressType, token, async (data) => onProgress?.(data))
      try {
        return await connection.sendRequest<any>(verb, { params, progress: token }, cancellation.token)
      } catch (error) {
        throw fromWire(error)
      } finally {
        progress.dispose()
        signal?.removeEventListener('abort', cancel)
      }
    },
    async tell(verb, params) {
      await connection.sendNotification(verb, { params }).catch((error) => {
        throw fromWire(error)
      })
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Gives an error its class back. Without an error record it did not come from a verb: the connection failed. */
function fromWire(error: unknown): unknown {
  if (error instanceof InstarError) return error
  const data = error instanceof ResponseError ? errorData.safeParse(error.data) : undefined
  if (data?.success) return errorFrom(data.data as ErrorRecord)
  return new InstarError('CONTROLLER_GONE', 'the controller ended before it answered', { cause: error })
}
