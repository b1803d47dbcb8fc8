import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FrameReader, frameTypes, splitNumbered } from '../../src/sessions/protocol.ts'
import type { DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { mastersClosedOnExec } from '../support/sessions/processes.ts'
import { sessionScene } from '../support/sessions/scene.ts'

const nobody = 65_534
const scene = sessionScene()

/** What the daemon sends to another user who only connects, where somebody has opened its directory to everyone. */
async function heardByNobody(trial: DaemonTrial): Promise<{ type: number; number: number; body: unknown }[]> {
  await chmod(dirname(trial.directory), 0o755)
  await chmod(trial.directory, 0o755)
  await chmod(trial.socket, 0o666)
  const program = `const { connect } = require('node:net')
    setTimeout(() => process.exit(), 1000)
    connect(process.argv[1]).on('error', (error) => console.error(error)).pipe(process.stdout)`
  const child = spawn(process.execPath, ['-e', program, trial.socket], {
    cwd: '/',
    uid: nobody,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const pieces: Buffer[] = []
  child.stdout.on('data', (bytes) => pieces.push(bytes))
  await once(child, 'close')
  return [...new FrameReader().push(Buffer.concat(pieces))].map(({ type, payload }) => {
    const { number, body } = splitNumbered(payload)
    return { type, number, body: JSON.parse(body.toString()) }
  })
}

describe.runIf(process.platform === 'linux')('a daemon', () => {
  test.runIf(process.getuid!() === 0)('is spoken to by its own user, whatever the modes of its files say', async () => {
    await using trial = await scene.start()
    expect(await heardByNobody(trial)).toEqual([
      { type: frameTypes.error, number: 0, body: expect.objectContaining({ code: 'DAEMON_DENIED' }) },
    ])
    const client = await trial.client()
    expect(await client.info()).toMatchObject({ connections: 1 })
  })

  test('of the first generation starts no program that gets a terminal of another session', async () => {
    await using trial = await scene.start()
    const client = await trial.client()
    for (let count = 0; count < 3; count += 1) await client.open({ command: scene.programs.idle() })
    expect(await mastersClosedOnExec(await trial.pid())).toEqual([true, true, true])
    await client.upgrade()
    expect(await mastersClosedOnExec(await trial.pid())).toEqual([true, true, true])
  })

  test('serves and is handed over where the addon is missing', async () => {
    const addon = join(dirname(scene.daemon.keeper), 'descriptors.node')
    await rm(addon)
    await using trial = await scene.start()
    const client = await trial.client()
    await client.open({ command: scene.programs.idle() })
    expect(await mastersClosedOnExec(await trial.pid())).toEqual([false])
    expect(await client.upgrade()).toMatchObject({ outcome: 'handed-over', sessions: 1 })
    expect(await mastersClosedOnExec(await trial.pid())).toEqual([true])
  })
})
