import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { Range, satisfies } from 'semver'
import { beforeAll, expect, onTestFailed, test } from 'vitest'
import { type NodeLine, nodeLines, nodeVersions, type OtherNode } from '../support/node-versions.ts'
import { commandOf, DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { FollowedStream } from '../support/sessions/followed.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'

// Predecessor and successor on different Nodes. This process is on one of its own, and so are the clients.

const scene = sessionScene()
let nodes: Record<NodeLine, OtherNode>

beforeAll(async () => {
  nodes = await nodeVersions()
}, 300_000)

const programOn = (line: NodeLine) => ({ ...scene.daemon, node: nodes[line].program })

async function start(line: NodeLine, options: { keeper: boolean }): Promise<DaemonTrial> {
  const trial = await DaemonTrial.start(programOn(line), options)
  onTestFailed(async () => console.error(trial.finalLog || (await trial.log())))
  return trial
}

test('every Node that is tried is admitted by `engines`, and among them is the oldest one', async () => {
  const manifest = await readFile(fileURLToPath(new URL('../../package.json', import.meta.url)), 'utf8')
  const { node } = (JSON.parse(manifest) as { engines: { node: string } }).engines
  const versions = nodeLines.map((line) => nodes[line].version)
  expect(versions.filter((version) => !satisfies(version, node))).toEqual([])
  expect(versions).toContain(new Range(node).set[0]![0]!.semver.version)
})

test.each(nodeLines)('the built daemon gives Node %s no flag that it does not know', (line) => {
  const daemon = fileURLToPath(new URL('../../dist/daemon.cjs', import.meta.url))
  const { status, stdout, stderr } = spawnSync(nodes[line].program, [daemon], { encoding: 'utf8', timeout: 60_000 })
  expect({ status, stdout, stderr }).toEqual({
    status: 1,
    stdout: '',
    stderr: expect.stringMatching(/^USAGE: .*\nRun the command .*\n$/),
  })
})

test.each([
  { keeper: false, how: 'without' },
  { keeper: true, how: 'with' },
])(
  'up and down between Node 20, 22, 24 and 26, $how a keeper: every byte arrives, clients stay, exit codes are right',
  async ({ keeper }) => {
    await using trial = await start('20', { keeper })
    const client = await trial.client({ reconnect: false })
    const open = async (command: string[]) => new FollowedStream(await client.open({ command }))
    const stream = await open(scene.programs.stream({ rate: 500_000 }))
    const shell = new TypedShell(await client.open({ command: ['sh'], env: { PS1: '$ ' } }))
    for (const line of ['22', '24', '26', '20', '26', '24', '22', '20'] as const) {
      // One ends beside the handoff or after it, by itself, having been opened on another Node.
      const ending = await open(scene.programs.stream({ bytes: 300_000, rate: 500_000, code: 3 }))
      const { outcome, reason } = await client.upgrade({ command: commandOf(programOn(line)) })
      expect({ outcome, reason }).toEqual({ outcome: 'handed-over', reason: null })
      expect((await client.info()).node).toBe(nodes[line].version)
      await shell.asks(`echo on-$((${line} + 0)) $$`, `on-${line} ${shell.session.info.pid}`)
      await shell.session.resize({ columns: 100 + Number(line), rows: 30 })
      await shell.asks('stty size', `30 ${100 + Number(line)}`)
      await stream.reaches(stream.offset + 100_000)
      const end = await ending.ends()
      // Without a keeper nobody can tell how it ended, unless it did while its parent served on.
      expect(end).toMatchObject({ offset: 300_000, code: end.lost ? null : 3 })
      if (keeper) expect(end.lost).toBe(false)
      const own = await open(scene.programs.stream({ bytes: 10_000, code: 7 }))
      expect(await own.ends()).toMatchObject({ code: 7, offset: 10_000, lost: false })
    }
  },
)

test.each(nodeLines)('a daemon on Node %s that is killed is followed by one on the same Node', async (line) => {
  await using trial = await start(line, { keeper: true })
  const client = await trial.client()
  const shell = new TypedShell(await client.open({ command: ['sh'], env: { PS1: '$ ' } }))
  await shell.asks('echo before-$((100 * 2))', 'before-200')
  await trial.kill()
  await client.info() // what is typed before the crash has been noticed goes with the dead daemon
  await shell.asks('echo after-$((100 * 2)) $$', `after-200 ${shell.session.info.pid}`)
  expect((await client.info()).node).toBe(nodes[line].version)
  await shell.session.write(Buffer.from('exit 5\n'))
  expect(await shell.session.exit).toMatchObject({ code: 5 })
})
