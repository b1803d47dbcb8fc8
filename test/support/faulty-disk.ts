import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const source = fileURLToPath(new URL('faulty-disk.c', import.meta.url))

/** One failure of the disk, as `faulty-disk.c` makes it. */
export interface DiskFault {
  readonly calls: 'write' | 'flush'
  /** In files whose path holds this. */
  readonly path: string
  /** Which of those calls, counted from 1; 0: none. */
  readonly at: number
  /** `ENOSPC` lasts, as a full disk stays full. */
  readonly error: 'EIO' | 'ENOSPC'
}

/** A disk that fails at the system's own interface, for real processes. Linux. */
export class FaultyDisk implements AsyncDisposable {
  private constructor(private readonly directory: string) {}

  static async build(): Promise<FaultyDisk> {
    const disk = new FaultyDisk(await mkdtemp(join(tmpdir(), 'instar-faulty-')))
    const args = ['-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', disk.library, source, '-ldl']
    await promisify(execFile)('cc', args).catch((cause) => {
      throw new Error('this test needs a C compiler as `cc`; on Debian: apt-get install gcc libc6-dev', { cause })
    })
    return disk
  }

  /** What a process needs in its environment to have this fault; each call that could have failed is noted in `log`. */
  environment({ calls, path, at, error }: DiskFault, log: string): Record<string, string> {
    return {
      LD_PRELOAD: this.library,
      FAULT_CALLS: calls,
      FAULT_PATH: path,
      FAULT_AT: String(at),
      FAULT_ERRNO: String(constants.errno[error]),
      FAULT_LASTS: error === 'ENOSPC' ? '1' : '0',
      FAULT_LOG: log,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
  }

  private get library(): string {
    return join(this.directory, 'faulty-disk.so')
  }
}

/** How many calls a log has. */
export async function callsIn(log: string): Promise<number> {
  const text = await readFile(log, 'utf8').catch(() => '')
  return text.split('\n').length - 1
}
