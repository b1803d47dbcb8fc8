import type { AnyStateMachine } from 'xstate'
import { type MachineName, machines } from '../../machines/index.ts'
import { drawingOf } from '../diagram/drawing.ts'
import { InstarError } from '../errors.ts'
import { answerJson } from '../http/answer.ts'
import type { Area } from '../http/route.ts'
import type { TokenGate } from '../http/token-gate.ts'
import type { Shown } from './shown.ts'

const asked = { action: 'see the console' }

/** What each machine is, and how those of this package are drawn; a host's own are drawn by the page. */
export function machinesArea({ procedures }: Pick<Shown, 'procedures'>, gate: TokenGate): Area {
  return {
    routes: [
      {
        path: /^\/console\/machines$/,
        methods: ['GET'],
        async handle(request, response) {
          await gate.admit(request, asked)
          answerJson(response, await described(procedures.machines))
        },
      },
      {
        path: /^\/console\/machines\/([a-z-]{1,64})\.svg$/,
        methods: ['GET'],
        async handle(request, response, [name = '']) {
          await gate.admit(request, asked)
          if (!Object.hasOwn(machines, name)) throw new InstarError('MACHINE_UNKNOWN', `there is no machine "${name}"`)
          const [drawing, { withoutStyle }] = await Promise.all([drawingOf(name), import('../diagram/svg.ts')])
          response.writeHead(200, { 'Content-Type': 'image/svg+xml' })
          response.end(withoutStyle(drawing))
        },
      },
    ],
  }
}

async function described(procedures: Readonly<Record<string, AnyStateMachine>>) {
  const { describeMachine } = await import('../diagram/describe.ts')
  const told = ([name, machine]: [string, AnyStateMachine]) => {
    const definition = describeMachine(machine)
    const { description = null } = definition.nodes[0]!
    const svg = machine === machines[name as MachineName] ? `/console/machines/${name}.svg` : null
    return { name, title: titleOf(name), description, definition, svg }
  }
  return Object.entries({ ...procedures, ...machines }).map(told)
}

const titleOf = (name: string) => `${name[0]!.toUpperCase()}${name.slice(1).replaceAll('-', ' ')}`
