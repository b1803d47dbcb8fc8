// node relay.mjs SOURCES SOCKET PROGRAM [ARGUMENT...]: the least that a second process between a terminal and its client can
// be: it passes bytes on, by the daemon's own way to the kernel, and does nothing else. What it takes is the price of that
// process, not of a daemon.
import { createServer } from 'node:net'
import { join } from 'node:path'
import { OwnTerminal } from './terminals.mjs'

const [, , sources, socket, ...command] = process.argv
const load = (name) => import(join(sources, 'src/sessions', name))
const [{ Master }, { loadNativePty }, { receiveDirectly, sendDirectly }] = await Promise.all(
  ['master.js', 'native-pty.js', 'pipe-handle.js'].map(load),
)
const terminal = new OwnTerminal({ Master, pty: loadNativePty() }, command)
createServer((client) => {
  terminal.onData((bytes) => sendDirectly(client, [bytes]))
  receiveDirectly(client, (bytes) => terminal.write(bytes))
  client.on('close', () => terminal.end())
  terminal.ended.then(() => process.exit())
}).listen(socket)
