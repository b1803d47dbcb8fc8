import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { loadConfig, parseConfig, parseDuration } from '../src/config.ts'
import { appDefaults, pluginDefaults, sessionDefaults } from '../src/config-defaults.ts'
import { configJsonSchema } from '../src/config-json-schema.ts'
import type { InstarError } from '../src/errors.ts'

const least = { package: 'kanban', entry: 'dist/cli.js', probe: { http: '/' } }

const withRuntime = (more: object) => ({ runtimes: { kanban: { ...least, ...more } } })

/** `place: message` for everything that is wrong with `value`. */
function problemsOf(value: unknown, folder = '/'): string[] {
  try {
    parseConfig(value, folder)
    return []
  } catch (error) {
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', exitCode: 2 })
    const { problems } = (error as InstarError).details as { problems: { at: string; message: string }[] }
    for (const { message } of problems) expect((error as Error).message).toContain(message)
    return problems.map(({ at, message }) => `${at}: ${message}`)
  }
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'instar-config-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

test('a runtime needs a package, an entry and a probe; everything else has a default', () => {
  expect(parseConfig(withRuntime({}), '/').runtimes.kanban).toEqual({
    ...least,
    channel: 'latest',
    provide: {},
    args: [],
    env: {},
    probe: { http: '/', timeoutMs: 30_000 },
    probationMs: 60_000,
    check: { firstAfterMs: 30_000, everyMs: 1_800_000 },
    policy: { engines: 'enforce', minimumReleaseAgeMs: 0, signatures: 'prefer', strikes: 2, keep: 2 },
  })
  expect(problemsOf({ runtimes: { kanban: {} } })).toEqual([
    'runtimes.kanban.package: is missing',
    'runtimes.kanban.entry: is missing',
    'runtimes.kanban.probe: is missing',
  ])
})

test('no configuration at all is a configuration', () => {
  expect(parseConfig({}, '/')).toEqual({
    runtimes: {},
    plugins: pluginDefaults,
    apps: appDefaults,
    sessions: sessionDefaults,
    console: { port: 0 },
    journal: { padBytes: 0 },
  })
})

test('an unknown key is named with its place and the nearest known one', () => {
  expect(problemsOf({ runtims: {} })).toEqual([': unknown key "runtims"; did you mean "runtimes"?'])
  expect(problemsOf(withRuntime({ probaitonMs: 1 }))).toEqual([
    'runtimes.kanban: unknown key "probaitonMs"; did you mean "probationMs"?',
  ])
  expect(problemsOf(withRuntime({ probe: { http: '/', contian: 'x' } }))).toEqual([
    'runtimes.kanban.probe: unknown key "contian"; did you mean "contains"?',
  ])
  expect(problemsOf({ xyz: 1 })).toEqual([
    ': unknown key "xyz"; known: $schema, registry, runtimes, plugins, apps, sessions, console, journal',
  ])
})

test('all problems are listed at once', () => {
  const wrong = {
    registry: 'ftp://example.test',
    runtimes: { kanban: { ...least, entry: 5, probationMs: 1.5, policy: { strikes: 0, engines: 'maybe' } } },
  }
  expect(problemsOf(wrong)).toEqual([
    'registry: must be an http or https address',
    'runtimes.kanban.entry: must be a string',
    'runtimes.kanban.probationMs: must be a whole number',
    'runtimes.kanban.policy.engines: must be "enforce" or "warn"',
    'runtimes.kanban.policy.strikes: must be at least 1',
  ])
})

describe('each value has a shape:', () => {
  const wrong: [what: string, runtime: object, at: string][] = [
    ['a package that is a path', { package: '../kanban' }, 'package'],
    ['a package that is a git address', { package: 'git+ssh://host/x' }, 'package'],
    ['an entry outside the package', { entry: 'a/../../b.js' }, 'entry'],
    ['an absolute entry', { entry: '/b.js' }, 'entry'],
    ['an entry with backslashes', { entry: 'a\\b.js' }, 'entry'],
    ['a version with a v', { bundled: { path: 'x', version: 'v1.2.3' } }, 'bundled.version'],
    ['a version with blanks', { bundled: { path: 'x', version: ' 1.2.3' } }, 'bundled.version'],
    ['a version that is a range', { bundled: { path: 'x', version: '1.2' } }, 'bundled.version'],
    ['a version with leading zeros', { bundled: { path: 'x', version: '1.02.3' } }, 'bundled.version'],
    ['an executable to be searched for', { node: 'node' }, 'node'],
    ['an executable in a folder of no place', { node: 'bin/node' }, 'node'],
    ['an unknown placeholder', { args: ['--port', '${prot}'] }, 'args[1]'],
    ['an unknown placeholder in the environment', { env: { PORT: '${prot}' } }, 'env.PORT'],
    ['a variable that is none', { env: { 'A=B': 'x' } }, 'env.A=B'],
    ['a NUL in an argument', { args: ['a\0b'] }, 'args[0]'],
    ['a probe that expects nothing', { probe: {} }, 'probe'],
    ['a probe of another machine', { probe: { http: 'http://example.test/' } }, 'probe.http'],
    ['a probe of another machine, without a scheme', { probe: { http: '//example.test/' } }, 'probe.http'],
    [
      'a probe of another machine, behind a name',
      { probe: { http: 'http://localhost:1@example.test/' } },
      'probe.http',
    ],
    ['a probe of no port', { probe: { http: 'http://localhost:99999/' } }, 'probe.http'],
    ['an unknown placeholder in a probe', { probe: { http: '/${home}' } }, 'probe.http'],
    ['an unknown placeholder in a marker', { probe: { http: '/', contains: '${once}' } }, 'probe.contains'],
    ['an unknown placeholder in a header', { probe: { http: '/', headers: { id: '${once}' } } }, 'probe.headers.id'],
    ['an expression that is none', { probe: { line: '/[/' } }, 'probe.line'],
    ['an expression with unknown flags', { probe: { line: '/ready/z' } }, 'probe.line'],
    ['a folder in the release', { cwd: '${release}/data' }, 'cwd'],
    ['a folder named by a port', { cwd: '${port}' }, 'cwd'],
    ['an answer expected without a question', { probe: { tcp: true, contains: 'x' } }, 'probe.contains'],
    ['a probe without patience', { probe: { http: '/', timeoutMs: 1 } }, 'probe.timeoutMs'],
    ['a negative time', { probationMs: -1 }, 'probationMs'],
    ['checks without a pause', { check: { everyMs: 0 } }, 'check.everyMs'],
    ['an age without a unit', { policy: { minimumReleaseAge: '3' } }, 'policy.minimumReleaseAge'],
    ['an age in words', { policy: { minimumReleaseAge: '3 days' } }, 'policy.minimumReleaseAge'],
    ['an age beyond a year', { policy: { minimumReleaseAge: '53w' } }, 'policy.minimumReleaseAge'],
    ['something of another kind', { provide: 5 }, 'provide'],
  ]
  test.each(wrong)('%s is refused at its place', (_, runtime, at) => {
    const problems = problemsOf(withRuntime(runtime))
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(`runtimes.kanban.${at}: `)
  })

  test.each(['Kanban', '../x', '', 'a b', 'x'.repeat(65)])('"%s" is no name for a runtime', (name) => {
    const config = JSON.parse(`{ "runtimes": { ${JSON.stringify(name)}: ${JSON.stringify(least)} } }`)
    expect(problemsOf(config)).toHaveLength(1)
  })
})

test('the nearest placeholder is named', () => {
  expect(problemsOf(withRuntime({ args: ['${prot}'] }))).toEqual([
    'runtimes.kanban.args[0]: "${prot}" is not filled in; did you mean "port"?',
  ])
})

test('a probe may be http, line, tcp or ipc, and all that it names must hold', () => {
  for (const probe of [
    { http: '/', status: 204 },
    { line: 'ready' },
    { tcp: true },
    { ipc: 'ready' },
    { line: 'at', http: '/' },
    { line: '/ready at (?<url>.*)/i', http: 'http://localhost:${port}/${nonce}', contains: '${nonce} ${port}' },
    { http: '/', headers: { id: '${nonce}' } },
  ])
    expect(problemsOf(withRuntime({ probe }))).toEqual([])
})

test('durations have one unit', () => {
  const read = ['0', '500ms', '90s', '15m', '12h', '3d', '2w'].map(parseDuration)
  expect(read).toEqual([0, 500, 90_000, 900_000, 43_200_000, 259_200_000, 1_209_600_000])
  for (const text of ['', '3', 'd', '3 d', '-1s', '1.5h', '1h30m', '3D']) expect(parseDuration(text)).toBeUndefined()
})

test('relative paths start from the folder of the file', async () => {
  const path = await folder()
  const file = join(path, 'instar.config.json')
  const bundled = { path: 'vendor/kanban', version: '1.0.0' }
  const provide = { 'node-pty': '../pty' }
  await writeFile(file, `\uFEFF${JSON.stringify(withRuntime({ bundled, provide, node: './bin/node' }))}`)
  const { kanban } = (await loadConfig(file)).runtimes
  expect(kanban?.bundled?.path).toBe(join(path, 'vendor/kanban'))
  expect(kanban?.provide).toEqual({ 'node-pty': join(path, '../pty') })
  expect(kanban?.node).toBe(join(path, 'bin/node'))
})

test('names of packages to provide are looked up from the folder of the file, and upwards', async () => {
  const path = await folder()
  const inner = join(path, 'apps', 'desk')
  for (const name of ['outer', '@scope/inner']) {
    const place = join(name === 'outer' ? path : inner, 'node_modules', name)
    await mkdir(place, { recursive: true })
    await writeFile(join(place, 'package.json'), '{}')
  }
  const { kanban } = parseConfig(withRuntime({ provide: ['outer', '@scope/inner'] }), inner).runtimes
  expect(kanban?.provide).toEqual({
    outer: join(path, 'node_modules/outer'),
    '@scope/inner': join(inner, 'node_modules/@scope/inner'),
  })
  expect(problemsOf(withRuntime({ provide: ['outer', 'missing'] }), inner)).toEqual([
    `runtimes.kanban.provide.missing: not installed in a node_modules of ${inner} or above`,
  ])
})

test('a file that is missing, too large or no JSON is unreadable', async () => {
  const path = await folder()
  const file = join(path, 'instar.config.json')
  await expect(loadConfig(file)).rejects.toMatchObject({ code: 'CONFIG_UNREADABLE', exitCode: 2 })
  await writeFile(file, '{ "runtimes": ')
  await expect(loadConfig(file)).rejects.toMatchObject({ code: 'CONFIG_UNREADABLE' })
  await writeFile(file, JSON.stringify({ $schema: 'x'.repeat(1_100_000) }))
  await expect(loadConfig(file)).rejects.toMatchObject({ code: 'CONFIG_UNREADABLE' })
})

test('the published JSON schema is the one in the code', async () => {
  const published = await readFile(new URL('../schema/instar.config.schema.json', import.meta.url), 'utf8')
  expect(published, 'npm run build && node scripts/config-schema.mjs').toBe(configJsonSchema())
})

test('a journal is padded to sectors of 512 or 4096 bytes, or not at all', () => {
  for (const padBytes of [0, 512, 4096] as const)
    expect(parseConfig({ journal: { padBytes } }, '/').journal).toEqual({ padBytes })
  for (const padBytes of [1, 1024, -512, '512', true])
    expect(problemsOf({ journal: { padBytes } })).toEqual(['journal.padBytes: must be 0 or 512 or 4096'])
})

describe('sessions', () => {
  test('have daemons with plain names, each named once', () => {
    expect(parseConfig({ sessions: { daemons: ['main', 'ci'] } }, '/').sessions.daemons).toEqual(['main', 'ci'])
    expect(problemsOf({ sessions: { daemons: ['../x'] } })).toEqual([expect.stringContaining('daemons[0]: must be a')])
    expect(problemsOf({ sessions: { daemons: ['a', 'a'] } })).toEqual(['sessions.daemons: must name each daemon once'])
    expect(problemsOf({ sessions: { daemons: [] } })).toEqual(['sessions.daemons: must be at least 1 entries'])
  })

  test('have a shell by its whole path, and scrollback within bounds', () => {
    expect(problemsOf({ sessions: { shell: 'bash' } })).toEqual(['sessions.shell: must be an absolute path'])
    expect(problemsOf({ sessions: { scrollbackBytes: '64kb' } })).toEqual([
      'sessions.scrollbackBytes: must be a number',
    ])
    expect(problemsOf({ sessions: { scrollbackBytes: 1e12 } })).toHaveLength(1)
  })

  test('run a program of the host, its files found from the configuration', () => {
    const command = ['/usr/bin/node', './host.mjs', 'daemon']
    expect(parseConfig({ sessions: { command } }, '/opt/host').sessions.command).toEqual([
      '/usr/bin/node',
      '/opt/host/host.mjs',
      'daemon',
    ])
    expect(problemsOf({ sessions: { command: ['node'] } })).toEqual([
      'sessions.command[0]: must be an absolute path, or begin with "./" or "../"',
    ])
  })
})
