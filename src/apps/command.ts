import { homedir } from 'node:os'
import { join, sep } from 'node:path'
import type { AppInstall } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import { findProgram } from '../find-program.ts'
import { fill } from '../runtime/fill.ts'
import type { AppManifest } from './manifest.ts'
import { type Settled, settle } from './settings.ts'

/** How a process of an app is started. */
export interface AppCommand {
  /** Absolute path. */
  readonly executable: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** What `${…}` may name in the arguments and the environment of a manifest, beside settings: `${user_config.KEY}`. */
export const placeholders = ['__dirname', 'data', 'HOME', 'DESKTOP', 'DOCUMENTS', 'DOWNLOADS', '/', 'pathSeparator']

/** What of that may stand in the default of a setting. */
export const defaultPlaceholders = placeholders.slice(2)

/** What stands behind `${` and before `}`. */
export const namedIn = (text: string): string[] => [...text.matchAll(/\$\{([^}]*)\}/g)].map(([, name]) => name!)

export const settingPrefix = 'user_config.'

/**
 * What is started of an app in one workspace.
 *
 * @param data Absolute path of what the app keeps there.
 * @param secrets By the name that the install's `credentials` give each.
 * @throws {InstarError} `APP_CONFIG_INVALID`, which names the setting; `APP_CAPABILITY_MISSING` where the host has not the
 *   program that it says it has; `CONFIG_INVALID` for an argument of the install
 *   that names what is not known.
 */
export async function commandOf(
  { root, command, args, env, settings }: AppManifest,
  install: AppInstall,
  data: string,
  secrets: Readonly<Record<string, string>>,
): Promise<AppCommand> {
  const places = placesOf(homedir())
  const settled = await settle(settings, install, secrets)
  const known: Settled = {
    ...Object.fromEntries(Object.entries({ ...places, __dirname: root, data }).map(([name, text]) => [name, [text]])),
    ...Object.fromEntries(
      // A default may name a place; what somebody has given stands as it is.
      Object.entries(settled).map(([key, values]) => [
        `${settingPrefix}${key}`,
        Object.hasOwn(install.config, key) || Object.hasOwn(secrets, key)
          ? values
          : values.map((value) => fill(value, places)),
      ]),
    ),
  }
  const texts = Object.fromEntries(Object.entries(known).map(([name, values]) => [name, values.join(',')]))
  const own = Object.fromEntries(Object.entries(secrets).filter(([name]) => settings[name]?.sensitive !== true))
  return {
    executable: programOf(command, root, data),
    args: [...args, ...install.args].flatMap((arg) => wholeOf(arg, known) ?? [fill(arg, texts)]),
    env: {
      ...Object.fromEntries(Object.entries(env).map(([name, value]) => [name, fill(value, texts)])),
      ...install.env,
      ...own,
      INSTAR_APP_DATA: data,
    },
  }
}

function programOf(command: string, root: string, cwd: string): string {
  if (command === 'node') return process.execPath
  if (command.startsWith('./')) return join(root, command)
  const program = findProgram(command, cwd, process.env.PATH)
  if (program !== undefined) return program
  throw new InstarError('APP_CAPABILITY_MISSING', `there is no program ${command} here`, {
    hint: `Install it where the controller's PATH leads, or take "${command}" out of \`apps.capabilities\`.`,
  })
}

/** The values of a setting that is a whole argument become an argument each. */
function wholeOf(arg: string, known: Settled): readonly string[] | undefined {
  const [, name] = /^\$\{([^}]*)\}$/.exec(arg) ?? []
  return name !== undefined && Object.hasOwn(known, name) ? known[name] : undefined
}

const placesOf = (home: string) => ({
  HOME: home,
  DESKTOP: join(home, 'Desktop'),
  DOCUMENTS: join(home, 'Documents'),
  DOWNLOADS: join(home, 'Downloads'),
  '/': sep,
  pathSeparator: sep,
})
