import { access, constants, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { exists } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { bundleFolder } from '../packages/bundle.ts'
import { readManifest } from '../packages/read-manifest.ts'
import { entryPath } from '../runtime/entry.ts'
import { enginesSatisfied } from '../runtime/node-version.ts'
import { settingPrefix } from './command.ts'
import { namedIn, places } from './places.ts'
import { defaultsOf, problemOf, type Settings } from './settings.ts'

const Words = z.array(z.string().max(4096)).max(100)

/** What a package of any kind may say about what it is for its host. All of it may be left out. */
export const HostField = z.strictObject({
  /** Two of it must never run for one workspace at the same time, for example because of a lock on its data. */
  exclusive: z.boolean().default(false),
  /** What the host must be able to do, by the host's names. */
  requires: z.array(z.string().min(1).max(100)).max(100).default([]),
})

/** What the `package.json` of an app may say about being one: the field `instar`. All of it may be left out. */
const AppField = HostField.extend({
  /** Put before the arguments of an install. */
  args: Words.default([]),
  env: z.record(z.string().regex(/^[A-Za-z_]\w*$/), z.string().max(32_768)).default({}),
})

/** How an app is run, whatever kind of package it is. `${…}` in arguments and environment is filled in for each start. */
export interface AppManifest extends z.output<typeof HostField> {
  readonly name: string
  readonly version: string
  /** Absolute path of the folder that the paths below begin in, and `${__dirname}` names. */
  readonly root: string
  /** Path of a file that has to be there. */
  readonly entry: string
  /** `node`, which is the controller's; a path that begins with `./`; or the name of a program that the host has. */
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly settings: Settings
  readonly engines: Readonly<Record<string, string>>
  /** As `process.platform` names them; null for all. */
  readonly platforms: readonly string[] | null
}

/** What this host is, for the gate. */
export interface AppHost {
  readonly nodeVersion: string
  readonly capabilities: readonly string[]
}

/**
 * What a package says about how it is run: an MCP bundle in its own manifest, an npm package in its `package.json`.
 *
 * @throws {InstarError} `APP_MANIFEST_INVALID`, naming the place; `MANIFEST_INVALID`; `MANIFEST_MISMATCH` where it is another
 *   package or version than `expected`.
 */
export async function readAppManifest(
  tree: string,
  expected: { readonly name: string; readonly version: string },
): Promise<AppManifest> {
  const root = join(tree, bundleFolder)
  // Nothing of a bundle lies at the root, and no npm package is without this.
  if (await exists(join(tree, 'package.json'))) return packageManifest(tree, expected)
  const { bundleManifest } = await import('./bundle-manifest.ts')
  return bundleManifest(root, expected)
}

async function packageManifest(
  tree: string,
  expected: { readonly name: string; readonly version: string },
): Promise<AppManifest> {
  const { name, version, bin, engines } = await readManifest(tree, expected)
  const { instar = {} } = JSON.parse((await readFile(join(tree, 'package.json'), 'utf8')).replace(/^\ufeff/, ''))
  const { args, env, ...field } = parsed(AppField, instar, 'instar')
  const entry = entryIn(name, bin)
  const manifest: AppManifest = {
    ...field,
    name,
    version,
    root: tree,
    entry,
    command: 'node',
    args: [`\${__dirname}/${entry}`, ...args],
    env,
    settings: {},
    engines,
    platforms: null,
  }
  assertFillable({ args, env, settings: {} }, 'instar')
  return manifest
}

/** @throws {InstarError} `APP_MANIFEST_INVALID`, naming the place. */
export function parsed<Shape extends z.ZodType>(shape: Shape, value: unknown, at: string): z.output<Shape> {
  const read = shape.safeParse(value)
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw misfit([at, ...issue!.path].join('.'), issue!.message, read.error)
}

export const misfit = (at: string, why: string, cause?: unknown) =>
  new InstarError('APP_MANIFEST_INVALID', `${at}: ${why}`, { cause, details: { at } })

/** As npm chooses what `npx NAME` runs: the only command, or the one that is called as the package is. */
function entryIn(name: string, bin: Readonly<Record<string, string>>): string {
  const paths = new Set(Object.values(bin))
  const [only] = paths
  const entry = paths.size === 1 ? only : bin[name.replace(/^@[^/]*\//, '')]
  if (entry === undefined)
    throw new InstarError('APP_MANIFEST_INVALID', `${name} names no command that it is run by`, {
      details: { bin: Object.keys(bin) },
    })
  return entry
}

/**
 * That all which is to be filled in can be, and that no secret becomes an argument, which every user of the machine sees.
 *
 * @throws {InstarError} `APP_MANIFEST_INVALID`, naming the place.
 */
export function assertFillable({ args, env, settings }: Pick<AppManifest, 'args' | 'env' | 'settings'>, at: string) {
  const placeNames = Object.keys(places())
  const known = [...placeNames, '__dirname', 'data', ...Object.keys(settings).map((key) => `${settingPrefix}${key}`)]
  const assertKnown = (text: string, names: readonly string[], where: string) => {
    const unknown = namedIn(text).find((name) => !names.includes(name))
    if (unknown !== undefined) throw misfit(where, `nothing is known to fill in for \${${unknown}}`)
  }
  for (const [index, arg] of args.entries()) {
    assertKnown(arg, known, `${at}.args.${index}`)
    const secret = namedIn(arg).find((name) => settings[name.slice(settingPrefix.length)]?.sensitive)
    if (secret !== undefined) throw misfit(`${at}.args.${index}`, 'a secret must not be an argument')
  }
  for (const [name, value] of Object.entries(env)) assertKnown(value, known, `${at}.env.${name}`)
  for (const [key, setting] of Object.entries(settings)) {
    const where = `user_config.${key}.default`
    const defaults = defaultsOf(setting)
    if (defaults.length > 1 && !setting.multiple) throw misfit(where, 'it takes one value')
    for (const value of defaults) {
      assertKnown(value, placeNames, where)
      const why = namedIn(value).length > 0 ? null : problemOf(setting, value)
      if (why !== null) throw misfit(where, why)
    }
  }
}

/**
 * Whether this host can run it.
 *
 * @throws {InstarError} `PLATFORM_UNSUPPORTED`, `ENGINES_UNMET`, `APP_CAPABILITY_MISSING`, `ENTRY_MISSING`;
 *   `APP_MANIFEST_INVALID` where its program is none.
 */
export async function assertRunnable(manifest: AppManifest, host: AppHost): Promise<void> {
  const { name, version, root, engines, platforms, requires, entry, command } = manifest
  if (platforms !== null && !platforms.includes(process.platform))
    throw new InstarError('PLATFORM_UNSUPPORTED', `${name} ${version} runs on ${platforms.join(', ')} only`, {
      hint: 'Install one that was made for this system.',
    })
  if (!enginesSatisfied(engines.node, host.nodeVersion))
    throw new InstarError(
      'ENGINES_UNMET',
      `${name} ${version} wants Node ${engines.node}, and this is ${host.nodeVersion}`,
    )
  const missing = requires.filter((capability) => !host.capabilities.includes(capability))
  if (missing.length > 0)
    throw new InstarError('APP_CAPABILITY_MISSING', `${name} ${version} needs ${missing.join(', ')} of its host`, {
      details: { missing },
    })
  await entryPath(root, entry)
  if (!command.startsWith('./')) return
  await access(await entryPath(root, command), constants.X_OK).catch((cause) => {
    throw misfit('server.mcp_config.command', `${command} is not executable`, cause)
  })
}
