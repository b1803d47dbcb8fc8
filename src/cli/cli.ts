import { access } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Config } from '../config.ts'
import { appDefaults, consoleDefaults, journalDefaults, pluginDefaults, sessionDefaults } from '../config-defaults.ts'
import { exitCodeOf } from '../errors.ts'
import { resolveHome } from '../home.ts'
import type { Globals, Output } from './output.ts'

/** What every command is given. */
export interface Cli {
  readonly globals: Globals
  readonly output: Output
  /** Aborts on Ctrl-C and on SIGTERM. */
  readonly signal: AbortSignal
}

/** A command's work; answers with the exit code. */
export type Command<Arguments extends readonly unknown[]> = (cli: Cli, ...args: Arguments) => Promise<number>

export const exit = { done: 0, failed: 1, usage: 2, notRunning: 3, keptOld: 5, timedOut: 6 } as const

/** For what was not done because of an error with this code. */
export function failedBy(code: string | undefined): number {
  return exitCodeOf(code) === exit.timedOut ? exit.timedOut : exit.failed
}

const byGravity = [exit.done, exit.usage, exit.keptOld, exit.timedOut, exit.failed]

/** The worst that befell one of several decides. */
export function worst(exits: readonly number[]): number {
  return byGravity.findLast((code) => exits.includes(code)) ?? exit.failed
}

const configName = 'instar.config.json'

export function homeOf({ globals }: Cli): Promise<string> {
  return resolveHome(globals.home)
}

/** The configuration file: the one named, else the one in this folder, else none. */
export async function configFile({ globals }: Cli): Promise<string | undefined> {
  if (globals.config !== undefined) return resolve(globals.config)
  const here = resolve(configName)
  return access(here).then(
    () => here,
    () => undefined,
  )
}

/** @throws {InstarError} `CONFIG_UNREADABLE`, `CONFIG_INVALID` */
export async function configOf(cli: Cli): Promise<Config> {
  const file = await configFile(cli)
  if (file === undefined)
    return {
      runtimes: {},
      plugins: pluginDefaults,
      apps: appDefaults,
      sessions: sessionDefaults,
      console: consoleDefaults,
      journal: journalDefaults,
    }
  const { loadConfig } = await import('../config.ts')
  return loadConfig(file)
}

/** For what takes a while: it ends with the command, and shows how far it has come. */
export function asking({ signal, output }: Cli, about: string) {
  return { signal, onProgress: (data: unknown) => output.progress(about, data) }
}
