import gt from 'semver/functions/gt.js'
import type { Pointed, Pointers } from '../releases/pointer.ts'

// The launcher imports this, right before the program that somebody waits for; so nothing large here either.

/** What stands against running a release, as far as it is known before its files are looked at. */
export interface LaunchRules {
  readonly banned: readonly string[]
  /** The version that came with the host; null where none did. */
  readonly bundled: string | null
}

/** The releases that a launch may begin with, best first: those that are not banned, and above what came with the host. */
export function launchOrder(
  { current, knownGood, previous }: Pointers,
  { banned, bundled }: LaunchRules,
): readonly Pointed[] {
  return [current, knownGood, previous].filter(
    (release) =>
      release !== null && !banned.includes(release.version) && (bundled === null || gt(release.version, bundled)),
  ) as Pointed[]
}

/** The version that the next launch begins with; null where there is nothing to run. */
export function nextLaunchVersion(pointers: Pointers, rules: LaunchRules): string | null {
  return launchOrder(pointers, rules)[0]?.version ?? rules.bundled
}
