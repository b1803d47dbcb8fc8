import { type SpawnOptions, spawn } from 'node:child_process'
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { ReleaseStore } from '../../src/releases/store.ts'
import { batchText, type LauncherOptions, shellText, writeLauncher } from '../../src/runtime/write-launcher.ts'
import { type Compiled, compile } from '../support/compiled.ts'
import { eventually } from '../support/runtimes/trial.ts'

let compiled: Compiled
beforeAll(async () => {
  compiled = await compile('src/runtime/launcher.ts')
})
afterAll(() => compiled.remove())

let folder: string
let options: LauncherOptions
beforeEach(async () => {
  // A name that a careless script would fall over.
  folder = join(await realpath(await mkdtemp(join(tmpdir(), 'instar-launcher-'))), `it's a $HOME "folder" %PATH%`)
  options = {
    directory: join(folder, 'bin'),
    name: 'thing',
    home: join(folder, 'home'),
    runtime: 'thing',
    entry: 'dist/cli.js',
    launcher: compiled.file('src/runtime/launcher.ts'),
    bundled: { path: await packageAt(join(folder, 'bundled'), tells('bundled')), version: '1.0.0' },
  }
  await writeLauncher(options)
})
afterEach(() => rm(dirname(folder), { recursive: true, force: true }))

async function packageAt(root: string, cli: string, type = 'module'): Promise<string> {
  await mkdir(join(root, 'dist'), { recursive: true })
  await writeFile(join(root, 'package.json'), JSON.stringify({ type }))
  await writeFile(join(root, 'dist/cli.js'), cli)
  return root
}

const tells = (name: string) =>
  `console.log(JSON.stringify({ name: ${JSON.stringify(name)}, args: process.argv.slice(2) }))`

async function release(version: string, cli: string, type?: string) {
  await using store = await ReleaseStore.open({ home: options.home, kind: 'runtime' })
  const draft = await store.draft('thing', version)
  await packageAt(draft.content, cli, type)
  const sealed = await draft.seal({ version, integrity: `sha512-${version}`, source: 'a test' })
  await store.activate('thing', sealed)
  return sealed
}

interface Run {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command under dash, which knows nothing that POSIX does not. */
function command(args: readonly string[] = [], spawning: SpawnOptions = {}) {
  const child = spawn('dash', [join(options.directory, 'thing'), ...args], { ...spawning, stdio: 'pipe' })
  const run: { stdout: string; stderr: string } = { stdout: '', stderr: '' }
  child.stdout.on('data', (data) => {
    run.stdout += data
  })
  child.stderr.on('data', (data) => {
    run.stderr += data
  })
  const done = new Promise<Run>((resolve) => child.once('close', (code, signal) => resolve({ ...run, code, signal })))
  return { child, run, done }
}

const told = ({ stdout }: Run) => JSON.parse(stdout)

test('the command runs what came with the host until there is something newer', async () => {
  expect(told(await command().done).name).toBe('bundled')
  await release('2.0.0', tells('two'))
  expect(told(await command().done).name).toBe('two')
  await release('3.0.0', tells('three'))
  expect(told(await command().done)).toEqual({ name: 'three', args: [] })
})

test('a release that is not above the bundled one is not run', async () => {
  await release('1.0.0', tells('same'))
  expect(told(await command().done).name).toBe('bundled')
})

test('arguments arrive as they were given', async () => {
  const args = [
    '',
    ' ',
    'a b',
    '"',
    "'",
    '\\',
    '$HOME',
    '`id`',
    'two\nlines',
    '*',
    '--',
    '-e',
    '--version',
    'ä €',
    '%PATH%',
    '!',
  ]
  await release('2.0.0', tells('two'))
  expect(told(await command(args).done).args).toEqual(args)
})

test('exit codes and signals are those of the program', async () => {
  await release(
    '2.0.0',
    'process.on("SIGTERM", () => process.exit(42)); console.log("up"); setInterval(() => {}, 60_000)',
  )
  const graceful = command()
  await eventually(() => graceful.run.stdout.includes('up'))
  graceful.child.kill('SIGTERM')
  expect(await graceful.done).toMatchObject({ code: 42, signal: null })

  const killed = command()
  await eventually(() => killed.run.stdout.includes('up'))
  killed.child.kill('SIGKILL')
  expect(await killed.done).toMatchObject({ code: null, signal: 'SIGKILL' })
})

test.each([
  ['process.exit(7)', 7],
  ['process.exit()', 0],
  ['process.exitCode = 9', 9],
  ['throw new Error("broken")', 1],
  ['Promise.reject(new Error("broken"))', 1],
  ['import("./none.js")', 1],
])('a program that ends by %s ends with %i, as an ES module and as CommonJS', async (cli, code) => {
  await release('2.0.0', cli)
  expect(await command().done).toMatchObject({ code, signal: null })
  await release('3.0.0', cli, 'commonjs')
  expect(await command().done).toMatchObject({ code, signal: null })
})

test('a program finds itself to be the one that was started', async () => {
  await release(
    '2.0.0',
    'import { pathToFileURL } from "node:url"; console.log(import.meta.url === pathToFileURL(process.argv[1]).href, process.execArgv.length)',
  )
  expect((await command().done).stdout).toBe('true 0\n')
  await release('3.0.0', 'console.log(require.main === module, process.argv[1] === __filename)', 'commonjs')
  expect((await command().done).stdout).toBe('true true\n')
})

test('standard input reaches the program', async () => {
  await release('2.0.0', 'process.stdin.pipe(process.stdout)')
  const { child, done } = command()
  child.stdin.end('some text')
  expect((await done).stdout).toBe('some text')
})

test('a release that was altered is not run: the one before it is, or the bundled one, and a warning says so', async () => {
  await release('2.0.0', tells('two'))
  const { content } = await release('3.0.0', tells('three'))
  await writeFile(join(content, 'dist/cli.js'), tells('altered'))
  const run = await command().done
  expect(told(run).name).toBe('two')
  expect(run.stderr).toBe('warning: thing 3.0.0 is not run: its files are not those that were installed\n')

  await rm(join(options.home, 'releases'), { recursive: true })
  const without = await command().done
  expect(told(without).name).toBe('bundled')
  expect(without.stderr).toMatch(/^warning: .*POINTER_INVALID/)
})

test('an override is run instead, as a file or as a folder', async () => {
  await release('2.0.0', tells('two'))
  const other = await packageAt(join(folder, 'other'), tells('other'))
  for (const path of [other, join(other, 'dist/cli.js')]) {
    const env = { ...process.env, INSTAR_RUNTIME_OVERRIDE: path }
    expect(told(await command(['x'], { env }).done)).toEqual({ name: 'other', args: ['x'] })
  }
  const beside = { cwd: folder, env: { ...process.env, INSTAR_RUNTIME_OVERRIDE: 'other' } }
  expect(told(await command([], beside).done).name).toBe('other')
})

test('an override that is missing fails loudly and runs nothing else', async () => {
  await release('2.0.0', tells('two'))
  await mkdir(join(folder, 'empty'))
  for (const path of [join(folder, 'none'), join(folder, 'empty'), '/dev/null']) {
    const run = await command([], { env: { ...process.env, INSTAR_RUNTIME_OVERRIDE: path } }).done
    expect(run).toMatchObject({ code: 1, stdout: '' })
    expect(run.stderr).toMatch(/^error: /)
  }
})

test('with nothing to run the command says so and fails', async () => {
  await writeLauncher({ ...options, bundled: undefined })
  const run = await command().done
  expect(run).toMatchObject({ code: 1, stdout: '' })
  expect(run.stderr).toBe(
    'error: no release of thing can be run, and none came with the host\nInstall a release, or bundle one with the host.\n',
  )
})

test('a command that is started while releases change always runs one of them whole', async () => {
  await release('2.0.0', tells('two'))
  const runs = Array.from({ length: 6 }, () => command().done)
  await release('3.0.0', tells('three'))
  for (const run of await Promise.all(runs)) expect(['two', 'three']).toContain(told(run).name)
})

test('the command can be run by itself and is replaced in one step', async () => {
  const path = join(options.directory, 'thing')
  expect((await stat(path)).mode & 0o777).toBe(0o755)
  const { ino } = await stat(path)
  await chmod(path, 0o600)
  await writeLauncher(options)
  const after = await stat(path)
  expect(after.mode & 0o777).toBe(0o755)
  expect(after.ino).not.toBe(ino)
  expect((await readdir(options.directory)).sort()).toEqual(['thing', 'thing.cmd'])
  expect(await readFile(path, 'utf8')).toBe(shellText(options))
  expect(await readFile(`${path}.cmd`, 'utf8')).toBe(batchText(options))
})

test.each(['', '../thing', 'a/b', '-x', 'a b', '.hidden'])('"%s" cannot name a command', async (name) => {
  await cp(options.directory, join(folder, 'before'), { recursive: true })
  await expect(writeLauncher({ ...options, name })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
})

// ---- cmd.exe, by its text

const windows: LauncherOptions = {
  directory: 'C:\\bin',
  name: 'thing',
  home: 'C:\\Users\\Some One\\100% & more^\\',
  runtime: 'thing',
  entry: 'dist/cli.js',
  node: 'C:\\Program Files\\nodejs\\node.exe',
  launcher: 'C:\\app\\launcher.js',
}

test('the batch file quotes every word, doubles "%" and what would escape a quote, and passes the exit code on', () => {
  expect(batchText(windows)).toBe(
    [
      '@echo off',
      'setlocal DisableDelayedExpansion',
      '"C:\\Program Files\\nodejs\\node.exe" "C:\\app\\launcher.js" "C:\\Users\\Some One\\100%% & more^\\\\" "thing" "dist/cli.js" "" "" %*',
      'exit /b %ERRORLEVEL%',
      '',
    ].join('\r\n'),
  )
})

test('a batch file with other letters than those of ASCII tells cmd.exe its encoding', () => {
  expect(batchText({ ...windows, home: 'C:\\Users\\Zoë' })).toContain('\r\nchcp 65001 >nul\r\n')
})

test('a path that cmd.exe cannot be given ends in a message instead of another command', () => {
  expect(batchText({ ...windows, home: '/tmp/"& del x' })).toBe(
    '@echo this command cannot be run from cmd.exe 1>&2\r\n@exit /b 1\r\n',
  )
})

test('an Electron executable is told to be Node, in both files', () => {
  expect(batchText({ ...windows, electron: true })).toContain('\r\nset ELECTRON_RUN_AS_NODE=1\r\n')
  expect(shellText({ ...windows, electron: true })).toContain(
    '\nELECTRON_RUN_AS_NODE=1\nexport ELECTRON_RUN_AS_NODE\nexec ',
  )
})
