import { stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import type { AppInstall } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import { didYouMean } from '../nearest.ts'
import { fill } from '../runtime/fill.ts'
import { places } from './places.ts'

/** One thing that an app lets its user decide, as MCP bundles describe it (`user_config`). */
export interface Setting {
  readonly type: 'string' | 'number' | 'boolean' | 'directory' | 'file'
  readonly required?: boolean
  readonly default?: string | number | boolean | readonly string[]
  /** Several values may be given. */
  readonly multiple?: boolean
  /** A secret: it is named, and never written down. */
  readonly sensitive?: boolean
  /** Of numbers. */
  readonly min?: number
  readonly max?: number
}

export type Settings = Readonly<Record<string, Setting>>

/** Values by setting, those of defaults filled in; none where an optional one has neither been given nor a default. */
export type Settled = Readonly<Record<string, readonly string[]>>

/**
 * Every setting with what an install has given for it, else its default.
 *
 * @param secrets By the name of a sensitive setting; null where they are not to be looked at yet.
 * @throws {InstarError} `APP_CONFIG_INVALID`, which names the setting.
 */
export async function settle(
  settings: Settings,
  { config, credentials }: AppInstall,
  secrets: Readonly<Record<string, string>> | null,
): Promise<Settled> {
  const settled: Record<string, readonly string[]> = {}
  for (const [key, setting] of Object.entries(settings)) {
    const given = Object.hasOwn(config, key) ? config[key]! : []
    if (setting.sensitive && given.length > 0) throw refused(key, 'it is a secret; give it as a credential')
    const isNamed = setting.sensitive === true && Object.hasOwn(credentials, key)
    const values = isNamed ? (secrets === null ? [] : [secrets[key]!]) : given
    for (const value of values) {
      const why = problemOf(setting, value) ?? (await absenceOf(setting, value))
      if (why !== null) throw refused(key, why)
    }
    if (values.length > 1 && !setting.multiple) throw refused(key, 'it takes one value')
    settled[key] = values.length > 0 || isNamed ? values : defaultsOf(setting).map((value) => fill(value, places()))
    if (setting.required && !isNamed && !settled[key].some((value) => value !== '')) throw refused(key, 'it is needed')
  }
  return settled
}

/** That an install gives nothing which the app does not ask for. @throws {InstarError} `APP_CONFIG_INVALID` */
export function assertKnown(settings: Settings, { config }: AppInstall): void {
  const known = Object.keys(settings)
  for (const key of Object.keys(config))
    if (!known.includes(key)) throw refused(key, `the app has no such setting${didYouMean(key, known)}`)
}

/** As they stand in a manifest. */
export function defaultsOf({ default: value }: Setting): readonly string[] {
  if (value === undefined) return []
  return typeof value === 'object' ? value : [String(value)]
}

/** Why a value is none for a setting; null where it is one. */
export function problemOf({ type, min = -Infinity, max = Infinity }: Setting, value: string): string | null {
  if (type === 'boolean') return value === 'true' || value === 'false' ? null : 'it must be true or false'
  if (type === 'number') {
    const number = value.trim() === '' ? Number.NaN : Number(value)
    if (!Number.isFinite(number)) return 'it must be a number'
    return number < min ? `it must be at least ${min}` : number > max ? `it must be at most ${max}` : null
  }
  if (type === 'string' || isAbsolute(value)) return null
  return `it must be the absolute path of a ${type}`
}

async function absenceOf({ type }: Setting, value: string): Promise<string | null> {
  if (type !== 'directory' && type !== 'file') return null
  const stats = await stat(value).catch(() => null) // whatever keeps it from being seen keeps it from being used
  return (type === 'file' ? stats?.isFile() : stats?.isDirectory()) ? null : `there is no ${type} ${value}`
}

const refused = (key: string, why: string) =>
  new InstarError('APP_CONFIG_INVALID', `${key}: ${why}`, { details: { key } })
