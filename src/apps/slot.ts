import type { Notification } from '@modelcontextprotocol/sdk/types.js'
import { InstarError } from '../errors.ts'
import { abortable } from '../runtime/pause.ts'
import type { AppConnection } from './app-connection.ts'

/**
 * Where the calls for one app in one workspace go: to the process that serves, or to whichever serves next. So a call that
 * comes in the middle of a replacement waits instead of failing.
 */
export class Slot {
  private serving: AppConnection | null = null
  private waiting: PromiseWithResolvers | null = null
  private readonly listeners = new Set<(event: Notification | 'serving') => void>()

  /** @param waitMs How long a call waits for a process. */
  constructor(
    private readonly name: string,
    private readonly waitMs: number,
  ) {}

  get connection(): AppConnection | null {
    return this.serving
  }

  /** From now on calls go there. */
  serve(connection: AppConnection): void {
    this.serving = connection
    this.waiting?.resolve(connection)
    this.waiting = null
    void connection.closed.then(() => {
      if (this.serving === connection) this.serving = null
    })
    this.tell('serving')
    connection.onNotification = (notification) => {
      if (this.serving === connection) this.tell(notification)
    }
  }

  /** From now on calls wait. */
  pause(): void {
    this.serving = null
  }

  /** Tells whenever another process serves, and what the one that serves says. Returns what ends it. */
  follow(listener: (event: Notification | 'serving') => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /**
   * Does `work` with the process that serves.
   *
   * @throws {InstarError} `APP_NOT_READY` where none serves in time; and what `work` throws.
   */
  async use<T>(work: (connection: AppConnection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const connection = this.serving ?? (await this.next(signal))
    return connection.use(work)
  }

  private tell(event: Notification | 'serving'): void {
    for (const listener of this.listeners) listener(event)
  }

  private async next(signal: AbortSignal | undefined): Promise<AppConnection> {
    this.waiting ??= promiseWithResolvers()
    const late = new AbortController()
    const timer = setTimeout(
      () => late.abort(new InstarError('APP_NOT_READY', `no process of ${this.name} serves`)),
      this.waitMs,
    )
    try {
      const limits = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal])
      return await abortable(this.waiting.promise, limits)
    } finally {
      clearTimeout(timer)
    }
  }
}

interface PromiseWithResolvers {
  readonly promise: Promise<AppConnection>
  resolve(connection: AppConnection): void
}

function promiseWithResolvers(): PromiseWithResolvers {
  let resolve!: (connection: AppConnection) => void
  const promise = new Promise<AppConnection>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
