import { InstarError } from './errors.ts'
import type { DaemonAsked, ManagedDaemon } from './managed-daemon.ts'
import { abortable, pause } from './runtime/pause.ts'
import { processEntry } from './runtime/processes.ts'
import { connectDaemon, type DaemonClient, type Session } from './sessions/client.ts'
import { findDaemon } from './sessions/find-daemon.ts'
import type { ParamsOf, SessionInfo } from './sessions/protocol.ts'

/** The kernel closes the connections of a process before it is gone, so they are about to be told of. */
const endHeardWithinMs = 1000

/**
 * The sessions of one daemon, through a connection that is made when it is first needed. Every call rejects with the reason
 * of its signal.
 */
export class ManagedSessions {
  private connecting: Promise<DaemonClient> | null = null
  private connected: DaemonClient | null = null

  constructor(private readonly daemon: ManagedDaemon) {}

  /**
   * Begins a session; starts the daemon where none runs.
   *
   * @throws {InstarError} `SESSION_EXISTS`, `SESSION_CWD_INVALID`, `SESSION_COMMAND_INVALID`, `SESSION_LIMIT`,
   *   `PARAMETERS_INVALID`; `DAEMON_GONE` where nobody knows whether it has begun; and what starting a daemon fails with.
   */
  async open(params: ParamsOf<'open'> = {}, asked: DaemonAsked = {}): Promise<Session> {
    asked.signal?.throwIfAborted()
    if (!(await this.isServed())) {
      await abortable(this.daemon.start(), asked.signal)
      await this.endHeard(asked.signal)
    }
    return (await this.client(asked)).open(params, asked)
  }

  /** Every session that is open, and those that ended a short while ago. None where no daemon runs. */
  async list(asked: DaemonAsked = {}): Promise<readonly SessionInfo[]> {
    try {
      return await (await this.client(asked)).list(asked)
    } catch (error) {
      if (error instanceof InstarError && error.code === 'DAEMON_NOT_RUNNING') return []
      throw error
    }
  }

  /**
   * A session that is open already.
   *
   * @throws {InstarError} `SESSION_UNKNOWN`, `DAEMON_NOT_RUNNING`.
   */
  async get(id: string, asked: DaemonAsked = {}): Promise<Session> {
    return (await this.client(asked)).session(id, asked)
  }

  /**
   * A connection of its own, which is the caller's to close: for one that attaches, so that no other output holds it up.
   *
   * @throws {InstarError} `DAEMON_NOT_RUNNING`, and what {@link connectDaemon} throws.
   */
  connect({ signal }: DaemonAsked = {}): Promise<DaemonClient> {
    // A keeper goes on listening when its daemon has died; where nobody does, none is about to come.
    return connectDaemon({ path: () => this.find(), reconnect: { whileAbsent: false }, signal })
  }

  /** Leaves the daemon and its sessions running. */
  async close(): Promise<void> {
    const { connecting } = this
    this.connecting = null
    await connecting?.then(
      (client) => client.close(),
      () => {}, // it never came about
    )
  }

  /** That a process has ended is known a moment before its connections are heard to be closed. */
  private async isServed(): Promise<boolean> {
    const { connected } = this
    return connected?.isConnected === true && (await processEntry(connected.daemon.pid)) !== undefined
  }

  /** What is asked on a connection before it is heard that the process at its other end is gone would be lost. */
  private async endHeard(signal: AbortSignal | undefined): Promise<void> {
    for (let waitedMs = 0; waitedMs < endHeardWithinMs && this.connected?.isConnected === true; waitedMs += 1) {
      if (await this.isServed()) return
      await pause(1, signal)
    }
  }

  /** @throws {InstarError} `DAEMON_NOT_RUNNING`, and what {@link connectDaemon} throws. */
  private async client(asked: DaemonAsked): Promise<DaemonClient> {
    asked.signal?.throwIfAborted()
    this.connecting ??= this.share().catch((error) => {
      this.connecting = null
      throw error
    })
    return abortable(this.connecting, asked.signal)
  }

  private async share(): Promise<DaemonClient> {
    const client = await this.connect()
    client.onEvent(({ type }) => {
      // What is asked next begins anew.
      if (type === 'gone') this.connecting = null
    })
    this.connected = client
    return client
  }

  /** @throws {InstarError} `DAEMON_NOT_RUNNING` */
  private async find(): Promise<string> {
    const path = await findDaemon(this.daemon.directory)
    if (path === undefined) throw new InstarError('DAEMON_NOT_RUNNING', `no daemon ${this.daemon.name} runs`)
    return path
  }
}
