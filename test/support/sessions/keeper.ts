import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const source = (name: string) => fileURLToPath(new URL(`../../../native/${name}`, import.meta.url))

/** Compiles what is in C as it is in the tree now: the keeper, and beside it the addon for descriptors. */
export async function compileNative(keeper: string): Promise<void> {
  await mkdir(dirname(keeper), { recursive: true })
  await Promise.all([
    cc('-o', keeper, source('keeper.c')),
    cc('-shared', '-fPIC', '-o', join(dirname(keeper), 'descriptors.node'), source('descriptors.c')),
  ])
}

async function cc(...args: string[]): Promise<void> {
  await promisify(execFile)('cc', ['-O2', '-Wall', '-Wextra', '-Werror', ...args]).catch((cause) => {
    throw new Error('this needs a C compiler as `cc`; on Debian: apt-get install gcc libc6-dev', { cause })
  })
}
