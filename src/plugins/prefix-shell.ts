import { InstarError } from '../errors.ts'
import type { Ran } from '../run-command.ts'
import type { Shell } from './shell.ts'

/** Behind a command that runs another one somewhere else: `docker exec -i NAME`, `kubectl exec -i POD --`. */
export class PrefixShell implements Shell {
  constructor(private readonly prefix: readonly string[]) {}

  async command(script: string, args: readonly string[]): Promise<readonly string[]> {
    return [...this.prefix, 'sh', '-c', script, 'instar', ...args]
  }

  explain({ code, stderr }: Ran): InstarError {
    const told = stderr === '' ? `it ended with code ${code}` : stderr
    return new InstarError('TARGET_UNREACHABLE', `${this.prefix.join(' ')} ran nothing: ${told}`)
  }

  async close(): Promise<void> {}
}
