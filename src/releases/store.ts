import { readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { Low } from 'lowdb'
import gt from 'semver/functions/gt.js'
import lt from 'semver/functions/lt.js'
import { type Disk, makeDirectories, realDisk, sweepDrafts } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { absent } from './absent.ts'
import { Draft, type DraftHost, type DraftWaiting } from './draft.ts'
import {
  assertCanonical,
  decodeName,
  folderOf,
  isReleaseFolder,
  type Kind,
  type Place,
  pathOf,
  placeOf,
  type ReleaseRef,
  sameRef,
} from './layout.ts'
import { acquire } from './lock.ts'
import { believe, noPointers, type Pointed, type Pointers, type Problem, readPointer } from './pointer.ts'
import { judgeRelease, type Release, readSealed, type Verdict } from './seal.ts'
import { emptyState, type State, StateFile, type StoredState, writeError } from './state.ts'
import { sweepReleases } from './sweep.ts'
import { empty, toTrash } from './trash.ts'

export interface StoreOptions {
  readonly home: string
  readonly kind: Kind
  readonly disk?: Disk
  /** Milliseconds since 1970; the clock behind every date the store writes. */
  readonly now?: () => number
  /** Told of each problem when it has been written down; `state(name).problems` holds the last few at any time. */
  readonly report?: (name: string, problem: Problem) => void
}

export interface PointerAnswer extends Pointers {
  /** What was wrong with the pointer, or with the state it stands in. */
  readonly problem?: Problem
}

export interface Holding {
  readonly signal?: AbortSignal | undefined
  /** How long to wait for another holder, default one minute. */
  readonly waitMs?: number
  /** What is being done, for whoever has to wait. */
  readonly doing?: string
}

/** The read model is changed in milliseconds, or in seconds where a large tree is read before a pointer goes back. */
const guardWaitMs = 30_000

/** Long enough for a sweep that is just looking at the draft; its real holder keeps it for minutes. */
const draftWaitMs = 2_000

const problemsKept = 20

/**
 * The releases of one kind (runtime, app or plugin) in a home, by name: staged, sealed, pointed at, struck, pruned.
 *
 * Any number of processes may work on one home. Reading takes no lock. Every method may be called again after a crash
 * with the same arguments and then finds what the first call did. A release is immutable once sealed, and nothing is
 * deleted before its replacement is in place. `pointer` and `readPointer` never name a release that is not sealed at
 * its own place; whether its bytes are still those that were sealed is for `verify`, before every launch.
 *
 * Every method that writes the state rejects with `DISK_FULL`, `DISK_FAILED`, `STATE_UNWRITABLE`, `STATE_UNREADABLE`,
 * `HOME_NEWER` or `RELEASE_LOCKED` where it cannot, and has then changed nothing. Names that cannot be encoded are
 * `NAME_INVALID`, versions that are not canonical `VERSION_INVALID`.
 */
export class ReleaseStore implements AsyncDisposable {
  private readonly drafts = new Map<string, Promise<Draft>>()

  private constructor(
    private readonly home: string,
    private readonly kind: Kind,
    private readonly disk: Disk,
    private readonly clock: () => number,
    private readonly report: (name: string, problem: Problem) => void,
  ) {}

  static async open({ home, kind, disk = realDisk, now = Date.now, report = () => {} }: StoreOptions) {
    await makeDirectories(home, disk)
    // Paths below the home are compared with what the disk calls them; above it symlinks are the user's business.
    return new ReleaseStore(await realpath(home), kind, disk, now, report)
  }

  // ---- drafts and releases

  /**
   * The draft of this key, held until it is sealed, discarded or closed. Within this process the same key gives the same
   * draft, so that one effect can fill it and another seal it.
   *
   * @throws {InstarError} `RELEASE_LOCKED` when another process still holds it after `waitMs`.
   */
  async draft(name: string, key: string, { signal, waitMs = draftWaitMs }: Partial<DraftWaiting> = {}): Promise<Draft> {
    const place = this.place(name)
    const id = JSON.stringify([name, key])
    const held = this.drafts.get(id)
    if (held !== undefined) return held
    const left = () => this.drafts.delete(id)
    const opening = Draft.open(this.draftHost(place, left), key, { signal, waitMs }).catch((error: unknown) => {
      throw isSystemError(error) ? writeError(error, place.releases) : error
    })
    this.drafts.set(id, opening)
    opening.catch(left)
    return opening
  }

  /** Sealed releases, newest version first. Their trees are not read. */
  async list(name: string): Promise<Release[]> {
    return (await readSealed(this.place(name))).map(({ release }) => release)
  }

  /** A sealed release by reference, or the one of a version that was sealed last. Its tree is not read. */
  async find(name: string, wanted: ReleaseRef | string): Promise<Release | null> {
    const matches = (release: Release) =>
      typeof wanted === 'string' ? release.version === wanted : sameRef(release, wanted)
    return (await this.list(name)).find(matches) ?? null
  }

  /** Says whether a release is what was sealed; with `full`, which a launch always asks for, every byte of its tree. */
  async verify(
    release: ReleaseRef & { readonly name: string },
    { full, signal }: { full: boolean; signal?: AbortSignal },
  ): Promise<Verdict> {
    return judgeRelease(this.place(release.name), release, { full, signal })
  }

  // ---- the pointer

  /**
   * What the pointer names, as far as it may be believed; the rest is repaired and told in `problem`. A current release
   * that is not to be believed gives way to the known-good or previous one if that is whole, or to none.
   *
   * Never rejects for what it finds on the disk. Where the repair cannot be written the answer is the same, and the next
   * call tries again.
   */
  async pointer(name: string): Promise<PointerAnswer> {
    const { banned: _, ...answer } = await readPointer(this.home, this.kind, name)
    if (answer.problem === undefined) return answer
    try {
      const pointers = await this.update(name, 'repairing the pointer', (state) => state.pointer)
      return { ...pointers, problem: answer.problem }
    } catch {
      return answer // what kept us from writing is the caller's next error; the way to the fallback stays open
    }
  }

  /**
   * Makes `ref` current, and what was current previous. Resolves when that would survive a power cut. An older one that
   * a person allowed is what later versions are compared with from then on.
   *
   * @throws {InstarError} `RELEASE_INCOMPLETE` or `RELEASE_DAMAGED` when it is not whole; `RELEASE_BANNED`;
   *   `VERSION_BELOW_COMMITTED` below the highest version that was activated, unless a person `allowOlder`.
   */
  async activate(
    name: string,
    ref: ReleaseRef,
    { allowOlder = false, signal }: { allowOlder?: boolean; signal?: AbortSignal } = {},
  ): Promise<Pointers> {
    assertCanonical(ref.version)
    const place = this.place(name)
    // The whole tree is read outside the guard, so that nobody waits for it.
    await assertWhole(place, ref, { full: true, signal })
    return this.update(name, `activating ${ref.version}`, async (state) => {
      const { current, knownGood } = state.pointer
      if (sameRef(current, ref)) return state.pointer
      if (state.bans[ref.version] !== undefined)
        throw new InstarError('RELEASE_BANNED', `${name} ${ref.version} is banned: ${state.bans[ref.version]!.reason}`)
      if (state.committed !== null && lt(ref.version, state.committed) && !allowOlder)
        throw new InstarError('VERSION_BELOW_COMMITTED', `${name} ${ref.version} is below ${state.committed}`)
      await assertWhole(place, ref, { full: false }) // a prune may have been here meanwhile
      state.pointer = { current: pointed(place, ref), previous: current, knownGood }
      if (allowOlder || state.committed === null || gt(ref.version, state.committed)) state.committed = ref.version
      return state.pointer
    })
  }

  /**
   * Goes back from `failed`, if that is still current, to the known-good release, else to the previous one, else to
   * none; only to one that is whole and not banned. A newer pointer stays as it is.
   */
  async restore(name: string, { failed }: { failed: ReleaseRef }): Promise<Pointers> {
    return this.update(name, `going back from ${failed.version}`, async (state, place) => {
      if (sameRef(state.pointer.current, failed)) state.pointer = await fallBack(place, state, failed)
      return state.pointer
    })
  }

  /** Makes the pointer name nothing; with `only`, if that is still current. The highest committed version stays known. */
  async clear(name: string, { only }: { only?: ReleaseRef } = {}): Promise<void> {
    await this.update(name, 'clearing the pointer', (state) => {
      if (only === undefined || sameRef(state.pointer.current, only)) state.pointer = noPointers
    })
  }

  /** Bans a version and goes back from it as `restore` does, both or neither. */
  async rollBack(name: string, { from, reason }: { from: ReleaseRef; reason: string }): Promise<Pointers> {
    assertCanonical(from.version)
    return this.update(name, `rolling back ${from.version}`, async (state, place) => {
      state.bans[from.version] ??= { reason, at: this.now() }
      if (sameRef(state.pointer.current, from)) state.pointer = await fallBack(place, state, from)
      return state.pointer
    })
  }

  /**
   * Remembers that a release survived its probation, and forgives its strikes.
   *
   * @throws {InstarError} `RELEASE_INCOMPLETE` when it is not there any more.
   */
  async markGood(name: string, ref: ReleaseRef): Promise<void> {
    await this.update(name, `commending ${ref.version}`, async (state, place) => {
      await assertWhole(place, ref, { full: false })
      state.pointer = { ...state.pointer, knownGood: pointed(place, ref) }
      delete state.strikes[ref.version]
    })
  }

  // ---- what is held against versions

  /**
   * Counts one failure of a version and bans it when there were `limit`. The same `key` is counted once, so an effect
   * that runs twice strikes once.
   */
  async strike(
    name: string,
    struck: ReleaseRef | string,
    { reason, limit, key }: { reason: string; limit: number; key: string },
  ): Promise<{ strikes: number; banned: boolean }> {
    const version = versionOf(struck)
    return this.update(name, `striking ${version}`, (state) => {
      const keys = state.strikes[version]?.keys ?? []
      if (!keys.includes(key)) state.strikes[version] = { keys: [...keys, key], reason, at: this.now() }
      const strikes = state.strikes[version]!.keys.length
      if (strikes >= limit) state.bans[version] ??= { reason, at: this.now() }
      return { strikes, banned: state.bans[version] !== undefined }
    })
  }

  /** Bans a version. One that is banned already keeps its first reason. The pointer is not touched. */
  async ban(name: string, version: string, reason: string): Promise<void> {
    assertCanonical(version)
    await this.update(name, `banning ${version}`, (state) => {
      state.bans[version] ??= { reason, at: this.now() }
    })
  }

  /** Lifts a ban and forgives the strikes that led to it. */
  async unban(name: string, version: string): Promise<void> {
    assertCanonical(version)
    await this.update(name, `unbanning ${version}`, (state) => {
      delete state.bans[version]
      delete state.strikes[version]
    })
  }

  async bans(name: string): Promise<State['bans']> {
    return (await this.state(name)).bans
  }

  /** Notes that a version is to stay. It is for those who raise versions to heed. */
  async pin(name: string, { version, note }: { readonly version: string; readonly note: string }): Promise<void> {
    assertCanonical(version)
    await this.update(name, `pinning ${version}`, (state) => {
      state.pin = { version, note, at: this.now() }
    })
  }

  async unpin(name: string): Promise<void> {
    await this.update(name, 'unpinning', (state) => {
      state.pin = null
    })
  }

  // ---- what was learned about versions

  /**
   * When this machine first heard of a version, by its own clock, and with which integrity; both written once.
   * `changed` says that the version is now offered with another integrity, which is reported as a problem.
   */
  async seen(
    name: string,
    version: string,
    integrity: string,
  ): Promise<{ firstSeen: string; integrity: string; changed: boolean }> {
    assertCanonical(version)
    return this.update(name, `noting ${version}`, (state, _place, note) => {
      state.seen[version] ??= { firstSeen: this.now(), integrity }
      const first = state.seen[version]
      const changed = first.integrity !== integrity
      if (changed)
        note({
          code: 'INTEGRITY_CHANGED',
          reason: `${version} was first seen with ${first.integrity}, now it is offered with ${integrity}`,
        })
      return { ...first, changed }
    })
  }

  /** Keeps what the next check wants back, for example `{ etag, resolved }`; `state(name).remembered` gives it. */
  async remember(name: string, remembered: State['remembered']): Promise<void> {
    await this.update(name, 'remembering a check', (state) => {
      state.remembered = remembered
    })
  }

  /** Everything that is known of a name, as plain data. Takes no lock and repairs nothing. */
  async state(name: string): Promise<State> {
    const place = this.place(name)
    const file = new StateFile(place, this.disk)
    const stored = await file.read()
    if (file.problem?.code === 'HOME_NEWER') throw new InstarError('HOME_NEWER', file.problem.reason)
    const { pointers } = await believe(place, stored.pointer)
    return { ...stored, pointer: pointers }
  }

  // ---- room

  /**
   * Removes old releases until at most `keep` (default 2) besides the current one are left, newest kept. Never removes
   * what the pointer names or what is `inUse`, even where that is more than `keep`.
   */
  async prune(
    name: string,
    { keep = 2, inUse = [] }: { keep?: number; inUse?: readonly ReleaseRef[] } = {},
  ): Promise<ReleaseRef[]> {
    const pruned = await this.update(name, 'pruning', async (state, place) => {
      const named = namedBy(state.pointer, inUse)
      const sealed = (await readSealed(place)).map(({ release }) => release)
      const old = sealed.filter((release) => !sameRef(release, state.pointer.current))
      const spare = old.filter((release) => !named.has(folderOf(release)))
      const room = Math.max(0, keep - (old.length - spare.length))
      const removed = spare.slice(room).map(({ version, digest }) => ({ version, digest }))
      const unsealed = await this.unsealedFolders(place, sealed)
      const folders = [...removed.map(folderOf), ...unsealed.filter((folder) => !named.has(folder))]
      return { removed, trash: await this.takeAway(place, folders) }
    })
    await empty(pruned.trash)
    return pruned.removed
  }

  /** Removes one release, for example one that failed to qualify; false when the pointer names it or it is `inUse`. */
  async remove(
    name: string,
    ref: ReleaseRef,
    { inUse = [] }: { inUse?: readonly ReleaseRef[] } = {},
  ): Promise<boolean> {
    assertCanonical(ref.version)
    const trash = await this.update(name, `removing ${ref.version}`, async (state, place) => {
      if (namedBy(state.pointer, inUse).has(folderOf(ref))) return null
      return this.takeAway(place, [folderOf(ref)])
    })
    await empty(trash ?? [])
    return trash !== null
  }

  /**
   * Removes what crashes have left of this name, or of all names of this kind: drafts that no living process holds,
   * trash, and halves of state files. Answers with the paths. Call it after interrupted work was resumed, since that
   * work looks for its drafts.
   */
  async sweep(name?: string): Promise<string[]> {
    const names = name === undefined ? await this.names() : [name]
    const places = names.map((each) => this.place(each))
    const swept: string[] = []
    for (const place of places) swept.push(...(await sweepReleases(place, this.disk)))
    return [...swept, ...(await sweepDrafts(join(this.home, 'state', this.kind)))]
  }

  /** Every name of this kind that has releases, or had some. */
  async names(): Promise<string[]> {
    const folders = (await readdir(join(this.home, 'releases', this.kind)).catch(absent)) ?? []
    return folders.map(decodeName).filter((name) => name !== null)
  }

  // ---- locks

  /**
   * Runs `work` while no other procedure of this name does, in this process or another; for as long as it takes. It does
   * not exclude the other methods, which may be called from `work`. Not re-entrant.
   *
   * @throws {InstarError} `RELEASE_LOCKED` after `waitMs`, with the holder's `pid`, `since` and `doing` as details.
   */
  async withLock<T>(
    name: string,
    work: () => Promise<T>,
    { signal, waitMs = 60_000, doing = 'changing releases' }: Holding = {},
  ): Promise<T> {
    const place = this.place(name)
    const lock = await this.lock(place, place.lock, { waitMs, doing, signal })
    try {
      return await work()
    } finally {
      lock.release()
    }
  }

  /** Lets go of all drafts; what is in them stays. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.drafts.values()].map(async (draft) => (await draft).close()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // ---- within

  private place(name: string): Place {
    return placeOf(this.home, this.kind, name)
  }

  private now(): string {
    return new Date(this.clock()).toISOString()
  }

  private draftHost(place: Place, left: () => void): DraftHost {
    return {
      place,
      disk: this.disk,
      now: () => this.now(),
      guarded: (doing, work) => this.guarded(place, doing, work),
      firstSeen: async (version, integrity) => (await this.seen(place.name, version, integrity)).firstSeen,
      left,
    }
  }

  private async lock(
    place: Place,
    path: string,
    waiting: { waitMs: number; doing: string; signal?: AbortSignal | undefined },
  ) {
    try {
      await makeDirectories(place.states, this.disk)
      return await acquire(path, { ...waiting, disk: this.disk, lasting: true })
    } catch (error) {
      throw isSystemError(error) ? writeError(error, path) : error
    }
  }

  private async guarded<T>(place: Place, doing: string, work: () => Promise<T>): Promise<T> {
    const guard = await this.lock(place, place.guard, { waitMs: guardWaitMs, doing })
    try {
      return await work()
    } finally {
      guard.release()
    }
  }

  /**
   * The one way in which the state changes: alone, on what the disk says now, with a damaged file set aside and an
   * unbelievable pointer repaired first. Writes only what is new, so repeating a change costs nothing.
   */
  private async update<T>(
    name: string,
    doing: string,
    change: (state: State, place: Place, note: (problem: Problem) => void) => T | Promise<T>,
  ): Promise<T> {
    const place = this.place(name)
    return this.guarded(place, doing, async () => {
      const file = new StateFile(place, this.disk)
      const db = new Low<StoredState>(file, emptyState())
      await db.read()
      if (file.problem?.code === 'HOME_NEWER') throw new InstarError('HOME_NEWER', file.problem.reason)
      const before = JSON.stringify(db.data)
      const noted: Problem[] = []
      const state = await this.settle(place, db.data, file.problem, noted)
      const result = await change(state, place, (problem) => noted.push(problem))
      for (const problem of noted) remark(state, problem, this.now())
      db.data = state
      if (file.problem !== null) await file.setAside(this.now())
      if (file.problem !== null || JSON.stringify(state) !== before) await db.write()
      for (const problem of noted) this.report(name, problem)
      return result
    })
  }

  /** The stored state with a pointer that may be believed, and with what seals still tell where the file was damaged. */
  private async settle(place: Place, stored: StoredState, damage: Problem | null, noted: Problem[]): Promise<State> {
    const { pointers, problem, currentRefused } = await believe(place, stored.pointer)
    const state: State = { ...stored, pointer: pointers }
    if (damage !== null) {
      noted.push(damage)
      for (const { seal } of await readSealed(place))
        if (seal.published) state.seen[seal.version] ??= { firstSeen: seal.firstSeen, integrity: seal.integrity }
    }
    if (problem !== null) noted.push(problem)
    if (currentRefused) state.pointer = await fallBack(place, state, null)
    return state
  }

  private async unsealedFolders(place: Place, sealed: readonly Release[]): Promise<string[]> {
    const known = new Set(sealed.map(folderOf))
    const folders = (await readdir(place.releases).catch(absent)) ?? []
    return folders.filter((folder) => isReleaseFolder(folder) && !known.has(folder))
  }

  /** Gives folders of releases names that nobody looks for. */
  private async takeAway(place: Place, folders: readonly string[]): Promise<string[]> {
    const present = new Set((await readdir(place.releases).catch(absent)) ?? [])
    const trash: string[] = []
    for (const folder of folders)
      if (present.has(folder)) trash.push(await toTrash(place, join(place.releases, folder), this.disk))
    if (trash.length > 0) await this.disk.flushDirectory(place.releases)
    return trash
  }
}

/** Where to go back to: the known-good release, else the previous one, else none. Nothing lies before what is chosen. */
async function fallBack(place: Place, state: State, failed: ReleaseRef | null): Promise<Pointers> {
  const { knownGood, previous } = state.pointer
  const stillGood = sameRef(knownGood, failed) ? null : knownGood
  for (const candidate of [stillGood, previous]) {
    if (candidate === null || sameRef(candidate, failed) || state.bans[candidate.version] !== undefined) continue
    if ((await judgeRelease(place, candidate, { full: true })).whole)
      return { current: candidate, previous: null, knownGood: stillGood }
  }
  return { ...noPointers, knownGood: stillGood }
}

async function assertWhole(
  place: Place,
  ref: ReleaseRef,
  options: { full: boolean; signal?: AbortSignal | undefined },
): Promise<void> {
  const verdict = await judgeRelease(place, ref, options)
  if (verdict.whole) return
  const message = `${place.name} ${ref.version} is not whole: ${verdict.problems[0]}`
  throw new InstarError(verdict.code, message, { details: { problems: verdict.problems } })
}

/** Callers have judged the reference, so it has a path. */
const pointed = (place: Place, ref: ReleaseRef): Pointed => ({
  version: ref.version,
  digest: ref.digest,
  path: pathOf(place, ref)!,
})

function namedBy({ current, previous, knownGood }: Pointers, inUse: readonly ReleaseRef[]): Set<string> {
  return new Set([current, previous, knownGood, ...inUse].filter((ref) => ref !== null).map(folderOf))
}

function versionOf(struck: ReleaseRef | string): string {
  const version = typeof struck === 'string' ? struck : struck.version
  assertCanonical(version)
  return version
}

/** The same thing found again moves to the end instead of filling the list. */
function remark(state: State, { code, reason }: Problem, at: string): void {
  const others = state.problems.filter((problem) => problem.code !== code || problem.reason !== reason)
  state.problems = [...others, { at, code, reason }].slice(-problemsKept)
}

const isSystemError = (error: unknown) => error instanceof Error && 'syscall' in error
