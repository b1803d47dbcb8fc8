import { readFile } from 'node:fs/promises'
import { InstarError } from '../errors.ts'
import type { Cli } from './cli.ts'

/**
 * The token that this command shows, if any: from the file of `--token-file`, else `INSTAR_TOKEN`. Never from an argument,
 * which everybody on the machine can read.
 *
 * @throws {InstarError} `USAGE` for a file that cannot be read.
 */
export async function tokenOf({ globals }: Cli): Promise<{ readonly token?: string }> {
  const { tokenFile } = globals
  if (tokenFile === undefined) return process.env.INSTAR_TOKEN ? { token: process.env.INSTAR_TOKEN } : {}
  try {
    return { token: (await readFile(tokenFile, 'utf8')).trim() }
  } catch (cause) {
    throw new InstarError('USAGE', `the token file ${tokenFile} cannot be read`, { cause })
  }
}
