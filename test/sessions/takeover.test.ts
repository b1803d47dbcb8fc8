import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Takeover } from '../../src/sessions/takeover.ts'

test('a client that the system cannot let in for want of anything is no reason to end', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'instar-takeover-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const said: string[] = []
  const takeover = new Takeover({
    name: 'main',
    directory,
    settings: { scrollbackBytes: 1, shell: '/bin/sh' },
    keeper: null,
    log: (message) => said.push(message),
    handOver: () => Promise.reject(new Error('nobody asks')),
    stopped: () => {},
    restart: () => [],
    listen: async () => {},
  })
  await takeover.adopt('start', new AbortController().signal)
  takeover.daemon.options.server.emit('error', new Error('accept ENFILE'))
  expect(said).toEqual(['the listening socket: Error: accept ENFILE'])
})
