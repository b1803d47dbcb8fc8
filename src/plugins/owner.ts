import { randomBytes } from 'node:crypto'
import { link, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { flush, flushDirectory, sweepDrafts } from '../disk.ts'
import { diskError } from '../errors.ts'
import { absent } from '../releases/absent.ts'

/**
 * What a home is called on targets: 20 random letters and digits in its file `owner`, made once. Its path would not do, since
 * homes of two machines often have the same.
 *
 * @throws {InstarError} `DISK_FULL`, `DISK_FAILED`
 */
export async function ownerOf(home: string): Promise<string> {
  const path = join(home, 'owner')
  for (;;) {
    const text = await readFile(path, 'utf8').catch(absent)
    if (text !== null && /^[0-9a-f]{20}\n$/.test(text)) return text.trim()
    try {
      // It appears whole or not at all, so anything else is damage.
      if (text !== null) await rm(path, { force: true })
      await make(home, path)
    } catch (error) {
      throw diskError(error, `naming the owner of plugins: ${path}`)
    }
  }
}

async function make(home: string, path: string): Promise<void> {
  await sweepDrafts(home) // one that was killed in here has left its own
  const owner = randomBytes(10).toString('hex')
  const draft = join(home, `.draft-${process.pid}-${owner}`)
  try {
    await writeFile(draft, `${owner}\n`, { flag: 'wx', mode: 0o600 })
    await flush(draft)
    // Never replaces: another process may look at the home at the same time, and the first name is the one for both.
    await link(draft, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  } finally {
    await rm(draft, { force: true })
  }
  await flushDirectory(home)
}
