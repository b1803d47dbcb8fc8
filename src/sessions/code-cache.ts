import { closeSync, fstatSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { crc32 } from 'node:zlib'

/**
 * What V8 made of a source, kept in a file for the next process. A line before it says of what, and what it has to look
 * like: V8 itself compares no more than its own version, its flags and the length of the source.
 */
export class CodeCache {
  private readonly maker: string

  constructor(
    private readonly path: string,
    source: string,
  ) {
    this.maker = `${process.version} ${process.arch} ${crc32(source)}`
  }

  /** Undefined where there is none for this source and this Node. What it holds is run, so it has to be ours alone. */
  read(): Buffer | undefined {
    try {
      const fd = openSync(this.path, 'r')
      try {
        const { uid, mode } = fstatSync(fd)
        if (uid !== process.geteuid?.() || (mode & 0o022) !== 0) return undefined
        const all = readFileSync(fd)
        const end = all.indexOf('\n')
        const data = all.subarray(end + 1)
        return all.toString('latin1', 0, end) === this.head(data) ? data : undefined
      } finally {
        closeSync(fd)
      }
    } catch {
      return undefined // there was none yet
    }
  }

  /** Where it cannot be written, the next process takes as long as this one. */
  write(data: Buffer): void {
    const draft = `${this.path}.new`
    try {
      writeFileSync(draft, Buffer.concat([Buffer.from(`${this.head(data)}\n`), data]), { mode: 0o600 })
      renameSync(draft, this.path)
    } catch {
      rmSync(draft, { force: true })
    }
  }

  private head(data: Buffer): string {
    return `${this.maker} ${crc32(data)}`
  }
}
