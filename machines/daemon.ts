/** Words that the daemon machines share. Plain data only: all of it is journaled. */

/** How far a session had come when it passed from one daemon to another: what makes "nothing lost" a checked claim. */
export interface SessionMark {
  readonly handle: number
  readonly id: string
  /** How many bytes it had printed. */
  readonly offset: number
  /** The running CRC-32 of its output at that offset; it crosses with the session, so both sides can say it. */
  readonly crc32: number
}

/** Bytes `from` to before `to` that nobody has any more; those before `known` were certainly printed. */
export interface SessionGap {
  readonly handle: number
  readonly id: string
  readonly from: number
  readonly known: number
  readonly to: number
}

/** A daemon process as its own code describes it. */
export interface DaemonProcess {
  readonly pid: number
  readonly version: string
}
