import { InstarError } from './errors.ts'
import type { ManagedDaemon } from './managed-daemon.ts'
import { connectDaemon, type DaemonClient, type Session } from './sessions/client.ts'
import { findDaemon } from './sessions/daemon-place.ts'
import type { ParamsOf, SessionInfo } from './sessions/protocol.ts'

/** The sessions of one daemon, through a connection that is made when it is first needed. */
export class ManagedSessions {
  private connected: Promise<DaemonClient> | null = null

  constructor(private readonly daemon: ManagedDaemon) {}

  /**
   * Begins a session; starts the daemon where none runs.
   *
   * @throws {InstarError} `SESSION_EXISTS`, `SESSION_CWD_INVALID`, `SESSION_COMMAND_INVALID`, `SESSION_LIMIT`, and what
   *   starting a daemon fails with.
   */
  async open(params: ParamsOf<'open'> = {}): Promise<Session> {
    return (await this.client({ start: true })).open(params)
  }

  /** Every session that is open, and those that ended a short while ago. None where no daemon runs. */
  async list(): Promise<readonly SessionInfo[]> {
    if ((await findDaemon(this.daemon.directory)) === undefined) return []
    try {
      return await (await this.client()).list()
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
  async get(id: string): Promise<Session> {
    return (await this.client()).session(id)
  }

  /** Leaves the daemon and its sessions running. */
  async close(): Promise<void> {
    const { connected } = this
    this.connected = null
    await connected?.then(
      (client) => client.close(),
      () => {}, // it never came about
    )
  }

  private client({ start = false } = {}): Promise<DaemonClient> {
    this.connected ??= this.connect(start).catch((error) => {
      this.connected = null
      throw error
    })
    return this.connected
  }

  private async connect(start: boolean): Promise<DaemonClient> {
    if (start) await this.daemon.start()
    const path = await findDaemon(this.daemon.directory)
    if (path === undefined) throw new InstarError('DAEMON_NOT_RUNNING', `no daemon ${this.daemon.name} runs`)
    const client = await connectDaemon({ path })
    client.onEvent(({ type }) => {
      // It tried for as long as it may. What is asked next begins anew.
      if (type === 'gone') this.connected = null
    })
    return client
  }
}
