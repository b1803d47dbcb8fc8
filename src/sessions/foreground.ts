import { readFileSync } from 'node:fs'

/**
 * The process group in the foreground of the terminal that `pid` leads. Where the system does not tell (only Linux does,
 * without help), that of `pid` itself.
 */
export function foregroundGroup(pid: number): number {
  const group = Number(statOf(pid)?.[5])
  return group > 0 ? group : pid
}

/** proc(5): state, ppid, pgrp, session, tty_nr, tpgid, and so on; null where the system does not tell. */
function statOf(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name before them may hold blanks and brackets.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null // not Linux, or it is gone
  }
}

/**
 * Sends to a process group; one that is gone has nothing to be told. False where all of it is another user's, as after
 * `sudo`, so that it may not be told.
 */
export function signalGroup(group: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-group, signal)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EPERM') return false
    if (code !== 'ESRCH') throw error
  }
  return true
}

/** False also for one that has ended and whose parent has not looked yet: some never do. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  return !['Z', 'X'].includes(statOf(pid)?.[0] ?? '')
}
