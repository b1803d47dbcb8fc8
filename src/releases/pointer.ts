import { lstat, readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { absent } from './absent.ts'
import { contentOf, type Kind, type Place, pathOf, placeOf, type ReleaseRef, sealFile } from './layout.ts'

// A launcher reads the pointer in a process of its own, right before the program that somebody waits for. So nothing
// here imports zod or lowdb (together 90 ms); `believe` is nevertheless the only reader of pointers, also for the store.

/** A release that a pointer names and that may be believed. */
export interface Pointed extends ReleaseRef {
  /** The release's own folder; `contentOf` is the one that runs. */
  readonly path: string
}

export interface Pointers {
  /** What the next start uses. */
  readonly current: Pointed | null
  /** What was current before it. */
  readonly previous: Pointed | null
  /** The last one that survived its probation. */
  readonly knownGood: Pointed | null
}

export const noPointers: Pointers = { current: null, previous: null, knownGood: null }

export interface Problem {
  readonly code: 'POINTER_INVALID' | 'STATE_DAMAGED' | 'STATE_UNREADABLE' | 'HOME_NEWER' | 'INTEGRITY_CHANGED'
  readonly reason: string
}

/** What `readPointer` found. */
export interface ReadPointers extends Pointers {
  /** Versions that must not be run, whatever the pointer says; absent where there is none. */
  readonly banned?: readonly string[]
  readonly problem?: Problem
}

export const stateSchema = 1

/**
 * What the pointer names, without changing anything and without the rest of the store: for launchers. Checks all that
 * `ReleaseStore.pointer` checks; the bytes of the tree are for `ReleaseStore.verify`.
 *
 * Never rejects for what it finds on the disk: an answer without releases and with a `problem` means "use what is
 * bundled and say why". A missing pointer is no problem.
 */
export async function readPointer(home: string, kind: Kind, name: string): Promise<ReadPointers> {
  // A home that cannot be resolved gives its reason when the state is read.
  const place = placeOf(await realpath(home).catch(() => home), kind, name)
  try {
    const parsed = parseState(await readFile(place.state, 'utf8').catch(absent))
    if (parsed.problem) return { ...noPointers, problem: parsed.problem }
    const { pointers, problem } = await believe(place, parsed.state.pointer)
    const { bans } = parsed.state
    const banned = isObject(bans) ? Object.keys(bans) : []
    return { ...pointers, ...(banned.length > 0 && { banned }), ...(problem !== null && { problem }) }
  } catch (error) {
    return { ...noPointers, problem: { code: 'STATE_UNREADABLE', reason: (error as Error).message } }
  }
}

type Parsed = { readonly state: Readonly<Record<string, unknown>>; problem?: never } | { readonly problem: Problem }

/** The text of a state file as an object of our format, its fields still unknown. No text is an empty state. */
export function parseState(text: string | null): Parsed {
  if (text === null) return { state: {} }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    return { problem: { code: 'STATE_DAMAGED', reason: `the state is not JSON: ${(error as Error).message}` } }
  }
  if (!isObject(json)) return { problem: { code: 'STATE_DAMAGED', reason: 'the state is not a JSON object' } }
  const { schema } = json
  if (schema === stateSchema) return { state: json }
  if (typeof schema === 'number' && schema > stateSchema)
    return {
      problem: { code: 'HOME_NEWER', reason: `the state has format ${schema}, this version reads ${stateSchema}` },
    }
  return { problem: { code: 'STATE_DAMAGED', reason: 'the state names no format' } }
}

const roles = ['current', 'previous', 'knownGood'] as const

export interface Belief {
  readonly pointers: Pointers
  readonly problem: Problem | null
  /** There was a current release, and it is not to be believed. */
  readonly currentRefused: boolean
}

/** Sorts what is stored as the pointer into what may be believed and why the rest may not. */
export async function believe(place: Place, stored: unknown): Promise<Belief> {
  if (stored === undefined || stored === null) return { pointers: noPointers, problem: null, currentRefused: false }
  if (!isObject(stored))
    return { pointers: noPointers, problem: invalid('the pointer is not an object'), currentRefused: true }
  const pointers: { -readonly [Role in keyof Pointers]: Pointers[Role] } = { ...noPointers }
  const refused: string[] = []
  for (const role of roles) {
    const entry = stored[role]
    if (entry === null || entry === undefined) continue
    const judged = await believeEntry(place, entry)
    if (typeof judged === 'string') refused.push(`${role}: ${judged}`)
    else pointers[role] = judged
  }
  const problem = refused.length > 0 ? invalid(refused.join('; ')) : null
  return { pointers, problem, currentRefused: pointers.current === null && refused[0]?.startsWith('current') === true }
}

const invalid = (reason: string): Problem => ({ code: 'POINTER_INVALID', reason })

/** The release that an entry names, or why it cannot be believed. */
async function believeEntry(place: Place, entry: unknown): Promise<Pointed | string> {
  if (!isObject(entry)) return 'it is not an object'
  const { version, digest, path } = entry
  if (typeof version !== 'string' || typeof digest !== 'string' || typeof path !== 'string')
    return 'it lacks a version, a digest or a path'
  const computed = pathOf(place, { version, digest })
  if (computed === null) return `${JSON.stringify(version)} with digest ${JSON.stringify(digest)} is not canonical`
  if (path !== computed) return `${JSON.stringify(path)} is not where ${version} belongs`
  const found = await realpath(computed).catch(absent)
  if (found === null) return `${computed} is missing`
  if (found !== computed) return `${computed} is reached through a symlink`
  if (!(await isSealedAs(place, computed, { version, digest }))) return `${computed} is not sealed`
  const content = contentOf({ path: computed })
  if (!(await lstat(content).catch(absent))?.isDirectory()) return `${content} is not a folder`
  return { version, digest, path: computed }
}

/** Compares with what must be there, so nothing of the seal is used unread. */
async function isSealedAs({ kind, name }: Place, path: string, { version, digest }: ReleaseRef): Promise<boolean> {
  const text = await readFile(join(path, sealFile), 'utf8').catch(absent)
  try {
    const seal: unknown = JSON.parse(text ?? 'null')
    return (
      isObject(seal) && seal.kind === kind && seal.name === name && seal.version === version && seal.digest === digest
    )
  } catch {
    return false // a seal that is not JSON seals nothing
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
