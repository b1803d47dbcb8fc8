import type { IncomingMessage } from 'node:http'
import * as z from 'zod'
import { daemonName } from '../config.ts'
import { errorRecord, InstarError } from '../errors.ts'
import { answerJson } from '../http/answer.ts'
import { readJson } from '../http/body.ts'
import type { HttpLimits } from '../http/limits.ts'
import type { Area } from '../http/route.ts'
import type { TokenGate } from '../http/token-gate.ts'
import { methods, SessionId } from '../sessions/protocol.ts'
import type { Shown } from './shown.ts'
import { inputBytesMax, Terminal } from './terminal.ts'

const action = 'use terminals'
const bodyBytesMax = 262_144
const offsetPattern = /^\d{1,15}$/

/**
 * The sessions of the daemons: listed, opened, hung up, and each shown over a WebSocket of its own. To attach never starts
 * anything. For the owner of the home alone: a terminal can do whatever that user can.
 */
export function terminalsArea(controller: Shown, gate: TokenGate, limits: HttpLimits): Area {
  const { daemons } = controller
  const terminals = new Set<Terminal>()
  let attaching = 0
  let isClosed = false
  const unfollow = gate.onLeave(() => {
    for (const terminal of terminals) if (gate.guest(terminal.request) !== null) terminal.close(signedOut)
  })

  /** One daemon that cannot be asked does not hide what the others have. */
  async function listed(name: string) {
    try {
      return { name, sessions: await daemons.sessions(name).list(), failure: null }
    } catch (error) {
      return { name, sessions: [], failure: errorRecord(error) }
    }
  }

  async function attach(request: IncomingMessage, daemon: string, id: string): Promise<Terminal> {
    const offset = offsetIn(request)
    const client = await daemons.sessions(daemon).connect()
    try {
      const session = await client.session(id)
      if (offset > session.info.offset)
        throw new InstarError('PARAMETERS_INVALID', `offset: ${id} has printed ${session.info.offset} bytes so far`)
      return new Terminal(request, client, session, offset, limits.takeMs)
    } catch (error) {
      await client.close()
      throw error
    }
  }

  return {
    routes: [
      {
        path: /^\/console\/terminals$/,
        methods: ['GET'],
        async handle(request, response) {
          await gate.admitOwner(request, action)
          answerJson(response, { daemons: await Promise.all(daemons.names.map(listed)) })
        },
      },
      {
        path: /^\/console\/terminals\/([\w.-]{1,64})$/,
        methods: ['POST'],
        async handle(request, response, [daemon]) {
          await gate.admitOwner(request, action)
          const params = methods.open.params.safeParse(await readJson(request, bodyBytesMax))
          if (!params.success) throw new InstarError('PARAMETERS_INVALID', z.prettifyError(params.error))
          const session = await daemons.sessions(nameIn(daemon)).open(params.data)
          answerJson(response, { session: session.info }, 201)
        },
      },
      {
        path: /^\/console\/terminals\/([\w.-]{1,64})\/([\w.-]{1,64})$/,
        methods: ['DELETE'],
        async handle(request, response, [daemon, id]) {
          await gate.admitOwner(request, action)
          const session = await daemons.sessions(nameIn(daemon)).get(idIn(id))
          answerJson(response, { exit: await session.close() })
        },
      },
    ],
    upgrades: [
      {
        path: /^\/console\/terminals\/([\w.-]{1,64})\/([\w.-]{1,64})$/,
        async take(request, socket, head, [daemon, id]) {
          await gate.admitOwner(request, action)
          if (terminals.size + attaching >= limits.terminals)
            throw new InstarError('CONTROLLER_BUSY', `${limits.terminals} terminals are shown already`)
          attaching += 1
          try {
            // Imported when there is a terminal.
            const { WebSocketServer } = await import('ws')
            const terminal = await attach(request, nameIn(daemon), idIn(id))
            if (isClosed || socket.destroyed) {
              await terminal.release()
              throw new InstarError('CONTROLLER_BUSY', 'the controller is stopping')
            }
            const server = new WebSocketServer({ noServer: true, maxPayload: 2 * inputBytesMax, clientTracking: false })
            // What is no handshake it refuses by itself.
            socket.once('close', () => void terminal.release())
            server.handleUpgrade(request, socket, head, (web) => {
              terminals.add(terminal)
              void terminal.show(web).finally(() => terminals.delete(terminal))
            })
          } finally {
            attaching -= 1
          }
        },
      },
    ],
    async close() {
      isClosed = true
      unfollow()
      await Promise.all([...terminals].map((terminal) => terminal.close(restarting)))
    },
  }
}

const restarting = { code: 1012, reason: 'the controller stops; the session goes on' }
const signedOut = { code: 1008, reason: 'signed out' }

function nameIn(text: string | undefined): string {
  const { data } = daemonName.safeParse(text)
  if (data !== undefined) return data
  throw new InstarError('DAEMON_UNKNOWN', 'this cannot name a daemon')
}

function idIn(text: string | undefined): string {
  const { data } = SessionId.safeParse(text)
  if (data !== undefined) return data
  throw new InstarError('SESSION_UNKNOWN', 'this cannot name a session')
}

function offsetIn({ url = '' }: IncomingMessage): number {
  const offset = new URL(url, 'http://console').searchParams.get('offset') ?? '0'
  if (offsetPattern.test(offset)) return Number(offset)
  throw new InstarError('PARAMETERS_INVALID', 'offset: is a number of bytes')
}
