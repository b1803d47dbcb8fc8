import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { AppConnection } from '../../src/apps/app-connection.ts'
import { recordPath } from '../../src/runtime/child.ts'
import { shellServer } from '../support/apps/shell-server.ts'
import { Trial } from '../support/runtimes/trial.ts'

test('a start that is given up when its process runs already, leaves nothing, and no rejection without a reader', async () => {
  await using trial = await Trial.begin()
  const unread: unknown[] = []
  const note = (reason: unknown) => unread.push(reason)
  process.on('unhandledRejection', note)
  try {
    const executable = join(trial.folder, 'server')
    await writeFile(executable, shellServer('hello'), { mode: 0o755 })
    const place = { key: 'given-up', recordDirectory: trial.records }
    const giveUp = new AbortController()
    const opening = AppConnection.open({
      name: 'files in acme',
      release: { version: '1.0.0', digest: 'sha256-0' },
      child: { ...place, executable, args: [], cwd: trial.folder },
      handshakeTimeoutMs: 10_000,
      isSuccessor: true, // one more thing that is awaited before the handshake
      signal: giveUp.signal,
    })
    while (!existsSync(recordPath(place))) await new Promise(setImmediate)
    giveUp.abort('the controller closes')

    await expect(opening).rejects.toBe('the controller closes')
    await new Promise(setImmediate)
    expect({ unread, left: await trial.leftovers() }).toEqual({ unread: [], left: [] })
  } finally {
    process.off('unhandledRejection', note)
  }
})
