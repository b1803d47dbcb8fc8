import * as z from 'zod'
import { InstarError } from '../errors.ts'
import { answerJson } from '../http/answer.ts'
import { readJson } from '../http/body.ts'
import { type Area, Refused } from '../http/route.ts'
import type { TokenGate } from '../http/token-gate.ts'

const bodyBytesMax = 4096
const signingIn = z.strictObject({ token: z.string().max(1000) })

/** Signs a browser in and out, and tells it who it is. */
export function sessionArea(gate: TokenGate): Area {
  return {
    routes: [
      {
        path: /^\/console\/session$/,
        methods: ['GET', 'POST', 'DELETE'],
        async handle(request, response) {
          if (request.method === 'GET') {
            const guest = gate.guest(request)
            // A page that looks whether it is signed in has not been refused anything.
            if (guest === undefined) throw new Refused(401, new InstarError('PERMISSION_DENIED', 'nobody is signed in'))
            const { role, workspace } = guest ?? { role: 'owner', workspace: null }
            answerJson(response, { role, workspace })
            return
          }
          const cookie =
            request.method === 'POST'
              ? await gate.signIn(tokenIn(await readJson(request, bodyBytesMax)))
              : await gate.signOut(request)
          response.writeHead(204, { 'Set-Cookie': cookie })
          response.end()
        },
      },
    ],
  }
}

function tokenIn(body: unknown): string {
  const { data } = signingIn.safeParse(body)
  if (data !== undefined) return data.token
  throw new Refused(400, new InstarError('PARAMETERS_INVALID', 'to sign in means to send { "token": "…" }'))
}
