import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import pty from 'node-pty'
import { beforeEach, describe, expect, test } from 'vitest'
import { packageVersion } from '../../src/package-info.ts'
import { cli } from '../support/host.ts'
import { linesOf, run, temporary } from '../support/instar.ts'

let folder: string
let home: string

beforeEach(async () => {
  folder = await temporary()
  home = join(folder, 'home')
})

const instar = (...args: string[]) => run(['--home', home, ...args], { cwd: folder })

const esc = '\u001b'

// ---- usage

test('--version says the version and nothing else', async () => {
  expect(await instar('--version')).toEqual({ code: 0, signal: null, stdout: `${packageVersion}\n`, stderr: '' })
})

test('--help goes to stdout, for every command', async () => {
  for (const args of [['--help'], ['runtime', '--help'], ['journal', 'tail', '--help']]) {
    const { code, stdout, stderr } = await instar(...args)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('Usage: instar')
    expect(stdout).toContain('--json')
  }
})

test('no command at all shows the help on stderr, and is a usage error', async () => {
  const { code, stdout, stderr } = await instar()
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain('Usage: instar')
  expect(stderr).not.toContain('error:')
})

describe('a usage error exits with 2, names the nearest right word, and touches nothing:', () => {
  const wrong: [line: string, message: string, hint: string][] = [
    ['statsu', "unknown command 'statsu'", 'Did you mean status?'],
    ['runtime chek kanban', "unknown command 'chek'", 'Did you mean check?'],
    ['status --jsn', "unknown option '--jsn'", 'Did you mean --json?'],
    ['runtime check', "missing required argument 'name'", '--help'],
    ['runtime check a b', 'too many arguments', '--help'],
    ['journal tail --from x', 'must be the number of a record', '--help'],
    ['journal tail --from -1', 'must be the number of a record', '--help'],
    ['completion tcsh', 'Allowed choices are bash, zsh, fish', '--help'],
    ['-q -v status', 'cannot be used with', '--help'],
    ['machine export x --svg --mermaid', 'cannot be used with', '--help'],
  ]
  test.each(wrong)('%s', async (line, message, hint) => {
    const { code, stdout, stderr } = await instar('--json', ...line.split(' '))
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    const said = { message: expect.stringContaining(message), hint: expect.stringContaining(hint) }
    expect(linesOf(stderr)).toEqual([{ type: 'error', code: 'USAGE', ...said }])
    expect(existsSync(home)).toBe(false)
  })

  test('a person is told the same', async () => {
    expect(await instar('runtime', 'chek', 'x')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: "error: unknown command 'chek' [USAGE]\nhint: Did you mean check?\n",
    })
  })

  test('an app without a workspace, and a role that is none', async () => {
    const install = await instar('app', 'install', 'notes')
    expect(install).toMatchObject({ code: 2, stderr: expect.stringContaining("'--workspace <id>' not specified") })
    const add = await instar('access', 'add', 'king')
    expect(add).toMatchObject({ code: 2, stderr: expect.stringContaining('org_admin, workspace_admin, member') })
  })
})

test('global options are understood before and after the command', async () => {
  const before = await instar('--json', 'machine', 'list')
  const after = await instar('machine', 'list', '--json')
  expect(after).toEqual(before)
  expect(JSON.parse(after.stdout)).toMatchObject({ schema: 1 })
})

// ---- the configuration and the home

test('a wrong configuration is refused with all that is wrong with it, and nothing is touched', async () => {
  await writeFile(join(folder, 'instar.config.json'), '{ "runtims": {}, "registry": 5 }')
  for (const command of [['status'], ['up']]) {
    const { code, stdout, stderr } = await instar(...command)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain('did you mean "runtimes"?')
    expect(stderr).toContain('registry: must be a string')
    expect(stderr).toContain('[CONFIG_INVALID]')
  }
  expect(existsSync(home)).toBe(false)
})

test('a configuration that was named must be there', async () => {
  expect(await instar('--config', 'missing.json', 'status')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('CONFIG_UNREADABLE'),
  })
})

test('a directory of other files is not made a home', async () => {
  await mkdir(home)
  await writeFile(join(home, 'thesis.txt'), 'x')
  for (const command of [['status'], ['up'], ['journal', 'verify']])
    expect(await instar(...command)).toMatchObject({ code: 1, stderr: expect.stringContaining('[HOME_FOREIGN]') })
})

test('INSTAR_HOME says where the home is, and --home says it louder', async () => {
  const env = { INSTAR_HOME: join(folder, 'from-env') }
  const byEnv = await run(['status', '--json'], { cwd: folder, env })
  expect(JSON.parse(byEnv.stdout).home).toBe(join(folder, 'from-env'))
  const byFlag = await run(['status', '--json', '--home', home], { cwd: folder, env })
  expect(JSON.parse(byFlag.stdout).home).toBe(home)
})

// ---- status and doctor

test('status without a controller exits with 3, and creates nothing', async () => {
  const { code, stdout, stderr } = await instar('status')
  expect(code).toBe(3)
  expect(stdout).toContain('does not run')
  expect(stderr).toContain('instar up')
  const json = await instar('status', '--json')
  expect(json.stderr).toBe('')
  expect(JSON.parse(json.stdout)).toEqual({
    schema: 1,
    home,
    controller: null,
    condition: 'missing',
    runtimes: [],
    daemons: [],
  })
  expect(existsSync(home)).toBe(false)
})

test('status without a controller loads neither the statecharts nor the package client', async () => {
  const { stderr } = await run(['--home', home, 'status'], { cwd: folder, env: { NODE_DEBUG: 'esm,module' } })
  // What is read of a program that is bundled are its parts; a sentence of each tells that it is in one of them.
  const parts = new Set(stderr.match(/[^/\s'"]*cli(-[\w.-]+)?\.js/g))
  const textOf = (names: Iterable<string>) =>
    [...names].map((name) => readFileSync(join(dirname(cli), name), 'utf8')).join('')
  const read = textOf(parts)
  const all = textOf(readdirSync(dirname(cli)).filter((name) => /^cli[.-]/.test(name)))
  expect(read).toContain('too many arguments') // commander
  // xstate, a statechart, the control socket's library, tar, the lock's addon
  for (const heavy of ['Unable to evaluate guard', 'wasUnattended', 'ConnectionErrors', 'TAR_BAD_ARCHIVE']) {
    expect(all).toContain(heavy)
    expect(read).not.toContain(heavy)
  }
  expect(stderr).not.toContain('node_modules/fs-native-extensions/')
})

test('doctor says what is wrong and what to type, and changes nothing', async () => {
  const tool = { package: 'tool', entry: 'main.js' }
  const runtimes = {
    tool: { ...tool, bundled: { path: 'gone', version: '1.0.0' }, probe: { tcp: true } },
    marked: { ...tool, probe: { tcp: true, http: '/', contains: 'tool' } },
    echoing: { ...tool, probe: { http: '/', headers: { id: '${nonce}' } } },
    talking: { ...tool, probe: { ipc: 'ready' } },
  }
  // Port 9 of loopback answers nobody.
  await writeFile(join(folder, 'instar.config.json'), JSON.stringify({ registry: 'http://127.0.0.1:9/', runtimes }))
  const { code, stdout } = await instar('doctor')
  expect(code).toBe(1)
  expect(stdout).toMatch(/BAD +tool, bundled: .*gone.*main\.js cannot be read\n +-> /)
  expect(stdout).toMatch(/BAD +tool, registry: /)
  expect(stdout.match(/\w+, probe: /g)).toEqual(['tool, probe: '])
  expect(stdout).toMatch(/warning +controller: none runs\n +-> instar up\n/)
  const json = JSON.parse((await instar('doctor', '--json')).stdout)
  expect(json).toMatchObject({ schema: 1, sound: false })
  expect(existsSync(home)).toBe(false)
})

// ---- text

test('what is piped has no colours and no control characters, whatever the environment asks for', async () => {
  const env = { FORCE_COLOR: '1', COLORTERM: 'truecolor' }
  const evil = `${esc}]0;owned\u0007${esc}[31mred\u009b2J`
  for (const args of [
    ['--help'],
    ['status'],
    ['doctor'],
    [evil],
    ['machine', 'export', evil],
    ['--home', join(folder, evil), 'status'],
  ]) {
    const { stdout, stderr } = await run(['--home', home, ...args], { cwd: folder, env })
    for (const control of [esc, '\u0007', '\u009b']) expect(stdout + stderr).not.toContain(control)
  }
})

function inTerminal(args: string[], more: Record<string, string> = {}): Promise<string> {
  const { NO_COLOR: _, ...env } = process.env as Record<string, string>
  return new Promise((resolve) => {
    let text = ''
    const options = { cols: 100, rows: 30, cwd: folder, env: { ...env, ...more } }
    const terminal = pty.spawn(process.execPath, [cli, '--home', home, ...args], options)
    terminal.onData((data) => {
      text += data
    })
    terminal.onExit(() => resolve(text))
  })
}

test('on a terminal errors are coloured, unless NO_COLOR or --no-color says otherwise', async () => {
  expect(await inTerminal(['nope'])).toContain(`${esc}[31merror:`)
  expect(await inTerminal(['nope'], { NO_COLOR: '1' })).not.toContain(esc)
  expect(await inTerminal(['nope', '--no-color'])).not.toContain(esc)
})

test('a reader that goes away is no error', async () => {
  const pipe = `"${process.execPath}" "${cli}" machine export runtime-update --mermaid | head -n 1; echo "\${PIPESTATUS[0]}"`
  const { stdout, stderr } = await promisify(execFile)('bash', ['-c', pipe])
  expect(stdout).toMatch(/^stateDiagram-v2\n0\n$/)
  expect(stderr).toBe('')
})

// ---- machines

test('machines are listed and exported', async () => {
  const listed = JSON.parse((await instar('machine', 'list', '--json')).stdout)
  expect(listed.machines.map(({ name }: { name: string }) => name)).toContain('runtime-update')
  const mermaid = await instar('machine', 'export', 'runtime-update', '--mermaid')
  expect(mermaid.stdout).toMatch(/^stateDiagram-v2\n/)
  const svg = await instar('machine', 'export', 'runtime-update', '--svg')
  expect(svg.stdout).toMatch(/^<svg[ \n]/)
  const json = JSON.parse((await instar('machine', 'export', 'runtime-update', '--json')).stdout)
  expect(json).toMatchObject({ schema: 1, machine: { id: 'runtime-update' } })
  expect(await instar('machine', 'export', 'runtime-updat')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('did you mean "runtime-update"?'),
  })
})
