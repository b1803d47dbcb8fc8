import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { packageVersion } from '../../src/package-info.ts'
import { linesOf, run, start, temporary } from '../support/instar.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { MarkedProcesses } from '../support/sessions/processes.ts'

// The area `daemon` of the built command line, with the daemon that it starts.

let folder: string
let home: string
let processes: MarkedProcesses

beforeEach(async () => {
  folder = await temporary()
  home = join(folder, 'home')
  processes = new MarkedProcesses()
})

/** Nothing that a test started is there after it. */
afterEach(async () => {
  await daemon('stop', '--yes')
  await eventually(async () => (await processes.all()).length === 0, 'the end of all that was started')
})

const at = () => ({ cwd: folder, env: processes.environment })
const instar = (...args: string[]) => run(['--home', home, ...args], at())
const daemon = (...args: string[]) => instar('daemon', ...args)
/** The last line of what `--json` prints. */
const json = async (...args: string[]) => {
  const { stdout, code } = await daemon(...args, '--json')
  return { code, document: linesOf(stdout).at(-1) as Record<string, any> }
}
const runningNow = async () => (await json('status')).document.daemon.running

test('status where none was ever started exits with 3, and creates nothing', async () => {
  expect(await json('status')).toMatchObject({ code: 3, document: { daemon: { state: 'absent', running: null } } })
  expect((await daemon('status')).stdout).toMatch(/^state +absent$/m)
})

test('start starts one that goes on, and says the same of one that runs already', async () => {
  const first = await json('start')
  expect(first).toMatchObject({
    code: 0,
    document: { type: 'result', schema: 1, daemon: 'main', version: packageVersion, standing: 'same' },
  })
  expect((await json('start')).document.pid).toBe(first.document.pid)
  expect(await json('status')).toMatchObject({
    code: 0,
    document: { daemon: { running: { pid: first.document.pid } } },
  })
})

test('update hands over to this version while the sessions go on', async () => {
  const { document: started } = await json('start')
  await instar('session', 'open', '--id', 'one', '--', 'cat')
  const { code, document } = await json('update')
  expect({ code, document }).toMatchObject({
    code: 0,
    document: { type: 'result', outcome: 'handed-over', predecessor: started.pid, sessions: 1, reason: null },
  })
  expect(document.freezeMs).toBeGreaterThan(0)
  expect(await runningNow()).toMatchObject({ pid: document.successor, generation: 2, sessions: 1 })
})

test('update that fails exits with 5, says why, and keeps the old daemon', async () => {
  const { document: started } = await json('start')
  await writeFile(join(folder, 'broken.mjs'), 'process.exit(7)')
  const command = [process.execPath, './broken.mjs']
  await writeFile(join(folder, 'instar.config.json'), JSON.stringify({ sessions: { command } }))
  const { code, document } = await json('update')
  expect({ code, document }).toMatchObject({
    code: 5,
    document: { outcome: 'kept', predecessor: started.pid, successor: null, reason: { code: 'HANDOFF_FAILED' } },
  })
  expect(await runningNow()).toMatchObject({ pid: started.pid })
  expect((await daemon('status')).stdout).toMatch(/^update +failed, so the old one stays/m)
})

test('update where none runs exits with 3', async () => {
  expect(await daemon('update')).toMatchObject({ code: 3, stderr: expect.stringContaining('DAEMON_NOT_RUNNING') })
})

test('restart and stop say how many sessions end, and do nothing where nobody can be asked', async () => {
  const { document: started } = await json('start')
  await instar('session', 'open', '--', 'cat')
  for (const verb of ['restart', 'stop'])
    expect(await daemon(verb)).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(`To ${verb} the daemon main ends 1 session\\. \\[USAGE\\]\\nhint: .*--yes`),
    })
  expect(await runningNow()).toMatchObject({ pid: started.pid, sessions: 1 })

  const restarted = await json('restart', '--yes')
  expect(restarted).toMatchObject({ code: 0, document: { type: 'result', ended: 1 } })
  expect(restarted.document.pid).not.toBe(started.pid)
  expect(await runningNow()).toMatchObject({ pid: restarted.document.pid, sessions: 0 })

  expect(await daemon('stop', '--yes')).toMatchObject({ code: 0, stdout: 'main: ended 0 sessions\n' })
  expect(await processes.all()).toEqual([])
  expect(await daemon('stop')).toMatchObject({ code: 0 })
})

test('a daemon that the configuration does not list is unknown, and one by another name is refused', async () => {
  expect(await daemon('start', 'mian')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('did you mean "main"'),
  })
  expect(await daemon('start', '../x')).toMatchObject({ code: 2 })
})

test('status and doctor tell of the daemon too, also without a controller', async () => {
  await json('start')
  const status = await instar('status')
  expect(status).toMatchObject({ code: 3, stdout: expect.stringMatching(/^DAEMON +STATE/m) })
  expect(status.stdout).toMatch(/^main +running/m)
  const { findings } = JSON.parse((await instar('doctor', '--json')).stdout)
  const about = (what: string) => findings.find((finding: { about: string }) => finding.about === what)
  expect(about('daemon main')).toBeDefined()
  expect(about('keeper')).toBeDefined()
  expect(about('descriptors')).toBeDefined()
  expect(about('sessions')).toBeDefined()
})

test('a controller that runs is asked, and sees what becomes of the daemon', async () => {
  const up = start(['--home', home, 'up'], at())
  await up.says('controller pid')
  const { document: started } = await json('start')
  expect(await json('status')).toMatchObject({ code: 0, document: { daemon: { running: { pid: started.pid } } } })
  expect(await json('update')).toMatchObject({
    code: 0,
    document: { outcome: 'handed-over', predecessor: started.pid },
  })
  const { daemons, runs } = JSON.parse((await instar('status', '--json')).stdout)
  expect(daemons).toMatchObject([{ name: 'main', state: 'running', running: { generation: 2 } }])
  expect(runs).toMatchObject([{ key: 'main', value: { running: 'upToDate' } }])
  up.child.kill('SIGTERM')
  expect(await up.ended).toMatchObject({ code: 0 })
  expect(await runningNow()).toMatchObject({ generation: 2 })
})
