import { Low } from 'lowdb'
import type * as z from 'zod'
import { JsonFile } from './json-file.ts'

/**
 * What an organisation has, in one JSON file that is replaced as a whole. One change comes after the other, and what could
 * not be written has not happened.
 */
export class StateFile<State> {
  private changing: Promise<unknown> = Promise.resolve()

  private constructor(private readonly db: Low<State>) {}

  /** @throws {InstarError} `STATE_UNREADABLE`; `STATE_DAMAGED`: it is left as it is, because nothing else knows what is in it. */
  static async open<State>(path: string, schema: z.ZodType<State>, empty: State): Promise<StateFile<State>> {
    const db = new Low<State>(new JsonFile(path, schema), empty)
    await db.read()
    return new StateFile(db)
  }

  get state(): State {
    return this.db.data
  }

  /** @throws {InstarError} `DISK_FULL`, `DISK_FAILED`, `STATE_UNWRITABLE`; and what `work` throws. */
  async change(work: (state: State) => void): Promise<void> {
    const turn = this.changing.then(async () => {
      const before = structuredClone(this.db.data)
      try {
        work(this.db.data)
        await this.db.write()
      } catch (error) {
        this.db.data = before
        throw error
      }
    })
    this.changing = turn.catch(() => {}) // told to whoever asked for it
    await turn
  }
}
