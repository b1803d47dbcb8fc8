// node discard.mjs SOCKET SESSION...: a client that takes all of their output and does nothing with it.
import { connect } from 'node:net'
import { frameTypes, jsonFrame, numberedFrame } from '../dist/src/sessions/protocol.js'

const [, , socket, ...sessions] = process.argv
const connection = connect(socket)
connection.write(jsonFrame(frameTypes.hello, { protocols: [1], client: 'discard', capabilities: [] }))
for (const [index, session] of sessions.entries())
  connection.write(numberedFrame(frameTypes.request, index + 1, { method: 'attach', params: { session, from: 'end' } }))
connection.resume()
