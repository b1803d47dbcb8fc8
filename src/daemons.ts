import type { SessionsConfig } from './config.ts'
import { exists } from './disk.ts'
import { InstarError } from './errors.ts'
import { type DaemonHost, ManagedDaemon } from './managed-daemon.ts'
import { ManagedSessions } from './managed-sessions.ts'
import { didYouMean } from './nearest.ts'

/** The session daemons of a configuration, by name. */
export class Daemons {
  /** The first is the one that is meant where none is named. */
  readonly names: readonly string[]
  private readonly managed: ReadonlyMap<string, { readonly daemon: ManagedDaemon; readonly sessions: ManagedSessions }>

  constructor({ daemons }: SessionsConfig, host: DaemonHost) {
    this.names = daemons
    this.managed = new Map(
      daemons.map((name) => {
        const daemon = new ManagedDaemon(name, host)
        return [name, { daemon, sessions: new ManagedSessions(daemon) }]
      }),
    )
  }

  /** @throws {InstarError} `DAEMON_UNKNOWN`, with the nearest name. */
  get(name?: string): ManagedDaemon {
    return this.entry(name).daemon
  }

  /**
   * The sessions of one daemon.
   *
   * @throws {InstarError} `DAEMON_UNKNOWN`, with the nearest name.
   */
  sessions(name?: string): ManagedSessions {
    return this.entry(name).sessions
  }

  /** Adopts what was left running, so that it is watched and, where that is wanted, updated. Starts nothing. */
  async supervise(): Promise<void> {
    for (const { daemon } of this.managed.values()) if (await exists(daemon.directory)) await daemon.supervise()
  }

  /** Ends the connections. Daemons and sessions go on. */
  async close(): Promise<void> {
    await Promise.all([...this.managed.values()].map(({ sessions }) => sessions.close()))
  }

  private entry(name = this.names[0]!) {
    const entry = this.managed.get(name)
    if (entry === undefined)
      throw new InstarError('DAEMON_UNKNOWN', `no daemon "${name}" is configured${didYouMean(name, this.names)}`)
    return entry
  }
}
