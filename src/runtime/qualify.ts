import { rm } from 'node:fs/promises'
import type { Child } from '../../machines/runtime-launch.ts'
import { makeDirectories } from '../disk.ts'
import { findChild, recordPath, stopChild } from './child.ts'
import { probe, type Ready } from './probe.ts'
import { type RuntimeStart, startRuntime } from './start.ts'

export type Trial = Omit<RuntimeStart, 'port' | 'cwd' | 'qualifying'> & {
  /** Between the request to end and force; short, because nobody uses it. */
  readonly graceMs?: number
}

/**
 * Tries a release out: starts it on a spare port in an empty folder, waits for its probe, ends it. Whatever happens, no
 * process of the trial is left; what an interrupted earlier trial under the same key left is ended first.
 *
 * @throws {InstarError} what `startRuntime` and `probe` throw; `attribute` tells whose fault it was.
 */
export async function qualify(trial: Trial): Promise<Ready> {
  const { graceMs = 5000, signal } = trial
  const leftover = await findChild(trial)
  if (leftover !== undefined) await end(leftover, graceMs)

  // Named after the key, so that the next trial clears what a crash in this one leaves.
  const folder = recordPath(trial).replace(/\.json$/, '.trial')
  await rm(folder, { recursive: true, force: true })
  await makeDirectories(folder)
  try {
    const { child } = await startRuntime({ ...trial, cwd: folder, qualifying: true })
    try {
      return await probe(child, trial.probe, { ...(signal && { signal }) })
    } finally {
      await end(child, graceMs)
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Not cancellable: that nothing is left is the promise. */
async function end(child: Child, graceMs: number): Promise<void> {
  await stopChild(child, { graceMs, everything: true })
}
