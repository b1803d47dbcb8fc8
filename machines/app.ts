import type { ReleaseRef } from './runtime.ts'

/** Words that the app machines share. Plain data only: all of it is journaled. */

/** A version of an app that has passed the gate and lies sealed on this machine. */
export interface AppRelease extends ReleaseRef {
  /** As its manifest declares: two of it must never run for one workspace at the same time. */
  readonly exclusive: boolean
}

/** A process of an app that has answered its handshake. */
export interface AppProcess extends ReleaseRef {
  readonly pid: number
  /** Names its start. */
  readonly key: string
}

/** How an app is run in one workspace: what an install was given, and keeps through every upgrade. */
export interface AppInstall {
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** By the name of the variable, or of what the app lets its user decide: the name under which the secret is kept. */
  readonly credentials: Readonly<Record<string, string>>
  /** What the app lets its user decide, by the app's names for it. Never a secret: those are credentials. */
  readonly config: Readonly<Record<string, readonly string[]>>
}

/** What became of a wish to have another version, or the same one anew, in one workspace. */
export type InstanceOutcome = 'upgraded' | 'current' | 'kept' | 'dead'
