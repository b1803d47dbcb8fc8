// node attach.mjs SOURCES SOCKET SESSION: what `instar session attach` does, in the terminal that it is started in.
import { join } from 'node:path'

const [, , sources, path, id] = process.argv
const load = (name) => import(join(sources, 'src/sessions', name))
const [{ connectDaemon }, { attachTerminal }] = await Promise.all([load('client.js'), load('terminal.js')])
const client = await connectDaemon({ path })
await attachTerminal(await client.session(id), { client, detachKey: null })
await client.close()
