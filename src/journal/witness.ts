import { join } from 'node:path'
import { type Disk, replaceFile } from '../disk.ts'
import { encodeHead, headName } from './format.ts'

/**
 * Writes down, beside the segments, how many records were durable: the only thing that can tell a torn end from the rot
 * of an acknowledged frame. It runs behind the appends and never ahead of them.
 */
export class Witness {
  #seq = 0
  #timer: NodeJS.Timeout | undefined
  #queued = false
  #turn: Promise<void> = Promise.resolve()

  constructor(
    private readonly directory: string,
    private readonly everyMs: number,
    private readonly disk: Disk,
    private readonly failed: (error: unknown) => void,
  ) {}

  /** `seq` is durable. Writes it down soon: at once where `everyMs` is 0, but never twice at a time. */
  note(seq: number): void {
    this.#seq = seq
    if (this.#timer !== undefined || this.#queued) return
    if (this.everyMs === 0) this.#writeBehind()
    else this.#timer = setTimeout(() => this.#writeBehind(), this.everyMs).unref()
  }

  /** Resolves when the last noted seq is written down durably. */
  write(closed = false): Promise<void> {
    this.stop()
    this.#queued = true
    this.#turn = this.#turn.then(() => {
      this.#queued = false
      return replaceFile(join(this.directory, headName), encodeHead({ seq: this.#seq, closed }), this.disk)
    })
    return this.#turn
  }

  /** Resolves when nothing is being written any more. */
  async end(): Promise<void> {
    this.stop()
    await this.#turn.catch(() => {}) // told to whoever asked for it, or to `failed`
  }

  /** Forgets what was to be written soon. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #writeBehind(): void {
    this.write().catch(this.failed)
  }
}
