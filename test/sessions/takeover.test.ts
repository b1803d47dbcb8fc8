import { expect, test } from 'vitest'
import { Takeover } from '../../src/sessions/takeover.ts'

test('a client that the system cannot let in for want of anything is no reason to end', async () => {
  const said: string[] = []
  const takeover = new Takeover({
    name: 'main',
    directory: '/nowhere',
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
