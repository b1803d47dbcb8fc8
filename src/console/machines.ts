import { machines } from '../../machines/index.ts'
import { drawingOf } from '../diagram/drawing.ts'
import { InstarError } from '../errors.ts'
import { answerJson } from '../http/answer.ts'
import type { Area } from '../http/route.ts'
import type { TokenGate } from '../http/token-gate.ts'

const asked = { action: 'see the console' }

/** What each machine is, and how it is drawn. */
export function machinesArea(gate: TokenGate): Area {
  return {
    routes: [
      {
        path: /^\/console\/machines$/,
        methods: ['GET'],
        async handle(request, response) {
          await gate.admit(request, asked)
          answerJson(response, await described())
        },
      },
      {
        path: /^\/console\/machines\/([a-z-]{1,64})\.svg$/,
        methods: ['GET'],
        async handle(request, response, [name = '']) {
          await gate.admit(request, asked)
          if (!Object.hasOwn(machines, name)) throw new InstarError('MACHINE_UNKNOWN', `there is no machine "${name}"`)
          const [drawing, { statechartStyle }] = await Promise.all([drawingOf(name), import('../diagram/svg.ts')])
          response.writeHead(200, { 'Content-Type': 'image/svg+xml' })
          // The policy allows no style in it; a page has it in a file of its own.
          response.end(drawing.replace(`<style>${statechartStyle}</style>\n`, ''))
        },
      },
    ],
  }
}

async function described() {
  const { describeMachine } = await import('../diagram/describe.ts')
  return Object.entries(machines).map(([name, machine]) => {
    const definition = describeMachine(machine)
    const { description = null } = definition.nodes[0]!
    return { name, title: titleOf(name), description, definition, svg: `/console/machines/${name}.svg` }
  })
}

const titleOf = (name: string) => `${name[0]!.toUpperCase()}${name.slice(1).replaceAll('-', ' ')}`
