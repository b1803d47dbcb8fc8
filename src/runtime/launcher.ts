/**
 * The command that a host ships, for example `kanban`: runs the release that is in use now, or the one bundled with the
 * host where there is none to be trusted. `write-launcher.ts` writes the few lines that start this file:
 *
 *   node launcher.js HOME RUNTIME ENTRY BUNDLED-FOLDER BUNDLED-VERSION [ARGUMENT ...]      "" for nothing bundled
 *
 * The entry runs in this very process, so its terminal, signals, exit code and standard streams are native ones. It is
 * started as if it had been named on Node's command line: `process.argv[1]`, `require.main` and `import.meta.url` are
 * its own.
 *
 * A person waits for this, so it imports no more than it needs.
 */
import { stat } from 'node:fs/promises'
import Module from 'node:module'
import { resolve } from 'node:path'
import { InstarError } from '../errors.ts'
import { contentOf } from '../releases/layout.ts'
import { type Pointed, readPointer } from '../releases/pointer.ts'
import { readTree } from '../releases/tree.ts'
import { entryPath } from './entry.ts'
import { overrideVariable } from './environment.ts'
import { launchOrder } from './launch-order.ts'

interface Command {
  readonly home: string
  readonly runtime: string
  readonly entry: string
  readonly bundled: { readonly path: string; readonly version: string } | null
}

async function chooseEntry(command: Command): Promise<string> {
  const override = process.env[overrideVariable]
  if (override) return overridden(override, command.entry)
  return (await installedEntry(command)) ?? (await bundledEntry(command))
}

/** A folder stands for the entry in it. Never falls back: whoever sets it wants to know what runs. */
async function overridden(override: string, entry: string): Promise<string> {
  const path = resolve(override)
  const kind = await stat(path).then(
    (stats) => (stats.isDirectory() ? 'folder' : stats.isFile() ? 'file' : 'other'),
    () => 'nothing',
  )
  if (kind === 'file') return path
  if (kind === 'folder') return entryPath(path, entry)
  throw new InstarError(
    'RUNTIME_OVERRIDE_MISSING',
    `${overrideVariable} names ${path}, where there is no file or folder`,
  )
}

async function installedEntry({ home, runtime, entry, bundled }: Command): Promise<string | null> {
  const { banned = [], problem, ...pointers } = await readPointer(home, 'runtime', runtime)
  if (problem !== undefined) warn(`${problem.reason} (${problem.code})`)
  for (const release of launchOrder(pointers, { banned, bundled: bundled?.version ?? null })) {
    try {
      return await wholeEntry(release, entry)
    } catch (error) {
      warn(`${runtime} ${release.version} is not run: ${(error as Error).message}`)
    }
  }
  return null
}

async function wholeEntry(release: Pointed, entry: string): Promise<string> {
  const content = contentOf(release)
  const { digest } = await readTree(content)
  if (digest !== release.digest) throw new Error('its files are not those that were installed')
  return entryPath(content, entry)
}

async function bundledEntry({ runtime, entry, bundled }: Command): Promise<string> {
  if (bundled !== null) return entryPath(bundled.path, entry)
  throw new InstarError('RUNTIME_NOT_INSTALLED', `no release of ${runtime} can be run, and none came with the host`)
}

function warn(message: string): void {
  process.stderr.write(`warning: ${message}\n`)
}

const [node, , home, runtime, entry, bundledPath, bundledVersion, ...args] = process.argv as [
  ...[string, string, string, string, string, string, string],
  ...string[],
]
const bundled = bundledPath === '' ? null : { path: bundledPath, version: bundledVersion }
// No top-level await: while this module waits, Node gives an exit without a code the code 13.
chooseEntry({ home, runtime, entry, bundled }).then(
  (path) => {
    process.argv = [node, path, ...args]
    // Outside the promise, so that what the entry throws is reported as Node reports it.
    setImmediate(() => Module.runMain(path))
  },
  (error: Error & { hint?: string }) => {
    process.stderr.write(`error: ${error.message}\n${error.hint === undefined ? '' : `${error.hint}\n`}`)
    process.exitCode = 1
  },
)
