import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const defaultSource = fileURLToPath(new URL('terminal-program.c', import.meta.url))

interface End {
  readonly code?: number
  readonly signal?: number
}

/** Programs for inside terminals, as `terminal-program.c` tells them. Each method gives the command to open. */
export class TerminalProgram implements AsyncDisposable {
  private constructor(private readonly directory: string) {}

  static async build(source = defaultSource): Promise<TerminalProgram> {
    const program = new TerminalProgram(await mkdtemp(join(tmpdir(), 'instar-terminal-program-')))
    const args = ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program.path, source]
    await promisify(execFile)('cc', args).catch((cause) => {
      throw new Error('this needs a C compiler as `cc`; on Debian: apt-get install gcc libc6-dev', { cause })
    })
    return program
  }

  /**
   * Prints the numbered stream; `bytes` of it, else for ever; at most `rate` bytes a second. Waits for a byte of input after
   * line 0, or before it ends.
   */
  stream(how: End & { bytes?: number; rate?: number; begin?: 1; pause?: 1 } = {}): string[] {
    return this.command('stream', how)
  }

  /** Prints line 0 of the numbered stream, then what it reads; ends after `bytes` of that. */
  echo(how: End & { bytes?: number } = {}): string[] {
    return this.command('echo', how)
  }

  /**
   * Says "ready"; after `delay` ms, else once it gets SIGUSR1, it reads `bytes` of the numbered stream, and says "whole"
   * where that was it.
   */
  sink(how: End & { delay?: number; bytes: number }): string[] {
    return this.command('sink', how)
  }

  /** Says "ready" and waits. */
  idle(): string[] {
    return this.command('idle')
  }

  /** Says "ready", waits, and does not mind being asked to end. */
  stubborn(): string[] {
    return this.command('stubborn')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
  }

  private get path(): string {
    return join(this.directory, 'terminal-program')
  }

  private command(name: string, options: object = {}): string[] {
    return [this.path, name, ...Object.entries(options).map(([option, value]) => `${option}=${value}`)]
  }
}
