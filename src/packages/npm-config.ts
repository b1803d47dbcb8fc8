import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import * as z from 'zod'
import { InstarError } from '../errors.ts'

/**
 * What npm is told about registries on this machine: the settings below under the names npm gives them, and no others.
 *
 *   registry  @scope:registry  //host/path/:_authToken|_auth|username|_password|certfile|keyfile
 *   proxy  https-proxy  noproxy  strict-ssl  ca  cafile  cert  key
 */
export type NpmConfig = Readonly<Record<string, Setting>>

type Setting = string | boolean | readonly string[]

export interface NpmConfigPlaces {
  /**
   * Folder whose `.npmrc` counts as the project's. None by default: the folder a program happens to be started in must
   * not decide where the code comes from that it will run.
   */
  readonly directory?: string
  readonly env?: NodeJS.ProcessEnv
  readonly home?: string
}

const lists = new Set(['ca'])
const understood = /^(registry|@[^/:]+:registry|\/\/.+|proxy|https-proxy|noproxy|strict-ssl|ca|cafile|cert|key)$/
const Settings = z.record(
  z.string(),
  z.union([z.string(), z.boolean(), z.null(), z.array(z.coerce.string()), z.object({})]),
)

/**
 * Reads npm's configuration as npm does: the global file, the user's, the project's, then `npm_config_*` in the
 * environment; later ones win. `${NAME}` is replaced from the environment. A file that is missing is no configuration.
 *
 * Left out: npm's built-in file and its command line, which are npm's own.
 *
 * @throws {InstarError} `CONFIG_UNREADABLE` where a file is there and cannot be read.
 */
export async function readNpmConfig(places: NpmConfigPlaces = {}): Promise<NpmConfig> {
  const { directory, env = process.env, home = homedir() } = places
  const own = environmentSettings(env)
  const prefix = own.prefix ?? env.PREFIX ?? dirname(dirname(process.execPath))
  const files = [
    own.globalconfig ?? join(prefix, 'etc', 'npmrc'),
    own.userconfig ?? join(home, '.npmrc'),
    ...(directory === undefined ? [] : [join(directory, '.npmrc')]),
  ]
  const config: Record<string, Setting> = {}
  const take = (key: string, value: Setting) => {
    if (!understood.test(key)) return
    config[key] = lists.has(key) && typeof value === 'string' ? [value] : value
  }
  for (const file of files) for (const [key, value] of await fileSettings(file, env)) take(key, value)
  for (const [key, value] of Object.entries(own)) take(key, value)
  return withCertificates(config, home)
}

async function fileSettings(file: string, env: NodeJS.ProcessEnv): Promise<[string, Setting][]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null
    throw new InstarError('CONFIG_UNREADABLE', `npm's configuration ${file} cannot be read`, { cause: error })
  })
  if (text === null) return []
  const { default: ini } = await import('ini')
  const expand = (value: string) => expandVariables(value, env)
  const settings: [string, Setting][] = []
  for (const [key, value] of Object.entries(Settings.parse(ini.parse(text)))) {
    if (typeof value === 'boolean') settings.push([expand(key), value])
    else if (typeof value === 'string') settings.push([expand(key), expand(value)])
    else if (Array.isArray(value)) settings.push([expand(key), value.map(expand)])
    // else: null unsets nothing for us, and a section is not a setting
  }
  return settings
}

/** `npm_config_fetch_retries=1` means `fetch-retries`; a key of one host (`//host/:_authToken`) is taken as it is. */
function environmentSettings(env: NodeJS.ProcessEnv): Record<string, string> {
  const settings: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    const key = /^npm_config_(.+)$/i.exec(name)?.[1]
    if (key === undefined || value === undefined || value === '') continue
    settings[key.startsWith('//') ? key : key.toLowerCase().replace(/(?!^)_/g, '-')] = value
  }
  return settings
}

/** npm's rule: `${NAME}` where set, `${NAME?}` or nothing, and an unknown name without `?` stays as it is written. */
function expandVariables(text: string, env: NodeJS.ProcessEnv): string {
  return text.replace(/(\\*)\$\{([^${}?]+)(\?)?\}/g, (whole, escapes: string, name: string, optional?: string) => {
    if (escapes.length % 2 === 1) return whole.slice((escapes.length + 1) / 2)
    return escapes.slice(escapes.length / 2) + (env[name] ?? (optional ? '' : `\${${name}}`))
  })
}

async function withCertificates(config: NpmConfig, home: string): Promise<NpmConfig> {
  const { cafile, ...rest } = config
  if (typeof cafile !== 'string' || rest.ca !== undefined) return rest
  const file = cafile.startsWith('~/') ? join(home, cafile.slice(2)) : resolve(cafile)
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null // as npm: a certificate file that is gone is no certificate file
    throw new InstarError('CONFIG_UNREADABLE', `npm's certificate file ${file} cannot be read`, { cause: error })
  })
  if (text === null) return rest
  const end = '-----END CERTIFICATE-----'
  const ca = text.split(end).filter((part) => part.trim() !== '')
  return { ...rest, ca: ca.map((part) => `${part.trimStart()}${end}`) }
}
