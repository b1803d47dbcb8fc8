import type { KillPoint } from '../../src/testing/mortal.ts'

/**
 * Who is killed or spoiled: the daemon that is to hand over, the one that is to take over, or the one that the keeper starts
 * after a crash.
 */
export type Role = 'predecessor' | 'successor' | 'follower'

/** What one process of `mortal-daemon.ts` is told. Plain data: it travels as a file. */
export interface DaemonOrder {
  readonly role: Role
  /** As `mortal` reads it. */
  readonly life: {
    readonly home: string
    readonly lastSeq: number
    readonly trace: string
    readonly point: KillPoint | null
  }
  /** Effects that do not do what they do by themselves. */
  readonly spoils: Readonly<Record<string, Spoil>>
  /** Instead of the machine's own. */
  readonly prepareTimeoutMs?: number
}

/** `hangs`: until the process that started this one is gone. */
export type Spoil = 'fails' | 'performs and fails' | 'hangs'

/** What an order is called once a process has taken it. */
export const takenName = (role: Role, pid: number) => `${role}-${pid}`

export function takenPid(role: Role, name: string): number | undefined {
  return name.startsWith(`${role}-`) ? Number(name.slice(role.length + 1)) : undefined
}
