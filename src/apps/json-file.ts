import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Adapter } from 'lowdb'
import type * as z from 'zod'
import { makeDirectories, replaceFile } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { absent } from '../releases/absent.ts'
import { writeError } from '../releases/state.ts'

/**
 * A JSON file as lowdb's adapter: read through a schema, replaced as a whole, durable when `write` returns. A damaged one is
 * left as it is, for nothing else knows what was in it.
 */
export class JsonFile<State> implements Adapter<State> {
  constructor(
    private readonly path: string,
    private readonly schema: z.ZodType<State>,
  ) {}

  /** @throws {InstarError} `STATE_UNREADABLE`, `STATE_DAMAGED` */
  async read(): Promise<State | null> {
    const text = await readFile(this.path, 'utf8')
      .catch(absent)
      .catch((cause) => {
        throw new InstarError('STATE_UNREADABLE', `${this.path} cannot be read`, { cause })
      })
    if (text === null) return null
    try {
      return this.schema.parse(JSON.parse(text))
    } catch (cause) {
      throw new InstarError('STATE_DAMAGED', `${this.path} is not what was written`, { cause })
    }
  }

  /** @throws {InstarError} `DISK_FULL`, `DISK_FAILED`, `STATE_UNWRITABLE` */
  async write(state: State): Promise<void> {
    try {
      await makeDirectories(dirname(this.path))
      await replaceFile(this.path, Buffer.from(`${JSON.stringify(state, null, 2)}\n`))
    } catch (error) {
      throw writeError(error, this.path)
    }
  }
}
