/** How much, how long and how slowly a registry may answer. A host may give its own numbers; the defaults are below. */
export interface TransferLimits {
  /** Bytes of one answer, after decompression. */
  readonly bytes: number
  /** Time until the status line and headers are there. */
  readonly answerTimeoutMs: number
  /** Time for everything: connecting, redirects and the last byte. */
  readonly deadlineMs: number
  /** A body that brings less than this for as long as `slowAfterMs` is given up. */
  readonly minBytesPerSecond: number
  readonly slowAfterMs: number
}

/** What an unpacked package may be. */
export interface TreeLimits {
  /** Bytes of all files, and of the archive that holds them once it is decompressed. */
  readonly bytes: number
  /** Files and directories together. */
  readonly entries: number
  /** Decompressed bytes for each compressed one, looked at once `ratioFreeBytes` are passed. Source text reaches 10. */
  readonly ratio: number
  readonly ratioFreeBytes: number
  /** Directories on the way to a file. */
  readonly depth: number
  /** Bytes of a whole path; one name holds at most 255. */
  readonly pathBytes: number
}

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

/** For a packument or a list of keys. The largest abbreviated packuments of the public registry have about 10 MiB. */
export const metadataLimits: TransferLimits = {
  bytes: 32 * MiB,
  answerTimeoutMs: 30_000,
  deadlineMs: 60_000,
  minBytesPerSecond: KiB,
  slowAfterMs: 10_000,
}

export const tarballLimits: TransferLimits = {
  bytes: 512 * MiB,
  answerTimeoutMs: 30_000,
  deadlineMs: 30 * 60_000,
  minBytesPerSecond: KiB,
  slowAfterMs: 10_000,
}

export const treeLimits: TreeLimits = {
  bytes: 2 * GiB,
  entries: 50_000,
  ratio: 100,
  ratioFreeBytes: 16 * MiB,
  depth: 64,
  pathBytes: 1024,
}

/** Bytes of the `package.json` inside a package. */
export const manifestBytes = MiB
