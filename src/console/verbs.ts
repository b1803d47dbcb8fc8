import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { performVerb, takesToken, type VerbName } from '../control/verbs.ts'
import { InstarError } from '../errors.ts'
import { readJson } from '../http/body.ts'
import type { HttpLimits } from '../http/limits.ts'
import { type Area, Refused } from '../http/route.ts'
import type { TokenGate } from '../http/token-gate.ts'
import { Detached } from '../run/interpreter.ts'
import { RequestsOnce } from './requests-once.ts'
import type { Shown } from './shown.ts'

/** What a person reads and steers by. Nothing that takes or gives a secret, and nothing without an end. */
const offered: ReadonlySet<string> = new Set<VerbName>([
  'status',
  'runtime.list',
  'runtime.status',
  'runtime.check',
  'runtime.launch',
  'runtime.stop',
  'runtime.rollback',
  'runtime.ban',
  'runtime.unban',
  'runtime.prune',
  'daemon.list',
  'daemon.status',
  'daemon.start',
  'daemon.update',
  'daemon.restart',
  'daemon.stop',
  'plugin.install',
  'plugin.list',
  'plugin.verify',
  'plugin.rollback',
  'plugin.remove',
  'plugin.sweep',
  'plugin.check',
  'workspace.list',
  'workspace.add',
  'workspace.remove',
  'app.install',
  'app.configure',
  'app.restart',
  'app.list',
  'app.check',
  'app.upgrade',
  'app.beginUpgrade',
  'app.rollback',
  'app.pin',
  'app.unpin',
  'app.remove',
  'app.logs',
  'access.list',
  'access.remove',
  'credential.list',
  'credential.remove',
  'journal.read',
  'journal.runs',
  'journal.show',
])

const bodyBytesMax = 262_144
/** For what is aborted to end. */
const endMs = 5000
/** An answer may be as long as a page can make use of. */
const answerLengthMax = 16_777_216

/**
 * The verbs, by POST, through the code that the command line uses. What was begun goes on without the page that asked for
 * it; one that sends the same `X-Request-Id` again has the answer to its first request.
 */
export function verbsArea(controller: Shown, gate: TokenGate, limits: HttpLimits): Area {
  const closing = new AbortController()
  const context = { signal: closing.signal, progress: () => {}, deliver: async () => {} }
  const requests = new RequestsOnce(limits.verbs)

  async function perform(request: IncomingMessage, name: VerbName): Promise<string> {
    const isForMany = takesToken(name)
    if (isForMany) await gate.admit(request, { action: 'see the console' })
    else await gate.admitOwner(request, name)
    const asked = await readJson(request, bodyBytesMax)
    if (typeof asked !== 'object' || asked === null || Array.isArray(asked))
      throw new InstarError('PARAMETERS_INVALID', `${name} takes an object`)
    const token = gate.tokenFor(request)
    const params = isForMany ? { ...asked, token } : asked
    const id = request.headers['x-request-id']
    return requests.once(idOf(id), JSON.stringify([name, params]), async () => {
      const answer = JSON.stringify({ result: (await performVerb(controller, name, params, context)) ?? null })
      if (answer.length <= answerLengthMax) return answer
      throw new InstarError('CONTROL_TOO_LARGE', `the answer has more than ${answerLengthMax} characters`)
    })
  }

  return {
    routes: [
      {
        path: /^\/console\/verbs\/([A-Za-z.]{1,64})$/,
        methods: ['POST'],
        async handle(request, response, [name = '']) {
          if (!offered.has(name)) {
            await gate.admit(request, { action: 'see the console' })
            throw new InstarError('VERB_UNKNOWN', `the console has no verb "${name}"`)
          }
          // It may take longer than a silent connection is kept.
          const { socket } = request
          socket.setTimeout(0)
          const answer = await perform(request, name as VerbName).finally(() => socket.setTimeout(limits.silenceMs))
          response.writeHead(200, { 'Content-Type': 'application/json' })
          response.end(answer)
        },
      },
    ],
    async close() {
      closing.abort(new Detached())
      await Promise.race([requests.settled(), sleep(endMs, undefined, { ref: false })])
    },
  }
}

function idOf(header: string | string[] | undefined): string | null {
  if (header === undefined) return null
  if (typeof header === 'string' && /^[\w-]{8,64}$/.test(header)) return header
  throw new Refused(400, new InstarError('PARAMETERS_INVALID', 'X-Request-Id has 8 to 64 letters, digits, "-" and "_"'))
}
