import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import validRange from 'semver/ranges/valid.js'
import * as z from 'zod'
import { appDefaults, consoleDefaults, journalDefaults, pluginDefaults, sessionDefaults } from './config-defaults.ts'
import { InstarError } from './errors.ts'
import { didYouMean } from './nearest.ts'
import { readAddress } from './plugins/address.ts'
import { lineMatcher } from './runtime/line-matcher.ts'

// ---- shapes

const dayMs = 86_400_000
const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: dayMs, w: 7 * dayMs }
const durationMsMax = 365 * dayMs

/** Reads "0", "500ms", "90s", "15m", "12h", "3d" or "2w" as milliseconds; undefined where it is none of these. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0
  const match = /^(\d{1,9})(ms|s|m|h|d|w)$/.exec(text)
  return match === null ? undefined : Number(match[1]) * unitMs[match[2]!]!
}

/** An object whose unknown keys are errors that name the nearest known one. */
function known<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const names = Object.keys(shape)
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys
            .map((key) => `unknown key "${key}"${didYouMean(key, names) || `; known: ${names.join(', ')}`}`)
            .join('; ')
        : undefined,
  })
}

/** The official grammar of semver 2.0.0 without build metadata, which a version in use never carries. */
const exactVersion =
  /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-((0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?$/

export const runtimeName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'must be a name of at most 64 small letters, digits, ".", "_" and "-"')

export const version = z.string().max(256).regex(exactVersion, 'must be an exact version such as 1.2.3')

const packageName = z
  .string()
  .max(214)
  .regex(/^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/, 'must be the name of an npm package')

const channel = z
  .string()
  .max(128)
  .refine(
    (text) =>
      /^(?!v\d)[A-Za-z][\w.-]*$/.test(text) || (text.trim() === text && validRange(text) !== null && text !== ''),
    'must be a dist-tag such as "latest", or a semver range',
  )

const entry = z
  .string()
  .max(1024)
  .regex(/^(?!\/)[^\\\0]+$/, 'must be a path inside the package, with "/" between names')
  .refine((path) => !path.split('/').includes('..'), 'must stay inside the package')

const path = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[^\0]*$/, 'must be a path')

// A bare word would be searched on PATH, where anything may answer to it.
const executable = path.refine(
  (file) => isAbsolute(file) || /^\.\.?[/\\]/.test(file),
  'must be an absolute path, or begin with "./" or "../"',
)

const noNul = z.string().regex(/^[^\0]*$/, 'must not hold a NUL')

/** Refuses every `${…}` in a text for which nothing would be filled in. */
const filledBy =
  (...names: readonly string[]) =>
  (text: string, { addIssue }: { addIssue(message: string): void }) => {
    for (const [whole, name] of text.matchAll(/\$\{([^}]*)\}/g))
      if (!names.includes(name!))
        addIssue(`"${whole}" is not filled in${didYouMean(name!, names) || `; known: ${names.join(', ')}`}`)
  }

const filled = noNul.max(4096).superRefine(filledBy('port', 'home', 'release'))

const milliseconds = (least: number, most: number) => z.int().min(least).max(most)

const duration = z
  .string()
  .regex(/^(0|\d{1,9}(ms|s|m|h|d|w))$/, 'must be "0" or a number with its unit, such as "90s", "15m", "12h" or "3d"')
  .transform((text, { addIssue }) => {
    const durationMs = parseDuration(text) ?? 0
    if (durationMs > durationMsMax) addIssue('must be at most "365d"')
    return durationMs
  })

// ---- the schema

const readiness = ['http', 'line', 'tcp', 'ipc'] as const

const ofAnswer = filledBy('port', 'nonce')

const elsewhere = { error: 'must be a path that begins with "/", or an address on this machine', abort: true }

/** Whether what is asked there is asked of this machine, whatever the port will be. */
function isLocal(place: string): boolean {
  const url = place.replaceAll('${port}', '1')
  const base = 'http://localhost'
  return URL.canParse(url, base) && ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url, base).hostname)
}

const probe = known({
  http: z
    .string()
    .max(2048)
    .regex(/^(\/|https?:\/\/(127\.0\.0\.1|localhost|\[::1\])[:/])[^\s\0]*$/, elsewhere)
    .refine(isLocal, elsewhere)
    .superRefine(ofAnswer)
    .optional()
    .describe('A path that is asked for on the port the runtime was given, or a whole address on this machine.'),
  status: z
    .int()
    .min(100)
    .max(599)
    .optional()
    .describe('The status of a good answer; any from 200 to 299 where absent.'),
  contains: z
    .string()
    .min(1)
    .max(1000)
    .superRefine(ofAnswer)
    .optional()
    .describe(
      'A marker in the answer that only this runtime sends, so that another program is never taken for it; ${nonce} where it echoes INSTAR_NONCE.',
    ),
  headers: z
    .record(
      z.string().regex(/^[\w!#$%&'*+.^`|~-]{1,256}$/, 'must be the name of a header'),
      z.string().min(1).max(1000).superRefine(ofAnswer),
    )
    .optional()
    .describe('Headers of a good answer, and the text that each must hold.'),
  line: z
    .string()
    .min(1)
    .max(1000)
    .superRefine((line, { addIssue }) => {
      try {
        lineMatcher(line)
      } catch (error) {
        addIssue((error as Error).message)
      }
    })
    .optional()
    .describe(
      'Text within a line that it prints once it is ready, or /expression/flags; its group `url` is the address.',
    ),
  tcp: z.literal(true).optional().describe('Ready when the port accepts connections.'),
  ipc: z
    .string()
    .min(1)
    .max(1000)
    .optional()
    .describe('The message, or its `type`, that it sends with process.send() once it is ready.'),
  timeoutMs: milliseconds(100, 600_000).default(30_000).describe('How long a start may take until all of it holds.'),
})
  .superRefine((wanted, { addIssue }) => {
    if (!readiness.some((kind) => wanted[kind] !== undefined))
      addIssue(`must name at least one of ${readiness.join(', ')}`)
    for (const detail of ['status', 'contains', 'headers'] as const)
      if (wanted.http === undefined && wanted[detail] !== undefined)
        addIssue({
          code: 'custom',
          path: [detail],
          message: 'says something about the answer to http, which is missing',
        })
  })
  .describe('How a start is recognised as good. All that is named must hold.')
  .meta({ anyOf: readiness.map((kind) => ({ required: [kind] })) })

const policy = known({
  engines: z
    .enum(['enforce', 'warn'])
    .default('enforce')
    .describe('What an unmet `engines` field means: skip the version, or let the trial start have the last word.'),
  minimumReleaseAge: duration
    .default(0)
    .describe('How long a version must have been seen here before it is used: "0", "12h", "3d".'),
  signatures: z
    .enum(['off', 'prefer', 'require'])
    .default('prefer')
    .describe('Registry signatures: not looked at, checked where present, or demanded.'),
  strikes: z.int().min(1).max(100).default(2).describe('Failed launches of one version until it is banned.'),
  keep: z.int().min(0).max(100).default(2).describe('Releases kept beside the ones in use.'),
}).transform(({ minimumReleaseAge, ...rest }) => ({ ...rest, minimumReleaseAgeMs: minimumReleaseAge }))

const check = known({
  firstAfterMs: milliseconds(0, 7 * dayMs)
    .default(30_000)
    .describe('When the first check begins after the controller.'),
  everyMs: milliseconds(1000, 30 * dayMs)
    .default(1_800_000)
    .describe('How far checks are apart, give or take some jitter.'),
})

const runtime = known({
  package: packageName.describe('The npm package that the runtime is published as.'),
  channel: channel.default('latest').describe('The dist-tag or range that is followed.'),
  entry: entry.describe('The file in the package that is run.'),
  bundled: known({
    path: path.describe('The folder of the version that came with the host.'),
    version: version.describe('Its version.'),
  })
    .optional()
    .describe('The version that came with the host: the last one to fall back to.'),
  provide: z
    .union([z.record(packageName, path), z.array(packageName).max(100)])
    .default({})
    .describe('Packages the host supplies to the release: a folder for each, or names to look up from this file.'),
  node: executable.optional().describe('The executable that runs it; the one that runs the controller where absent.'),
  args: z.array(filled).max(1000).default([]).describe('Arguments; ${port}, ${home} and ${release} are filled in.'),
  cwd: noNul
    .max(4096)
    .superRefine(filledBy('home'))
    .optional()
    .describe('Where launches run, ${home} filled in; the folder the controller was started in where absent.'),
  env: z
    .record(z.string().regex(/^[A-Za-z_]\w{0,255}$/, 'must be the name of an environment variable'), filled)
    .default({})
    .describe('Added to the environment; ${port}, ${home} and ${release} are filled in.'),
  probe,
  probationMs: milliseconds(0, dayMs)
    .default(60_000)
    .describe('How long a crash after a good start still counts as a failed start.'),
  check: check.prefault({}).describe('When newer versions are looked for.'),
  policy: policy.prefault({}).describe('What is accepted, and what happens to versions that fail.'),
})

export const daemonName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'must be a name of at most 64 small letters, digits, ".", "_" and "-"')

const sessions = known({
  shell: path
    .refine((file) => isAbsolute(file), 'must be an absolute path')
    .optional()
    .describe("What a session runs that names no command; the user's own shell where absent."),
  scrollbackBytes: z
    .int()
    .min(65_536)
    .max(1_073_741_824)
    .default(sessionDefaults.scrollbackBytes)
    .describe('How much of its output each session keeps.'),
  autoUpdate: z
    .boolean()
    .default(sessionDefaults.autoUpdate)
    .describe('Replace a daemon that is older than the host, in the background; its terminals go on.'),
  daemons: z
    .array(daemonName)
    .min(1)
    .max(64)
    .refine((names) => new Set(names).size === names.length, 'must name each daemon once')
    .default(sessionDefaults.daemons)
    .describe('The daemons that hold sessions, by name. The first is used where none is named.'),
  command: z
    .tuple([executable], path)
    .refine((words) => words.length <= 64, 'must be at most 64 entries')
    .optional()
    .describe(
      'The program that a daemon is, before its own arguments, for hosts that are one bundle; what begins with "./" or "../" is resolved from this file. Instar\'s own where absent.',
    ),
})

const targetName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'must be a name of at most 64 small letters, digits, ".", "_" and "-"')
  .refine((name) => name !== 'local', 'is this machine, and cannot be another one')

const target = z
  .string()
  .max(4096)
  .superRefine((text, { addIssue }) => {
    try {
      if (readAddress(text).kind === 'local') addIssue('must be another place than this machine')
    } catch (error) {
      addIssue((error as Error).message)
    }
  })

const subscription = z.union([
  channel,
  known({
    version: channel.describe('The dist-tag, range or exact version that is followed.'),
    targets: z.array(z.string().max(64)).min(1).max(100).describe('Where, by name; `local` is this machine.'),
  }),
])

const plugins = known({
  subscriptions: z
    .record(packageName, subscription)
    .default({})
    .describe(
      'Plugins that are kept at a dist-tag, range or exact version, by name; elsewhere than here with `targets`.',
    ),
  check: known({
    firstAfterMs: milliseconds(0, 7 * dayMs)
      .default(pluginDefaults.check.firstAfterMs)
      .describe('When the first check begins after the controller.'),
    everyMs: milliseconds(1000, 30 * dayMs)
      .default(pluginDefaults.check.everyMs)
      .describe('How far checks are apart, give or take some jitter.'),
  })
    .prefault({})
    .describe('When what is subscribed to is brought up to date.'),
  targets: z
    .record(targetName, target)
    .default({})
    .describe('Places for plugins, by name: ssh://[user@]host[:port]/path, or exec:PREFIX#/path.'),
  engines: z
    .record(z.string().min(1).max(100), version)
    .default(pluginDefaults.engines)
    .describe(
      'Versions of what plugins run in, by the names that their `engines` use; one whose range is not met is refused.',
    ),
  policy: known({
    signatures: z
      .enum(['off', 'prefer', 'require'])
      .default(pluginDefaults.policy.signatures)
      .describe('Registry signatures: not looked at, checked where present, or demanded.'),
    keep: z
      .int()
      .min(0)
      .max(100)
      .default(pluginDefaults.policy.keep)
      .describe('Trees of a plugin that a target keeps beside the live one and the one before.'),
  })
    .prefault({})
    .describe('What is accepted, and what is kept.'),
})

const apps = known({
  capabilities: z
    .array(z.string().min(1).max(100))
    .max(100)
    .default(appDefaults.capabilities)
    .describe('What this host can do, by the names that manifests of apps ask for.'),
  handshakeTimeoutMs: milliseconds(100, 600_000)
    .default(appDefaults.handshakeTimeoutMs)
    .describe('How long a process may take to answer its handshake.'),
  drainMs: milliseconds(0, 3_600_000)
    .default(appDefaults.drainMs)
    .describe('How long a process that is replaced may take for the calls it has.'),
  callWaitMs: milliseconds(0, 3_600_000)
    .default(appDefaults.callWaitMs)
    .describe('How long a call waits for a process that is being started.'),
  policy: known({
    parallel: z
      .int()
      .min(1)
      .max(64)
      .default(appDefaults.policy.parallel)
      .describe('How many workspaces are upgraded at the same time.'),
    rollbackWhenFailed: z
      .number()
      .min(0)
      .max(1)
      .default(appDefaults.policy.rollbackWhenFailed)
      .describe('Once more than this part of the workspaces has failed, all go back; 1: none ever does.'),
    signatures: z
      .enum(['off', 'prefer', 'require'])
      .default(appDefaults.policy.signatures)
      .describe('Registry signatures: not looked at, checked where present, or demanded.'),
    keep: z
      .int()
      .min(0)
      .max(100)
      .default(appDefaults.policy.keep)
      .describe('Versions of an app that are kept beside the current one and the one before.'),
  })
    .prefault({})
    .describe('How upgrades are carried out.'),
})

const consoleServer = known({
  port: z
    .int()
    .min(0)
    .max(65_535)
    .default(consoleDefaults.port)
    .describe('Where `instar up` serves HTTP on loopback; 0 for any port that is free.'),
})

const journal = known({
  padBytes: z
    .literal([0, 512, 4096])
    .default(journalDefaults.padBytes)
    .describe(
      'Let every commit fill whole sectors of this size, for a disk that garbles its neighbours in a power cut.',
    ),
})

/** The schema of `instar.config.json`; `schema/instar.config.schema.json` is generated from it. */
export const configSchema = known({
  $schema: z.string().max(2048).optional().describe('Where editors find this schema.'),
  registry: z
    .url({ protocol: /^https?$/, error: 'must be an http or https address' })
    .max(2048)
    .optional()
    .describe('The package registry; the one that npm is configured to use on this machine where absent.'),
  runtimes: z.record(runtimeName, runtime).default({}).describe('The runtimes this controller looks after, by name.'),
  plugins: plugins.prefault({}).describe('Where plugins are installed.'),
  apps: apps.prefault({}).describe('The apps of an organisation.'),
  sessions: sessions.prefault({}).describe('The terminals, and the daemons that hold them.'),
  console: consoleServer.prefault({}).describe('What can be reached over HTTP, on this machine only.'),
  journal: journal.prefault({}).describe('How the journal is written.'),
})

/** Where one plugin is kept at which version. */
export interface Subscription {
  readonly version: string
  readonly targets: readonly string[]
}

type Parsed = z.output<typeof configSchema>
type ParsedRuntime = Parsed['runtimes'][string]

/** One runtime as configured: defaults filled in, paths absolute, packages found. */
export type RuntimeConfig = Omit<ParsedRuntime, 'provide'> & { readonly provide: Readonly<Record<string, string>> }
export type ProbeConfig = ParsedRuntime['probe']
export type PolicyConfig = ParsedRuntime['policy']

export type PluginsConfig = Omit<Parsed['plugins'], 'subscriptions'> & {
  readonly subscriptions: Readonly<Record<string, Subscription>>
}
export type AppsConfig = Parsed['apps']
export type SessionsConfig = Parsed['sessions']

export interface Config {
  readonly registry?: string
  readonly runtimes: Readonly<Record<string, RuntimeConfig>>
  readonly plugins: PluginsConfig
  readonly apps: AppsConfig
  readonly sessions: SessionsConfig
  readonly console: Parsed['console']
  readonly journal: Parsed['journal']
}

export interface ConfigProblem {
  /** Where: `runtimes.kanban.probe.http`; empty for the whole. */
  readonly at: string
  readonly message: string
}

// ---- reading

const configBytesMax = 1_048_576

/**
 * Reads a configuration file. Relative paths in it are resolved against its folder.
 *
 * @throws {InstarError} `CONFIG_UNREADABLE` where there is no such file, or no JSON in it; `CONFIG_INVALID` with every
 * problem listed, also in `details.problems`. Nothing but the file is touched.
 */
export async function loadConfig(file: string): Promise<Config> {
  const text = await readConfig(resolve(file))
  let value: unknown
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch (cause) {
    throw new InstarError('CONFIG_UNREADABLE', `${file} is not JSON`, { cause })
  }
  return parseConfig(value, dirname(resolve(file)), file)
}

async function readConfig(file: string): Promise<string> {
  try {
    const { size } = await stat(file)
    if (size > configBytesMax)
      throw new InstarError('CONFIG_UNREADABLE', `${file} has ${size} bytes; ${configBytesMax} are the most`)
    return await readFile(file, 'utf8')
  } catch (cause) {
    if (cause instanceof InstarError) throw cause
    throw new InstarError('CONFIG_UNREADABLE', `cannot read the configuration ${file}`, { cause })
  }
}

/**
 * Reads a configuration that is already in memory.
 *
 * @param folder What relative paths are resolved against, and where names in `provide` are looked up from.
 * @param source How messages name it.
 * @throws {InstarError} `CONFIG_INVALID` with every problem listed, also in `details.problems`.
 */
export function parseConfig(value: unknown, folder: string, source = 'the configuration'): Config {
  const result = configSchema.safeParse(value, { reportInput: true })
  if (!result.success)
    throw invalid(
      source,
      result.error.issues.flatMap((issue) => problemsIn(issue, [])),
    )
  const { registry, runtimes, plugins, apps, sessions, console, journal } = result.data
  const problems: ConfigProblem[] = []
  const resolved = Object.entries(runtimes).map(([name, entry]) => {
    const provide = resolveProvided(entry.provide, folder, (at, message) =>
      problems.push({ at: `runtimes.${name}.provide.${at}`, message }),
    )
    return [name, { ...resolvePaths(entry, folder), provide }] as const
  })
  const subscriptions = Object.entries(plugins.subscriptions).map(([name, entry]) => {
    const wanted = typeof entry === 'string' ? { version: entry, targets: ['local'] } : entry
    for (const one of wanted.targets)
      if (one !== 'local' && !Object.hasOwn(plugins.targets, one))
        problems.push({
          at: `plugins.subscriptions.${name}.targets`,
          message: `there is no target "${one}"${didYouMean(one, ['local', ...Object.keys(plugins.targets)])}`,
        })
    return [name, wanted] as const
  })
  if (problems.length > 0) throw invalid(source, problems)
  return {
    ...(registry !== undefined && { registry }),
    runtimes: Object.fromEntries(resolved),
    plugins: { ...plugins, subscriptions: Object.fromEntries(subscriptions) },
    apps,
    sessions: resolveCommand(sessions, folder),
    console,
    journal,
  }
}

function resolvePaths(runtime: ParsedRuntime, folder: string): ParsedRuntime {
  const { bundled, node, cwd } = runtime
  return {
    ...runtime,
    ...(bundled && { bundled: { ...bundled, path: resolve(folder, bundled.path) } }),
    ...(node !== undefined && { node: resolve(folder, node) }),
    // One that begins with a placeholder becomes absolute when that is filled in.
    ...(cwd !== undefined && !cwd.startsWith('${') && { cwd: resolve(folder, cwd) }),
  }
}

function resolveCommand({ command, ...rest }: SessionsConfig, folder: string): SessionsConfig {
  if (command === undefined) return rest
  const [program, ...args] = command.map((word) => (/^\.\.?[/\\]/.test(word) ? resolve(folder, word) : word))
  return { ...rest, command: [program!, ...args] }
}

function resolveProvided(
  provide: ParsedRuntime['provide'],
  folder: string,
  report: (at: string, message: string) => void,
): Record<string, string> {
  if (!Array.isArray(provide))
    return Object.fromEntries(Object.entries(provide).map(([name, path]) => [name, resolve(folder, path)]))
  const found: Record<string, string> = {}
  for (const name of provide) {
    const path = installedPackage(name, folder)
    if (path === undefined) report(name, `not installed in a node_modules of ${folder} or above`)
    else found[name] = path
  }
  return found
}

/** Finds a package as Node would from a file in `folder`, whatever its `exports` hide. */
function installedPackage(name: string, folder: string): string | undefined {
  for (let at = resolve(folder); ; at = dirname(at)) {
    const candidate = join(at, 'node_modules', name)
    if (existsSync(join(candidate, 'package.json'))) return candidate
    if (dirname(at) === at) return undefined
  }
}

// ---- saying what is wrong

function invalid(source: string, problems: readonly ConfigProblem[]): InstarError {
  const lines = problems.map(({ at, message }) => (at === '' ? `  ${message}` : `  ${at}: ${message}`))
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`
  return new InstarError('CONFIG_INVALID', `${source} has ${count}:\n${lines.join('\n')}`, { details: { problems } })
}

function problemsIn(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): ConfigProblem[] {
  const where = [...above, ...issue.path]
  if (issue.code === 'invalid_union') return problemsInUnion(issue, where)
  if (issue.code === 'invalid_key' || issue.code === 'invalid_element')
    return issue.issues.flatMap((inner) => problemsIn({ ...inner, path: [] }, where))
  return [{ at: placeName(where), message: plainly(issue) }]
}

/** Reports the alternative that was most likely meant: the one that would be right after the fewest corrections. */
function problemsInUnion(issue: z.core.$ZodIssueInvalidUnion, where: readonly PropertyKey[]): ConfigProblem[] {
  const isOtherKind = ([only, ...more]: readonly z.core.$ZodIssue[]) =>
    more.length === 0 && only?.code === 'invalid_type' && only.path.length === 0
  const meant = issue.errors.filter((issues) => !isOtherKind(issues))
  if (meant.length === 0) {
    const kinds = new Set(issue.errors.flat().map((inner) => plainly(inner).replace(/^must be /, '')))
    return [{ at: placeName(where), message: `must be ${[...kinds].join(' or ')}` }]
  }
  return meant
    .map((issues) => issues.flatMap((inner) => problemsIn(inner, where)))
    .reduce((best, problems) => (problems.length < best.length ? problems : best))
}

function placeName(path: readonly PropertyKey[]): string {
  return path.reduce<string>((name, part) => {
    if (typeof part === 'number') return `${name}[${part}]`
    return name === '' ? String(part) : `${name}.${String(part)}`
  }, '')
}

/** Our own words pass; the library's are replaced where they would not help a person. */
function plainly(issue: z.core.$ZodIssue): string {
  if (issue.input === undefined && (issue.code === 'invalid_type' || issue.code === 'invalid_value'))
    return 'is missing'
  if (issue.code === 'invalid_type') return `must be ${kindNames[issue.expected] ?? `a ${issue.expected}`}`
  if (issue.code === 'too_small') return `must be at least ${issue.minimum}${unitOf(issue.origin)}`
  if (issue.code === 'too_big') return `must be at most ${issue.maximum}${unitOf(issue.origin)}`
  if (issue.code === 'invalid_value')
    return `must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`
  return issue.message
}

const kindNames: Record<string, string> = {
  int: 'a whole number',
  object: 'an object',
  record: 'an object',
  array: 'a list',
  boolean: 'true or false',
}

function unitOf(origin: string): string {
  if (origin === 'string') return ' characters'
  return origin === 'array' ? ' entries' : ''
}
