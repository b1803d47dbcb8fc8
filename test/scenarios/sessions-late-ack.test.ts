import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { FollowedStream } from '../support/sessions/followed.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'

const stopping = 'test/support/sessions/stopping-predecessor.ts'
const scene = sessionScene(stopping)

/** How long a successor may take to answer once everything stands still, and a little more. */
const deadlineMs = 5_200

test('an ack that is heard after its deadline: who gave it is ended, and what it may have taken is told', async () => {
  const program = { ...scene.daemon, main: scene.compiled.file(stopping) }
  await using trial = await DaemonTrial.start(program, { keeper: true })
  const client = await trial.client()
  const shell = new TypedShell(await client.open({ command: ['sh'] }))
  const stream = await FollowedStream.begin(
    await client.open({ command: scene.programs.stream({ begin: 1, rate: 300_000 }) }),
  )
  await shell.asks('echo "be$((1))fore"', 'be1fore')
  const { pid: predecessor } = await client.info()

  const upgraded = client.upgrade({ command: [process.execPath, scene.daemon.main] }).catch((error) => error)
  await eventually(async () => (await stateOf(predecessor)) === 'T', 'the predecessor stopped')
  await shell.asks('echo "mean$((2))while"', 'mean2while')
  const { pid: successor } = await client.info()
  expect(successor).not.toBe(predecessor)
  await sleep(deadlineMs)
  process.kill(predecessor, 'SIGCONT')

  expect(await upgraded).toMatchObject({ code: 'DAEMON_GONE' })
  expect(await client.info()).toMatchObject({ pid: predecessor })
  expect(await stateOf(successor)).toBe(null)
  await shell.asks('echo "af$((3))ter"', 'af3ter')
  await stream.reaches(stream.looked().offset + 20_000)
  expect(stream.gaps).toHaveLength(1)
  expect((await client.list()).map(({ pid }) => pid)).toEqual([shell.session.info.pid, stream.session.info.pid])

  await shell.session.write('exit 7\n')
  expect(await shell.session.exit).toMatchObject({ code: 7, lost: false })
})

/** As the kernel calls it; null where there is no such process. */
async function stateOf(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
  return /\) (\S)/.exec(stat)?.[1] ?? null
}
