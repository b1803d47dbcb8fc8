import { readFile } from 'node:fs/promises'
import type { Adapter } from 'lowdb'
import * as z from 'zod'
import { type Disk, replaceFile } from '../disk.ts'
import { diskError, InstarError } from '../errors.ts'
import { absent } from './absent.ts'
import { isCanonical, type Place } from './layout.ts'
import { noPointers, type Pointers, type Problem, parseState, stateSchema } from './pointer.ts'

const Version = z.string().refine(isCanonical)
const Instant = z.iso.datetime()

const Ban = z.strictObject({ reason: z.string(), at: Instant })
const Pin = z.strictObject({ version: Version, note: z.string(), at: Instant })
const Strikes = z.strictObject({
  /** One per failure: the idempotency key of the effect that reported it. */
  keys: z.array(z.string()),
  reason: z.string(),
  at: Instant,
})
const Seen = z.strictObject({ firstSeen: Instant, integrity: z.string() })

/**
 * The read model of one (kind, name), format 1. One JSON object; replaced as a whole.
 *
 *   pointer      current, previous, knownGood: { version, digest, path } or null; believed only after `believe`
 *   committed    the highest version that was activated since a person last allowed an older one, or null
 *   bans         by version
 *   pin          the version that a person wants to stay, and why; or null
 *   strikes      by version, since it was last known to be good
 *   seen         by version: when this machine first heard of it, and with which integrity
 *   remembered   what the last check wants back; any JSON
 *   problems     the last few things that were found wrong here, oldest first
 *
 * Sections stand by themselves: one that cannot be read is dropped without the others.
 */
const sections = {
  pointer: z.unknown(),
  committed: Version.nullable(),
  bans: z.record(Version, Ban),
  pin: Pin.nullable(),
  strikes: z.record(Version, Strikes),
  seen: z.record(Version, Seen),
  remembered: z.json(),
  problems: z.array(z.strictObject({ at: Instant, code: z.string(), reason: z.string() })),
} as const

type Json = z.infer<ReturnType<typeof z.json>>

export interface State {
  schema: typeof stateSchema
  pointer: Pointers
  committed: string | null
  bans: Record<string, z.infer<typeof Ban>>
  pin: z.infer<typeof Pin> | null
  strikes: Record<string, z.infer<typeof Strikes>>
  seen: Record<string, z.infer<typeof Seen>>
  remembered: Json
  problems: { at: string; code: string; reason: string }[]
}

/** A state as it was read: the pointer is not to be believed yet. */
export type StoredState = Omit<State, 'pointer'> & { pointer: unknown }

export const emptyState = (): State => ({
  schema: stateSchema,
  pointer: noPointers,
  committed: null,
  bans: {},
  pin: null,
  strikes: {},
  seen: {},
  remembered: null,
  problems: [],
})

/**
 * The state file as lowdb's adapter. `read` saves what can be saved of a damaged text and leaves the file as it is;
 * `problem` then says what was wrong. `write` replaces the file and returns when it would survive a power cut.
 */
export class StateFile implements Adapter<StoredState> {
  /** What the last `read` found wrong. */
  problem: Problem | null = null

  constructor(
    private readonly place: Place,
    private readonly disk: Disk,
  ) {}

  /** @throws {InstarError} `STATE_UNREADABLE` when the disk does not give the text, which is no proof of damage. */
  async read(): Promise<StoredState> {
    const parsed = parseState(await this.text())
    this.problem = parsed.problem ?? null
    if (parsed.problem) return emptyState()
    const state: StoredState = emptyState()
    const unread: string[] = []
    for (const [name, value] of Object.entries(parsed.state)) {
      if (name === 'schema') continue
      const read = sectionNamed(name)?.safeParse(value)
      if (read?.success) Object.assign(state, { [name]: read.data })
      else unread.push(name)
    }
    if (unread.length > 0)
      this.problem = { code: 'STATE_DAMAGED', reason: `the state's ${unread.join(', ')} cannot be read` }
    return state
  }

  /**
   * The caller holds the guard, and so has made the directory.
   *
   * @throws {InstarError} `DISK_FULL`, `DISK_FAILED` or `STATE_UNWRITABLE`.
   */
  async write(state: StoredState): Promise<void> {
    try {
      await replaceFile(this.place.state, Buffer.from(`${JSON.stringify(state, null, 2)}\n`), this.disk)
    } catch (error) {
      throw writeError(error, this.place.state)
    }
  }

  /** Keeps a copy of what is there under a name of its own, for whoever wants to look into the damage. */
  async setAside(now: string): Promise<void> {
    const path = `${this.place.state}.damaged-${now.replaceAll(':', '')}`
    try {
      await this.disk.write(path, Buffer.from((await this.text()) ?? ''))
      await this.disk.flush(path)
    } catch (error) {
      throw writeError(error, path)
    }
  }

  private async text(): Promise<string | null> {
    try {
      return await readFile(this.place.state, 'utf8').catch(absent)
    } catch (cause) {
      throw new InstarError('STATE_UNREADABLE', `${this.place.state} cannot be read`, { cause })
    }
  }
}

function sectionNamed(name: string): z.ZodType | undefined {
  return Object.hasOwn(sections, name) ? sections[name as keyof typeof sections] : undefined
}

/** Every refusal to write the state is one that a caller can survive, so each has a code. */
export function writeError(error: unknown, path: string): InstarError {
  const named = diskError(error, `writing ${path}`)
  if (named instanceof InstarError) return named
  return new InstarError('STATE_UNWRITABLE', `${path} cannot be written`, { cause: error })
}
