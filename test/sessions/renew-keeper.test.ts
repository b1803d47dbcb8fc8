import { appendFile, chmod, copyFile, mkdtemp, readFile, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { DaemonTrial } from '../support/sessions/daemon-trial.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'

const scene = sessionScene()

test("a successor has the keeper of an older version become its own version's, with all that it holds", async () => {
  const folder = await mkdtemp(join(tmpdir(), 'instar-older-'))
  try {
    // What lies behind a program's last section changes nothing but its digest.
    const older = join(folder, 'keeper')
    await copyFile(scene.daemon.keeper, older)
    await appendFile(older, 'older')
    await chmod(older, 0o755)
    await using trial = await DaemonTrial.start({ ...scene.daemon, keeper: older }, { keeper: true })
    const client = await trial.client()
    const session = await client.open({ command: ['sh'], env: { PS1: '$ ' } })
    const shell = new TypedShell(session)
    const keeper = (await client.info()).keeper!.pid
    const program = () => readFile(`/proc/${keeper}/exe`)
    expect(await program()).not.toEqual(await readFile(scene.daemon.keeper))

    expect((await client.upgrade()).outcome).toBe('handed-over')
    await eventually(async () => (await program()).equals(await readFile(scene.daemon.keeper)), 'the new keeper')
    expect(await readlink(`/proc/${keeper}/exe`)).toBe(scene.daemon.keeper)

    // It holds the terminal and knows its child: both outlive the daemon.
    await trial.kill()
    await shell.asks('echo still-$((40 + 2))', 'still-42')
    await session.write(Buffer.from('exit 7\n'))
    expect(await session.exit).toMatchObject({ code: 7, lost: false })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
