import { readFileSync } from 'node:fs'

/**
 * The process group in the foreground of the terminal that `pid` leads. Where the system does not tell (only Linux does,
 * without help), that of `pid` itself.
 */
export function foregroundGroup(pid: number): number {
  try {
    // proc(5): the name may hold blanks and brackets; after it come state, ppid, pgrp, session, tty_nr, tpgid.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const group = Number(fields[5])
    return group > 0 ? group : pid
  } catch {
    return pid
  }
}

/** Sends to a process group; one that is gone has nothing to be told. */
export function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
