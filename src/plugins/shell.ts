import type { InstarError } from '../errors.ts'
import type { Ran } from '../run-command.ts'

/** Somewhere that a POSIX shell runs scripts for us. */
export interface Shell {
  /** The command that runs `script` there with these arguments; `$1` is the first of them. */
  command(script: string, args: readonly string[]): Promise<readonly string[]>
  /** What it means that the command has ended like this before the script began. */
  explain(ran: Ran): InstarError
  close(): Promise<void>
}
