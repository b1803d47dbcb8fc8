import { chmod, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { flush, flushDirectory, makeDirectories } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { shellQuoted } from '../shell-quoted.ts'

export interface LauncherOptions {
  /** Absolute; created where it is missing. Usually on PATH. */
  readonly directory: string
  /** The command's name. */
  readonly name: string
  readonly home: string
  /** The runtime's name in the configuration. */
  readonly runtime: string
  /** Path of the file to run, inside a release. */
  readonly entry: string
  /** Absolute path of the Node that runs it; the one that runs this by default. */
  readonly node?: string
  /** That executable is Electron. */
  readonly electron?: boolean
  readonly bundled?: { readonly path: string; readonly version: string } | undefined
  /** Absolute path of the built `launcher.js`, where the host keeps it elsewhere than beside this file. */
  readonly launcher?: string
}

/**
 * Writes the command of a host: `NAME` for POSIX shells (mode 0755) and `NAME.cmd` for Windows. Both replace what was
 * there in one step, so that a command in use is never half written.
 *
 * @throws {InstarError} `CONFIG_INVALID` for a value that no command line can carry.
 */
export async function writeLauncher(options: LauncherOptions): Promise<void> {
  const { directory, name } = options
  if (!/^[\w][\w.+-]*$/.test(name)) throw new InstarError('CONFIG_INVALID', `"${name}" cannot name a command`)
  const shell = shellText(options)
  const batch = batchText(options)
  await makeDirectories(directory)
  await replaceProgram(directory, name, shell)
  await replaceProgram(directory, `${name}.cmd`, batch)
}

/** Executable from the moment it has its name, so that a call at this moment finds the old one or the new. */
async function replaceProgram(directory: string, name: string, text: string): Promise<void> {
  const draft = join(directory, `.draft-${process.pid}-${name}`)
  try {
    await writeFile(draft, text)
    await chmod(draft, 0o755)
    await flush(draft)
    await rename(draft, join(directory, name))
  } catch (error) {
    await rm(draft, { force: true }).catch(() => {}) // the first error is the one to report
    throw error
  }
  await flushDirectory(directory)
}

function words({ node = process.execPath, launcher, home, runtime, entry, bundled }: LauncherOptions): string[] {
  const file = launcher ?? fileURLToPath(new URL('./launcher.js', import.meta.url))
  const all = [node, file, home, runtime, entry, bundled?.path ?? '', bundled?.version ?? '']
  const bad = all.find((word) => word.includes('\0'))
  if (bad !== undefined) throw new InstarError('CONFIG_INVALID', 'a path holds a NUL')
  return all
}

const isElectron = ({ electron, node = process.execPath }: LauncherOptions) =>
  electron ?? (process.versions.electron !== undefined && node === process.execPath)

/** For any POSIX shell. `exec` makes the command the program itself: one process, its signals and its exit code. */
export function shellText(options: LauncherOptions): string {
  const quoted = words(options).map(shellQuoted)
  const asNode = isElectron(options) ? 'ELECTRON_RUN_AS_NODE=1\nexport ELECTRON_RUN_AS_NODE\n' : ''
  return `#!/bin/sh\n# Runs the release of ${options.runtime} that is in use. Written by Instar; changes are lost.\n${asNode}exec ${quoted.join(' ')} "$@"\n`
}

/**
 * For cmd.exe. Inside double quotes only `%` is special, and `"` cannot be written; Windows has it in no path. A
 * backslash before the closing quote would be taken for its escape, so it is doubled.
 */
export function batchText(options: LauncherOptions): string {
  const all = words(options)
  const bad = all.find((word) => /["\r\n]/.test(word))
  // Such a path exists on POSIX only, where nobody runs the file.
  if (bad !== undefined) return '@echo this command cannot be run from cmd.exe 1>&2\r\n@exit /b 1\r\n'
  const quoted = all.map((word) => `"${word.replaceAll('%', '%%').replace(/\\+$/, '$&$&')}"`)
  const lines = [
    '@echo off',
    'setlocal DisableDelayedExpansion',
    // cmd reads this file in the console's code page.
    ...(/[^\x20-\x7e]/.test(quoted.join('')) ? ['chcp 65001 >nul'] : []),
    ...(isElectron(options) ? ['set ELECTRON_RUN_AS_NODE=1'] : []),
    `${quoted.join(' ')} %*`,
    'exit /b %ERRORLEVEL%',
  ]
  return `${lines.join('\r\n')}\r\n`
}
