import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InstarError } from '../errors.ts'
import { shippedFile } from '../package-info.ts'
import { bundleManifest as file } from '../packages/bundle.ts'
import { identityIn, readBounded } from '../packages/read-manifest.ts'
import { type AppManifest, assertFillable, HostField, misfit, parsed } from './manifest.ts'
import type { Settings } from './settings.ts'

/** Versions of the format, as `manifest_version` names them. Each has the schema that its makers publish: `schema/mcpb/`. */
export const knownVersions = ['0.1', '0.2', '0.3', '0.4'] as const

interface McpConfig {
  readonly command?: string
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** What is used here of that which the schemas let pass. */
interface BundleManifest {
  readonly name: string
  readonly server: {
    readonly entry_point: string
    readonly mcp_config: McpConfig & {
      readonly command: string
      readonly platform_overrides?: Readonly<Record<string, McpConfig>>
    }
  }
  readonly user_config?: Settings
  readonly compatibility?: {
    readonly platforms?: readonly string[]
    readonly runtimes?: { readonly node?: string }
  }
  readonly _meta?: Readonly<Record<string, unknown>>
}

/**
 * What the manifest of an MCP bundle says about how it is run.
 *
 * @param root Absolute path of the folder with its files.
 * @throws {InstarError} `APP_MANIFEST_INVALID`, naming the place; `MANIFEST_MISMATCH`.
 */
export async function bundleManifest(
  root: string,
  expected: { readonly name: string; readonly version: string },
): Promise<AppManifest> {
  const text = await readBounded(join(root, file)).catch((cause) => {
    throw new InstarError('APP_MANIFEST_INVALID', `there is no ${file} that can be read`, { cause })
  })
  const { server, user_config: settings = {}, compatibility = {}, _meta = {} } = await validated(text)
  const { name, version } = await identityIn(text).catch((cause) => {
    throw misfit('version', 'it is none', cause)
  })
  if (name !== expected.name || version !== expected.version)
    throw new InstarError('MANIFEST_MISMATCH', 'the bundle is not the one that was asked for', {
      details: { expected: `${expected.name}@${expected.version}`, inside: `${name}@${version}`.slice(0, 300) },
    })
  const { platform_overrides: overrides = {}, ...base } = server.mcp_config
  // As the makers of the format do it: what is there for this system stands instead, field by field.
  const config = Object.hasOwn(overrides, process.platform) ? { ...base, ...overrides[process.platform] } : base
  const { args = [], env = {} } = config
  const command = commandIn(config.command)
  const { exclusive, requires } = parsed(HostField, _meta.instar ?? {}, '_meta.instar')
  assertFillable({ args, env, settings }, 'server.mcp_config')
  return {
    name,
    version,
    root,
    entry: belowRoot(server.entry_point),
    command,
    args,
    env,
    settings,
    exclusive,
    requires: command === 'node' || command.startsWith('./') ? requires : [...requires, command],
    engines: compatibility.runtimes?.node === undefined ? {} : { node: compatibility.runtimes.node },
    platforms: compatibility.platforms ?? null,
  }
}

/** A path without what says that it begins in the bundle. */
const belowRoot = (path: string) => path.replaceAll('${/}', '/').replace(/^\$\{__dirname\}\//, '')

/** A program in the bundle becomes a path that begins with `./`; one of the host stays a name. */
function commandIn(command: string): string {
  const path = belowRoot(command)
  if (/^[\w.+-]+$/.test(path) && path === command) return path
  const names = path.split('/')
  if (path.startsWith('/') || path.includes('\\') || path.includes('${') || names.includes('..'))
    throw misfit('server.mcp_config.command', 'it lies outside of the bundle')
  return `./${names.filter((name) => name !== '.').join('/')}`
}

async function validated(text: string): Promise<BundleManifest> {
  const value = jsonOf(text)
  const { manifest_version, dxt_version } = value as { manifest_version?: unknown; dxt_version?: unknown }
  const at = manifest_version === undefined && dxt_version !== undefined ? 'dxt_version' : 'manifest_version'
  const wanted = manifest_version ?? dxt_version
  const version = knownVersions.find((known) => known === wanted)
  if (version === undefined) {
    const given = wanted === undefined ? 'it is missing' : `${JSON.stringify(wanted).slice(0, 100)} is not known here`
    throw misfit(at, `${given}; known are ${knownVersions.join(', ')}`)
  }
  const validate = await validatorOf(version)
  if (validate(value)) return value
  const { instancePath, params, message = 'it is none' } = validate.errors![0]!
  const place = [...instancePath.split('/').slice(1), params.missingProperty ?? params.additionalProperty]
  throw misfit(place.filter((part) => part !== undefined).join('.') || file, message)
}

type Version = (typeof knownVersions)[number]
type Validator = import('ajv').ValidateFunction<BundleManifest>

/** Compiling a schema takes longer than using it, and each start of each app reads a manifest. */
const validators = new Map<Version, Promise<Validator>>()

function validatorOf(version: Version): Promise<Validator> {
  const known = validators.get(version)
  if (known !== undefined) return known
  const compiled = compile(version)
  validators.set(version, compiled)
  return compiled
}

async function compile(version: Version): Promise<Validator> {
  const [{ Ajv }, { default: formats }, schema] = await Promise.all([
    import('ajv'),
    import('ajv-formats'),
    readFile(shippedFile(`schema/mcpb/mcpb-manifest-v${version}.schema.json`), 'utf8'),
  ])
  const ajv = new Ajv()
  formats.default(ajv)
  return ajv.compile<BundleManifest>(JSON.parse(schema))
}

function jsonOf(text: string): object {
  try {
    const value: unknown = JSON.parse(text.replace(/^\ufeff/, ''))
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // said below
  }
  throw new InstarError('APP_MANIFEST_INVALID', `${file} is no JSON object`)
}
