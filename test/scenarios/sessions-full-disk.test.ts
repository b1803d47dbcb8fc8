import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DiskFault, FaultyDisk } from '../support/faulty-disk.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { FollowedStream } from '../support/sessions/followed.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'

const scene = sessionScene()
let disk: FaultyDisk
beforeAll(async () => {
  disk = await FaultyDisk.build()
})
afterAll(() => disk[Symbol.asyncDispose]())

/** From the first write on, and from somewhere in the midst of a takeover, a handoff, or neither. */
const points = [1, 2, 4, 7, 10, 14, 20]

test.each(points)(
  'a disk that is full from write %i of a daemon on ends no session, keeps no client out, and hinders no upgrade',
  async (at) => {
    const fault: DiskFault = { calls: 'write', path: '/main/', at, error: 'ENOSPC' }
    await using trial = await scene.start({ keeper: true, env: disk.environment(fault, '/dev/null') })
    const client = await trial.client()
    const shell = new TypedShell(await client.open({ command: ['sh'] }))
    const stream = await FollowedStream.begin(
      await client.open({ command: scene.programs.stream({ begin: 1, rate: 300_000 }) }),
    )
    await shell.asks('echo "be$((1))fore"', 'be1fore')

    const { pid } = await client.info()
    expect(await client.upgrade()).toMatchObject({ outcome: 'handed-over', predecessor: pid })
    await shell.asks('echo "up$((2))graded"', 'up2graded')
    expect(stream.looked().gaps).toEqual([])

    const last = await client.info()
    process.kill(last.pid, 'SIGKILL')
    await eventually(async () => (await client.info()).pid !== last.pid, 'the next daemon')
    await shell.asks('echo "af$((3))ter"', 'af3ter')
    await stream.reaches(stream.looked().offset + 10_000)
    expect(await client.upgrade()).toMatchObject({ outcome: 'handed-over' })
    await shell.session.write('exit 7\n')
    expect(await shell.session.exit).toMatchObject({ code: 7, lost: false })
  },
)
