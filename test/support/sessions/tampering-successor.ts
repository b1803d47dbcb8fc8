import { spawn } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { Socket } from 'node:net'
import { withNumbers } from '../../../src/sessions/draft.ts'
import { descriptors } from '../../../src/sessions/handoff.ts'
import type { Delta, Numbers } from '../../../src/sessions/snapshot.ts'
import { StateStream } from '../../../src/sessions/state-stream.ts'

/**
 * Stands between a predecessor and a real successor, and changes what the predecessor says, in the way that its second
 * argument says; its first is the daemon's program. It must be started without Node's channel in its environment: that
 * is for the real successor, and so are all other descriptors.
 */
export type Tampering = keyof typeof tamperings

type Message = { type: string; [field: string]: any }

const absurd = 1_000_000_000

const tamperings = {
  'a descriptor that is no terminal': {
    plan: ({ sessions }) => {
      sessions[0].descriptor = 900_000
    },
  },
  'the descriptor of another session': {
    plan: ({ sessions }) => {
      sessions[0].descriptor = sessions[1].descriptor
    },
  },
  'a dead pid': {
    plan: ({ sessions }) => {
      sessions[0].identity.pid = 2 ** 22 - 3
    },
  },
  'a session twice': { plan: ({ sessions }) => sessions.push(sessions[0]) },
  'sizes of 10^9': {
    plan: ({ sessions }) => {
      sessions[0].identity.size = { columns: absurd, rows: absurd }
    },
  },
  'another format version': {
    plan: (plan) => {
      plan.format = 2
    },
  },
  'no list of sessions': {
    plan: (plan) => {
      plan.sessions = 'none'
    },
  },
  'sizes of 10^9 in the draft': {
    draft: ({ sessions }) => {
      sessions[0].size = { columns: absurd, rows: absurd }
    },
  },
  'a session that is not in the draft': { draft: ({ sessions }) => sessions.shift() },
  'a number that is none': {
    numbers: ({ numbers }) => {
      numbers[0] = -1
    },
  },
  'sizes of 10^9 in the delta': {
    delta: ({ sessions }) => {
      sessions[0].size = { columns: absurd, rows: absurd }
    },
  },
  'a session twice in the delta': { delta: ({ sessions }) => sessions.push(sessions[0]) },
  'a session that is not in the delta': { delta: ({ sessions }) => sessions.shift() },
  'bytes that are not there': {
    delta: ({ sessions }) => {
      sessions[0].input = { at: absurd, length: absurd }
    },
  },
} satisfies Record<string, { readonly [type: string]: (message: Message) => unknown }>

const [, , main, tampering, ...args] = process.argv as [string, string, string, Tampering, ...string[]]

const predecessor = new StateStream(new Socket({ fd: descriptors.state }))
const inherited = [...readdirSync('/proc/self/fd')].map(Number).filter((fd) => {
  try {
    return fd >= descriptors.firstMaster && readlinkSync(`/proc/self/fd/${fd}`).endsWith('/ptmx')
  } catch {
    return false // the folder's own
  }
})
const child = spawn(process.execPath, [main, ...args], {
  env: { ...process.env, NODE_CHANNEL_FD: String(descriptors.channel) },
  stdio: ['ignore', 1, 2, 3, 4, 'pipe', descriptors.channel, 7, ...inherited],
})
const successor = new StateStream(child.stdio.at(5) as Socket)
child.on('exit', (code) => process.exit(code ?? 1))

async function pass(from: StateStream, to: StateStream, changed: (message: Message) => Message): Promise<void> {
  try {
    for (;;) {
      const { json, bytes } = await from.next()
      await to.send(changed(json as Message), bytes)
    }
  } catch {
    child.kill('SIGKILL') // one of them is gone
  }
}

let draft: Message

void pass(successor, predecessor, (message) => message)
void pass(predecessor, successor, (message) => {
  const changes: { readonly [type: string]: (message: Message) => unknown } = tamperings[tampering]
  if (message.type === 'draft') draft = { ...message, type: 'delta' }
  // It says the whole delta only where more than numbers has changed.
  const said = message.type === 'numbers' && 'delta' in changes ? wholeDelta(message) : message
  changes[said.type]?.(said)
  return said
})

function wholeDelta(message: Message): Message {
  const { frozenAtMs, numbers } = message as unknown as Numbers
  return withNumbers(draft as unknown as Delta, frozenAtMs, numbers)
}
