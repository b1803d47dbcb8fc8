import { join } from 'node:path'
import type { AppInstall } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import { findProgram } from '../find-program.ts'
import { fill } from '../runtime/fill.ts'
import type { AppManifest } from './manifest.ts'
import { places } from './places.ts'
import { type Settled, settle } from './settings.ts'

/** How a process of an app is started. */
export interface AppCommand {
  /** Absolute path. */
  readonly executable: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** Before the name of a setting between `${` and `}`. */
export const settingPrefix = 'user_config.'

/**
 * What is started of an app in one workspace. In arguments and environment `${__dirname}`, `${data}`, the places of
 * `places.ts` and `${user_config.KEY}` are filled in; a secret in no argument, where every user of the machine sees it.
 *
 * @param data Absolute path of what the app keeps there.
 * @param secrets By the name that the install's `credentials` give each.
 * @throws {InstarError} `APP_CONFIG_INVALID`, which names the setting; `APP_CAPABILITY_MISSING` where the host has not the
 *   program that it says it has; `CONFIG_INVALID` for an argument of the install that names what cannot be filled in.
 */
export async function commandOf(
  { root, command, args, env, settings }: AppManifest,
  install: AppInstall,
  data: string,
  secrets: Readonly<Record<string, string>>,
): Promise<AppCommand> {
  const isSecret = (key: string) => settings[key]?.sensitive === true
  const settled = await settle(settings, install, secrets)
  const known = { ...places(), __dirname: root, data }
  const all = { ...known, ...textsOf(settled) }
  const open = withoutNames(settled, isSecret)
  const shown = { ...known, ...textsOf(open) }
  return {
    executable: programOf(command, root, data),
    args: [...args, ...install.args].flatMap((arg) => wholeOf(arg, open) ?? [fill(arg, shown)]),
    env: {
      ...Object.fromEntries(Object.entries(env).map(([name, value]) => [name, fill(value, all)])),
      ...install.env,
      ...withoutNames(secrets, isSecret),
      INSTAR_APP_DATA: data,
    },
  }
}

const withoutNames = <Value>(record: Readonly<Record<string, Value>>, isLeftOut: (name: string) => boolean) =>
  Object.fromEntries(Object.entries(record).filter(([name]) => !isLeftOut(name)))

const textsOf = (settled: Settled) =>
  Object.fromEntries(Object.entries(settled).map(([key, values]) => [`${settingPrefix}${key}`, values.join(',')]))

/** A setting that is a whole argument becomes one for each of its values. */
function wholeOf(arg: string, settled: Settled): readonly string[] | undefined {
  const [, key] = /^\$\{user_config\.([^}]*)\}$/.exec(arg) ?? []
  return key !== undefined && Object.hasOwn(settled, key) ? settled[key] : undefined
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
