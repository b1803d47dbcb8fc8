import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { InstarError } from '../errors.ts'
import { type Command, exit } from './cli.ts'
import { type Reached, reachController } from './reach.ts'
import { tokenOf } from './token.ts'

interface Options {
  readonly workspace?: string
  readonly org?: true
}

/**
 * An MCP server on stdio: what comes in is passed on to the controller, which has the apps, and what it says comes out. Ends
 * when the client closes its side.
 */
export const mcp: Command<[options: Options]> = async (cli, { workspace, org = false }) => {
  if ((workspace !== undefined) === org)
    throw new InstarError('USAGE', 'name a workspace with --workspace, or give --org')
  await using controller = await reachController(cli)
  const over = new AbortController()
  const signal = AbortSignal.any([cli.signal, over.signal])
  let reading: Promise<void> | undefined
  const onProgress = async (part: unknown) => {
    const { session } = part as { session?: string }
    if (session === undefined) await write(part)
    else reading = passOn(controller, session).finally(() => over.abort())
  }
  const params = workspace === undefined ? {} : { workspace }
  try {
    await controller.perform('mcp.open', { ...params, ...(await tokenOf(cli)) }, { signal, onProgress })
  } catch (error) {
    if (!over.signal.aborted) throw error
  }
  await reading
  return exit.done
}

/** Resolves when the client has closed its side, and everything it said is passed on. */
async function passOn(controller: Reached, session: string): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue
    // Where nobody is there any more, what was opened says so.
    await controller.tell('mcp.send', { session, message: messageIn(line) }).catch(() => {})
  }
}

function messageIn(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null // refused as any other that is none
  }
}

async function write(message: unknown): Promise<void> {
  if (!process.stdout.write(`${JSON.stringify(message)}\n`)) await once(process.stdout, 'drain')
}
