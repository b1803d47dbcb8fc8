import { chmod, lstat, readlink, rename, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import {
  type CancellationToken,
  createMessageConnection,
  type MessageConnection,
  ResponseError,
} from 'vscode-jsonrpc/node'
import { errorRecord, InstarError } from '../errors.ts'
import { packageVersion } from '../package-info.ts'
import { removePrivate } from '../socket-path.ts'
import { answers, controlName, type Draft, draftAddress, findAddress, pipeName, removeDeadAddress } from './address.ts'
import { isEndless, isTold, performVerb, type Served } from './verbs.ts'
import {
  answerBytesMax,
  controlProtocol,
  type Hello,
  helloRequest,
  LineReader,
  LineWriter,
  progressType,
  requestBytesMax,
  unreadBytesMax,
  verbRequest,
  verbTold,
} from './wire.ts'

const clientsMax = 64
const verbsPerClientMax = 32
const helloTimeoutMs = 5000
/** How long `close` waits for aborted verbs to end, and then for their answers to be read. */
const endMs = 5000
const unreadMs = 500

/** JSON-RPC leaves -32000 to -32099 to the application; what happened is in `data`. */
const failed = -32000

export interface ControlServer extends AsyncDisposable {
  readonly address: string
  /** Waiting for clients no longer keeps the process alive; one that is connected does. */
  unref(): void
  /** Lets nobody new in and resolves when what the connected ones asked for is done. Followers are sent away. */
  drain(signal: AbortSignal): Promise<void>
  /** Aborts what clients still wait for, closes their connections and removes the socket. */
  close(): Promise<void>
}

interface Verb {
  readonly name: string
  readonly abort: AbortController
  readonly done: Promise<unknown>
}

interface Client {
  readonly socket: Socket
  readonly verbs: Set<Verb>
}

/** What all clients of one server share. */
interface Service {
  readonly controller: Served
  readonly clients: Set<Client>
  readonly log: (message: string) => void
  /** Set once nothing new is begun. */
  closing: boolean
}

/**
 * Serves a controller's verbs on its home's control socket, to this user only: the socket has mode 0600 in a directory
 * of mode 0700. The socket of a dead controller is replaced; a live one's is not touched.
 *
 * Call it only while holding the home, and close it before giving the home back.
 *
 * @throws {InstarError} `HOME_LOCKED` where another process answers on the socket.
 */
export async function serveControl(
  controller: Served,
  log: (message: string) => void = () => {},
): Promise<ControlServer> {
  const service: Service = { controller, clients: new Set(), log, closing: false }
  const server = createServer((socket) => serveClient(service, socket))
  server.maxConnections = 2 * clientsMax
  const place = await listen(server, controller.home)
  server.on('error', (error) => log(`control socket: ${error.message}`)) // out of descriptors, say; it goes on accepting
  let stopping: Promise<void> | undefined
  const stopListening = async () => {
    await place.remove()
    stopping ??= new Promise((resolve) => server.close(() => resolve()))
  }
  const underWay = () => [...service.clients].flatMap((client) => [...client.verbs])

  const drain = async (signal: AbortSignal) => {
    await stopListening()
    for (const verb of underWay()) if (isEndless(verb.name)) verb.abort.abort(stopped())
    const aborted = new Promise<void>((resolve) => {
      if (signal.aborted) resolve()
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
    for (let verbs = underWay(); verbs.length > 0 && !signal.aborted; verbs = underWay())
      await Promise.race([Promise.allSettled(verbs.map(({ done }) => done)).then(nextTurn), aborted])
  }

  const close = async () => {
    service.closing = true
    await stopListening()
    const verbs = underWay()
    for (const { abort } of verbs) abort.abort(stopped())
    await within(endMs, Promise.allSettled(verbs.map(({ done }) => done)).then(nextTurn))
    for (const { socket } of service.clients) socket.destroySoon()
    // A client that does not read would keep its socket, and us, open.
    await within(unreadMs, stopping)
    for (const { socket } of service.clients) socket.destroy()
    await stopping
  }
  let closed: Promise<void> | undefined
  const closeOnce = () => {
    closed ??= close()
    return closed
  }
  const unref = () => void server.unref()
  return { address: place.address, unref, drain, close: closeOnce, [Symbol.asyncDispose]: closeOnce }
}

/** Lets the answers of verbs that have just ended reach their sockets. */
const nextTurn = () => setImmediate()

/** Waits for `work`, but no longer than `ms`. */
async function within(ms: number, work: Promise<unknown> | undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([work, late])
  clearTimeout(timer)
}

function stopped(): InstarError {
  return new InstarError('CONTROLLER_GONE', 'the controller has stopped')
}

// ---- the socket's place

interface Place {
  readonly address: string
  remove(): Promise<void>
}

async function listen(server: Server, home: string): Promise<Place> {
  if (process.platform === 'win32') {
    const address = pipeName(home)
    await bind(server, address, home)
    return { address, remove: async () => {} } // a pipe is gone with its server
  }
  const draft = await draftAddress(home)
  try {
    await bind(server, draft.address, home)
    await chmod(draft.address, 0o600)
    await takeOver(home, draft)
  } catch (error) {
    server.close()
    await rm(draft.path, { force: true })
    await removePrivate(draft.address)
    throw error
  }
  return placeOf(home, draft)
}

function bind(server: Server, address: string, home: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') reject(new InstarError('HOME_LOCKED', `another process answers for ${home}`))
      else reject(new InstarError('HOME_UNUSABLE', `cannot listen on ${address}`, { cause: error }))
    }
    server.once('error', onError)
    server.listen(address, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

async function takeOver(home: string, draft: Draft): Promise<void> {
  const old = await findAddress(home)
  // The home's lock says that its owner is dead. If it answers all the same, the lock is wrong and the answer is right.
  if (old !== undefined && (await answers(old)))
    throw new InstarError('HOME_LOCKED', `another process answers on ${old}`)
  await removeDeadAddress(home)
  await rename(draft.path, join(home, controlName))
}

async function placeOf(home: string, draft: Draft): Promise<Place> {
  const path = join(home, controlName)
  const { ino } = await lstat(path)
  const address = draft.path === draft.address ? path : draft.address
  let removed = false
  return {
    address,
    async remove() {
      if (removed) return
      removed = true
      const now = await lstat(path).catch(() => undefined) // gone is what we want
      if (now?.ino === ino) await rm(path, { force: true })
      if (draft.path !== draft.address) await removePrivate(await readlink(path).catch(() => draft.address))
    },
  }
}

// ---- one client

function serveClient(service: Service, socket: Socket): void {
  const { controller, clients, log } = service
  const client: Client = { socket, verbs: new Set() }
  const isBusy = clients.size >= clientsMax
  let greeted = false
  // One that is sent away is cut by this too, if it does not go by itself.
  const impatient = setTimeout(() => socket.destroy(), helloTimeoutMs)
  const reader = new LineReader(socket, requestBytesMax)
  const connection = createMessageConnection(reader, new LineWriter(socket, answerBytesMax))
  clients.add(client)
  socket.once('close', () => {
    clearTimeout(impatient)
    clients.delete(client)
    connection.dispose()
    for (const { abort } of client.verbs) abort.abort(new InstarError('ABORTED', 'the one who asked has gone'))
  })
  connection.onError(([error]) => log(`control client: ${error.message}`))
  connection.onRequest(async (method: string, params: unknown, token: CancellationToken) => {
    try {
      if (method === 'hello') {
        if (isBusy) throw new InstarError('CONTROLLER_BUSY', `the controller serves ${clientsMax} clients already`)
        const answer = greet(params, controller.home)
        greeted = true
        clearTimeout(impatient)
        return answer
      }
      if (!greeted) throw new InstarError('CONTROL_INVALID', 'the first request must be hello')
      return (await performFor(service, client, connection, method, params, token)) ?? null
    } catch (error) {
      const record = errorRecord(error)
      return new ResponseError(failed, record.message, record)
    }
  })
  connection.onNotification((method: string, params: unknown) => {
    if (greeted) hear(service, method, params).catch((error) => log(`control client: ${String(error)}`))
  })
  connection.listen()
}

function greet(params: unknown, home: string): Hello {
  const hello = helloRequest.safeParse(params)
  if (!hello.success) throw new InstarError('CONTROL_INVALID', 'hello must say protocol and version')
  return { protocol: controlProtocol, version: packageVersion, pid: process.pid, home }
}

/** What nobody waits for takes no more than its own moment: it has no progress, and nothing that would abort it. */
async function hear({ controller, closing }: Service, name: string, told: unknown): Promise<void> {
  const { data } = verbTold.safeParse(told)
  if (closing || data === undefined || !isTold(name)) return
  await performVerb(controller, name, data.params, unattended)
}

const unattended = { signal: new AbortController().signal, progress() {}, async deliver() {} }

async function performFor(
  { controller, closing }: Service,
  client: Client,
  connection: MessageConnection,
  name: string,
  request: unknown,
  token: CancellationToken,
): Promise<unknown> {
  if (closing) throw new InstarError('CONTROLLER_GONE', 'the controller is stopping', { details: { begun: false } })
  if (client.verbs.size >= verbsPerClientMax)
    throw new InstarError('CONTROLLER_BUSY', `one client may ask for ${verbsPerClientMax} things at a time`)
  const parsed = verbRequest.safeParse(request)
  if (!parsed.success) throw new InstarError('CONTROL_INVALID', `${name} came without params and progress`)
  const { params, progress: progressToken } = parsed.data
  const abort = new AbortController()
  const cancel = () => abort.abort(new InstarError('ABORTED', 'cancelled'))
  if (token.isCancellationRequested) cancel()
  token.onCancellationRequested(cancel)
  const deliver = async (part: unknown) => {
    await connection.sendProgress(progressType, progressToken, part)
  }
  const progress = (data: unknown) => {
    if (client.socket.destroyed || client.socket.writableLength > unreadBytesMax) return
    deliver(data).catch(() => {}) // it has gone, and the close of its socket aborts the verb
  }
  const done = performVerb(controller, name, params, { signal: abort.signal, progress, deliver })
  const verb: Verb = { name, abort, done }
  client.verbs.add(verb)
  try {
    return await done
  } finally {
    client.verbs.delete(verb)
  }
}
