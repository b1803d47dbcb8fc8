import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import type { Notification } from '@modelcontextprotocol/sdk/types.js'
import type { AppProcess } from '../../machines/index.ts'
import type { Child } from '../../machines/runtime-launch.ts'
import { InstarError } from '../errors.ts'
import { packageVersion } from '../package-info.ts'
import type { ReleaseRef } from '../releases/layout.ts'
import { type ChildSpec, exitOf, pipesOf, startChild, stopChild } from '../runtime/child.ts'
import { lastOutput, reasonIn } from '../runtime/output.ts'
import { abortable, pause } from '../runtime/pause.ts'
import { setSessionNiceness } from '../runtime/processor-share.ts'
import { Catalog, kinds } from './catalog.ts'
import { judgesNothing } from './judges-nothing.ts'
import { PipeTransport } from './pipe-transport.ts'

export interface AppStart {
  /** How messages name it: `files in acme`. */
  readonly name: string
  readonly release: ReleaseRef
  readonly child: Omit<ChildSpec, 'port' | 'pipes' | 'niceness' | 'signal'>
  readonly handshakeTimeoutMs: number
  /** Another process serves meanwhile: until this one does, too, that and all others go first where processors are short. */
  readonly isSuccessor: boolean
  readonly signal: AbortSignal
}

const healthEveryMs = 30_000
const healthTimeoutMs = 15_000
/** Between asking a process to end, by closing its input, and a signal; and between that and force. */
const graceMs = 2_000
const learnMs = 1_000
const successorNiceness = 10
const comeForwardEveryMs = 100

/** One process of an app, and the conversation with it. */
export class AppConnection {
  private inFlight = 0
  readonly catalog: Catalog
  /** What it says without being asked. */
  onNotification: (notification: Notification) => void = () => {}
  private idle: (() => void) | null = null
  /** Resolves with why, when it serves nobody any more. */
  readonly ended: Promise<InstarError>
  private end!: (why: InstarError) => void
  /** Resolves when nothing more can be asked of it, which is a little before it has ended. */
  readonly closed: Promise<void>

  private constructor(
    private readonly name: string,
    private readonly child: Child,
    readonly client: Client,
    readonly process: AppProcess,
  ) {
    this.catalog = new Catalog(client)
    client.fallbackNotificationHandler = async (notification) => {
      this.catalog.forget(notification.method)
      this.onNotification(notification)
    }
    this.ended = new Promise((resolve) => {
      this.end = resolve
    })
    this.closed = new Promise((resolve) => {
      client.onclose = resolve
    })
  }

  /**
   * Starts a process and waits until it has answered the handshake, and for a moment for what it offers, so that the first
   * call of it does not have to ask. On failure it has ended, and nothing of it is left.
   *
   * @throws {InstarError} `APP_START_FAILED`: it ended, with the last lines it printed in the details;
   *   `APP_HANDSHAKE_TIMEOUT`; `APP_HANDSHAKE_FAILED`: it answered, but not as an MCP server; `RUNTIME_SPAWN_FAILED`;
   *   `ABORTED`.
   */
  static async open(start: AppStart): Promise<AppConnection> {
    const { name, release, isSuccessor, signal } = start
    const niceness = isSuccessor ? successorNiceness : 0
    const { child } = await startChild({ ...start.child, port: 0, pipes: true, niceness, signal })
    const pipes = pipesOf(child)
    // Started under this key by a controller that is gone: nobody can speak to it any more.
    if (pipes === null) {
      await stopChild(child)
      return AppConnection.open(start)
    }
    const client = new Client(
      { name: 'instar', version: packageVersion },
      { capabilities: {}, jsonSchemaValidator: judgesNothing },
    )
    const connection = new AppConnection(name, child, client, { ...release, pid: child.pid, key: child.key })
    const transport = new PipeTransport(pipes.stdout, pipes.stdin)
    try {
      await connection.shakeHands(transport, start)
      await connection.learn(signal)
      void connection.watch()
      if (isSuccessor) void connection.comeForward()
      return connection
    } catch (error) {
      await stopChild(child, { graceMs: 0 })
      throw error
    }
  }

  /** Does `work` with it; until that has ended the process is not ended for a replacement. */
  async use<T>(work: (connection: AppConnection) => Promise<T>): Promise<T> {
    this.inFlight += 1
    try {
      return await work(this)
    } finally {
      this.inFlight -= 1
      if (this.inFlight === 0) this.idle?.()
    }
  }

  /** Resolves when nothing is in flight, at the latest after `withinMs`. */
  async drained(withinMs: number, signal: AbortSignal): Promise<void> {
    if (this.inFlight === 0) return
    const idle = new Promise<void>((resolve) => {
      this.idle = resolve
    })
    await Promise.race([idle, this.ended, pause(withinMs, signal)])
  }

  /** Ends the process, which has 2 s to end by itself when its input has ended. Fine to call twice. @throws {InstarError} `RUNTIME_UNSTOPPABLE` */
  async close(): Promise<void> {
    this.end(new InstarError('APP_STOPPED', `${this.name} was stopped`))
    await this.client.close().catch(() => {}) // it is about to be ended anyway
    await Promise.race([exitOf(this.child), pause(graceMs)])
    await stopChild(this.child, { graceMs })
  }

  /** The last lines it has printed beside its messages. */
  async log(): Promise<string> {
    return (await lastOutput(this.child.record)).stderr
  }

  private async shakeHands(transport: PipeTransport, { handshakeTimeoutMs, signal }: AppStart): Promise<void> {
    const exit = exitOf(this.child).then(async (ended) => {
      throw await this.exited(ended)
    })
    try {
      await abortable(
        Promise.race([this.client.connect(transport, { timeout: handshakeTimeoutMs, signal }), exit]),
        signal,
      )
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof InstarError) throw error
      const isLate = (error as { code?: unknown }).code === -32001
      // A process that ends closes its side first; what it said is the better reason.
      if (!isLate) await Promise.race([exit, pause(500)])
      throw new InstarError(
        isLate ? 'APP_HANDSHAKE_TIMEOUT' : 'APP_HANDSHAKE_FAILED',
        isLate ? `${this.name} has not answered within ${handshakeTimeoutMs} ms` : `${this.name} does not speak MCP`,
        { cause: error, details: { output: await this.log() } },
      )
    } finally {
      exit.catch(() => {}) // told where it mattered
    }
  }

  /** One that has not answered yet is asked again by whoever wants to know. */
  private async learn(signal: AbortSignal): Promise<void> {
    const learnt = Promise.allSettled(kinds.map((kind) => this.catalog.list(kind)))
    await Promise.race([learnt, this.closed, pause(learnMs, signal, true)])
  }

  /** Nobody goes first any more. */
  private async comeForward(): Promise<void> {
    let isOver = false
    void this.closed.then(() => {
      isOver = true
    })
    while (!isOver && !(await setSessionNiceness(this.child.pid, 0))) await pause(comeForwardEveryMs, undefined, true)
  }

  private async watch(): Promise<void> {
    const exit = exitOf(this.child).then((ended) => this.exited(ended))
    const mute = this.closed.then(async () => {
      await pause(graceMs, undefined, true)
      return new InstarError('APP_UNHEALTHY', `${this.name} has closed its side, and did not end`)
    })
    const closing = this.ended.then(() => null)
    const why = await Promise.race([exit, closing, mute, this.unhealthy()])
    // Whoever closes it gives it time to end by itself.
    if (why === null) return
    this.end(why)
    await stopChild(this.child, { graceMs }).catch(() => {}) // it is told as ended in any case
  }

  /** Resolves when it does not answer any more. */
  private async unhealthy(): Promise<InstarError> {
    let isOver = false
    void this.ended.then(() => {
      isOver = true
    })
    for (;;) {
      await pause(healthEveryMs, undefined, true)
      if (isOver) return this.ended
      try {
        await this.client.ping({ timeout: healthTimeoutMs })
      } catch (cause) {
        if ((cause as { code?: unknown }).code === -32601) continue // not to know the question is an answer
        if (!isOver) return new InstarError('APP_UNHEALTHY', `${this.name} does not answer any more`, { cause })
      }
    }
  }

  private async exited({ code, signal }: { code: number | null; signal: string | null }): Promise<InstarError> {
    const output = await lastOutput(this.child.record)
    const how = signal === null ? `ended with code ${code}` : `was ended by ${signal}`
    const why = reasonIn(output)
    return new InstarError('APP_START_FAILED', `${this.name} ${how}${why === '' ? '' : `: ${why}`}`, {
      details: { code, signal, output: output.stderr },
    })
  }
}
