import { constants } from 'node:fs'
import { access, chmod, readdir, readFile, realpath, rmdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { flushDirectory, makeDirectories, replaceFile, sweepDrafts } from './disk.ts'
import { diskError, InstarError } from './errors.ts'

/**
 * The home's mark, format 1: `home.json`, the first file in a new home and the one that makes a directory ours.
 *
 *   { "format": 1 }
 *
 * A higher `format` means that a newer Instar has changed what lies beside it; we leave such a home alone.
 */
const markName = 'home.json'
const homeFormat = 1

export interface Home {
  /** Absolute, with symlinks resolved. */
  readonly path: string
  /** True when this call made it. */
  readonly created: boolean
  /** True when others could look into it until this call took that away. */
  readonly closedToOthers: boolean
}

/** What is at a home's path, found without touching it. */
export type HomeCondition =
  | { readonly state: 'missing'; readonly path: string }
  | { readonly state: 'empty'; readonly path: string; readonly mode: number }
  | { readonly state: 'ours'; readonly path: string; readonly mode: number; readonly format: number }
  | { readonly state: 'refused'; readonly path: string; readonly error: InstarError }

/**
 * Where the home is: the flag, else `INSTAR_HOME`, else the platform's data directory.
 *
 * @throws {InstarError} `USAGE` for an empty flag, which is a variable that was not set.
 */
export async function resolveHome(flag: string | undefined, env: NodeJS.ProcessEnv = process.env): Promise<string> {
  if (flag === '') throw new InstarError('USAGE', '--home needs a directory')
  const chosen = flag ?? env.INSTAR_HOME
  if (chosen) return resolve(chosen)
  const { default: envPaths } = await import('env-paths')
  return resolve(envPaths('instar', { suffix: '' }).data)
}

/**
 * Makes sure that `path` is a home of this user that this version can work in; creates it, with what is missing above
 * it, where there is nothing. Resolves when the new directories and the mark would survive a power cut.
 *
 * A home that others may look into is closed to them (mode 0700) and used. One that others may write into is refused:
 * what lies in it may be theirs.
 *
 * @throws {InstarError} `HOME_UNUSABLE`, `HOME_FOREIGN`, `HOME_NEWER`, `DISK_FULL`. What was found is then as it was.
 */
export async function openHome(path: string): Promise<Home> {
  const found = await inspectHome(path)
  if (found.state === 'refused') throw found.error
  if (found.state === 'missing') return createHome(path)
  const closedToOthers = process.platform !== 'win32' && (found.mode & 0o077) !== 0
  if (found.state === 'empty') {
    await sweepDrafts(found.path) // one that was killed while it made this home has left its own
    await setMark(found.path)
  }
  if (closedToOthers) await chmod(found.path, 0o700)
  return { path: found.path, created: found.state === 'empty', closedToOthers }
}

async function createHome(path: string): Promise<Home> {
  const missing = await missingDirectories(path)
  try {
    await makeDirectories(path)
    await setMark(path)
  } catch (error) {
    // Innermost first; one that somebody else has begun to use in the meantime is not empty, and stays.
    for (const directory of missing) await rmdir(directory).catch(() => {})
    throw unusable(path, error, 'creating it')
  }
  return { path: await realpath(path), created: true, closedToOthers: false }
}

async function setMark(home: string): Promise<void> {
  try {
    await replaceFile(join(home, markName), Buffer.from(`${JSON.stringify({ format: homeFormat })}\n`))
    await flushDirectory(dirname(home))
  } catch (error) {
    throw unusable(home, error, 'writing its mark')
  }
}

/** `path` and what is missing above it, innermost first. */
async function missingDirectories(path: string): Promise<string[]> {
  const missing: string[] = []
  for (let at = path; dirname(at) !== at; at = dirname(at)) {
    if (
      await stat(at).then(
        () => true,
        () => false,
      )
    )
      break
    missing.push(at)
  }
  return missing
}

/** Says what is at `path`; never throws for what it finds there, and changes nothing. */
export async function inspectHome(path: string): Promise<HomeCondition> {
  try {
    return await examine(path)
  } catch (error) {
    const refusal = error instanceof InstarError ? error : unusable(path, error, 'looking at it')
    return { state: 'refused', path, error: refusal }
  }
}

async function examine(path: string): Promise<HomeCondition> {
  const real = await realpath(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
  if (real === undefined) return { state: 'missing', path }
  const stats = await stat(real)
  const { mode, uid } = stats
  if (!stats.isDirectory()) throw new InstarError('HOME_UNUSABLE', `${path} is not a directory`)
  if (process.getuid !== undefined && uid !== process.getuid())
    throw new InstarError('HOME_UNUSABLE', `${path} belongs to user ${uid}, not to you (${process.getuid()})`)
  await access(real, constants.R_OK | constants.W_OK | constants.X_OK)
  // Before the mark: of a home that somebody else makes meanwhile, nothing is there without it.
  const content = await readdir(real)
  const format = await readMark(real)
  if (format === undefined) {
    refuseForeign(real, content)
    return { state: 'empty', path: real, mode: mode & 0o777 }
  }
  if (format > homeFormat)
    throw new InstarError('HOME_NEWER', `${path} has format ${format}; this version knows format ${homeFormat}`, {
      details: { format, known: homeFormat },
    })
  if (process.platform !== 'win32' && (mode & 0o022) !== 0)
    throw new InstarError('HOME_UNUSABLE', `other users may write into ${path}`, {
      hint: `Look through what is in it; when all of it is yours, type: chmod 700 ${path}`,
    })
  return { state: 'ours', path: real, mode: mode & 0o777, format }
}

async function readMark(home: string): Promise<number | undefined> {
  const text = await readFile(join(home, markName), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
  if (text === undefined) return undefined
  try {
    return formatIn(JSON.parse(text))
  } catch (cause) {
    // Our own mark appears whole or not at all, so this is another program's file.
    throw new InstarError('HOME_FOREIGN', `${join(home, markName)} is not the mark of a home`, { cause })
  }
}

/** By hand: every command looks at the home, and zod takes longer to load than everything else that most of them do. */
function formatIn(mark: unknown): number {
  const format = typeof mark === 'object' && mark !== null && 'format' in mark ? mark.format : undefined
  if (Number.isSafeInteger(format) && (format as number) >= 1) return format as number
  throw new TypeError('it names no format')
}

function refuseForeign(directory: string, content: readonly string[]): void {
  // A draft is what a crash during our own first creation leaves.
  const others = content.filter((name) => !name.startsWith('.draft-'))
  if (others.length > 0)
    throw new InstarError(
      'HOME_FOREIGN',
      `${directory} is not empty and not a home (it holds ${others.slice(0, 3).join(', ')})`,
    )
}

function unusable(path: string, error: unknown, doing: string): InstarError {
  if (error instanceof InstarError) return error
  const named = diskError(error, `${doing}: ${path}`)
  if (named instanceof InstarError && named.code === 'DISK_FULL') return named
  return new InstarError('HOME_UNUSABLE', `cannot use ${path} as the home (${doing})`, { cause: error })
}
