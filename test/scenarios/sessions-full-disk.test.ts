import { afterAll, beforeAll, expect, test } from 'vitest'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { commandOf, DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { FollowedStream } from '../support/sessions/followed.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'

const scene = sessionScene()
let disk: FaultyDisk
beforeAll(async () => {
  disk = await FaultyDisk.build()
})
afterAll(() => disk[Symbol.asyncDispose]())

/** What of a daemon's folder takes nothing more, and from which write on. */
const faults = [
  ['/main/', 1],
  ['/main/daemon.log', 1],
  ['/main/exits/', 1],
  ['/main/generation', 1],
  ['/main/journals/', 1],
  // In the midst of a takeover, a handoff, or neither.
  ['/main/journals/', 2],
  ['/main/journals/', 4],
  ['/main/journals/', 6],
  ['/main/journals/', 8],
] as const

test.each(faults)(
  'a full disk (%s, from write %i of each daemon on) ends no session and hinders no upgrade',
  async (path, at) => {
    const { LD_PRELOAD, ...fault } = disk.environment({ calls: 'write', path, at, error: 'ENOSPC' }, '/dev/null')
    // The keeper is no part of it: a daemon that it starts after a crash has room again.
    const program = { ...scene.daemon, node: 'env', nodeFlags: [`LD_PRELOAD=${LD_PRELOAD}`, process.execPath] }
    await using trial = await DaemonTrial.start(program, { keeper: true, env: fault })
    const client = await trial.client()
    const shell = new TypedShell(await client.open({ command: ['sh'] }))
    const stream = await FollowedStream.begin(
      await client.open({ command: scene.programs.stream({ begin: 1, rate: 300_000 }) }),
    )
    await shell.asks('echo "be$((1))fore"', 'be1fore')

    for (const word of ['once', 'twice']) {
      const { pid } = await client.info()
      const { outcome, predecessor } = await client.upgrade({ command: commandOf(program) })
      expect({ outcome, predecessor }).toEqual({ outcome: 'handed-over', predecessor: pid })
      await shell.asks(`echo "${word}-$((2))"`, `${word}-2`)
    }
    expect(stream.looked().gaps).toEqual([])
    if (path.includes('journals')) expect(await trial.log()).toContain('without a journal')

    const ending = await client.open({ command: ['sh', '-c', 'exit 5'] })
    expect(await ending.exit).toMatchObject({ code: 5, lost: false })
    const last = await client.info()
    process.kill(last.pid, 'SIGKILL')
    await eventually(async () => (await client.info()).pid !== last.pid, 'the next daemon')
    await shell.asks('echo "af$((3))ter"', 'af3ter')
    await stream.reaches(stream.looked().offset + 10_000)
    await shell.session.write('exit 7\n')
    expect(await shell.session.exit).toMatchObject({ code: 7, lost: false })
  },
)
