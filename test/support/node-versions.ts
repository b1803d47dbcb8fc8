import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const source = fileURLToPath(new URL('node-versions', import.meta.url))
const cache = fileURLToPath(new URL('../../node_modules/.cache/instar', import.meta.url))

export const nodeLines = ['20', '22', '24', '26'] as const
export type NodeLine = (typeof nodeLines)[number]

export interface OtherNode {
  /** Such as 22.9.0. */
  readonly version: string
  /** Absolute path of the executable. */
  readonly program: string
}

/** The Nodes of `node-versions/package.json`. They come from the npm registry once, held to the lock file's hashes. */
export async function nodeVersions(): Promise<Record<NodeLine, OtherNode>> {
  const digest = createHash('sha256').update(await readFile(join(source, 'package-lock.json')))
  const folder = join(cache, `node-versions-${digest.digest('hex').slice(0, 16)}`)
  if (!existsSync(folder)) await fetchInto(folder)
  const found = nodeLines.map(async (line) => {
    const program = join(folder, 'node_modules', `node-${line}-${process.arch}`, 'bin/node')
    const { stdout } = await run(program, ['--version']).catch((cause) => {
      throw new Error(`there is no Node ${line} for ${process.platform} ${process.arch} in ${folder}`, { cause })
    })
    return [line, { version: stdout.trim().slice(1), program }] as const
  })
  return Object.fromEntries(await Promise.all(found)) as Record<NodeLine, OtherNode>
}

/** In one step, so that tests that run beside each other do not find half of it. */
async function fetchInto(folder: string): Promise<void> {
  await mkdir(cache, { recursive: true })
  const draft = await mkdtemp(join(cache, 'draft-'))
  try {
    for (const file of ['package.json', 'package-lock.json']) await copyFile(join(source, file), join(draft, file))
    await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: draft })
    for (const line of nodeLines) {
      const place = join(draft, 'node_modules', `node-${line}-${process.arch}`)
      // What is optional is left out in silence when it cannot be had.
      if (!existsSync(join(place, 'bin/node'))) throw new Error(`npm could not get Node ${line} for ${process.arch}`)
      for (const superfluous of ['include', 'share'])
        await rm(join(place, superfluous), { recursive: true, force: true })
    }
    await rename(draft, folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error // else another was faster
    })
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}
