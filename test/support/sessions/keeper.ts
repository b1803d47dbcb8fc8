import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const source = fileURLToPath(new URL('../../../native/keeper.c', import.meta.url))

/** Compiles the keeper as it is in the tree now. */
export async function compileKeeper(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await promisify(execFile)('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', path, source]).catch((cause) => {
    throw new Error('this needs a C compiler as `cc`; on Debian: apt-get install gcc libc6-dev', { cause })
  })
}
