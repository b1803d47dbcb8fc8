import { machines } from '../../machines/index.ts'
import { drawingOf } from '../diagram/drawing.ts'
import { InstarError } from '../errors.ts'
import { didYouMean } from '../nearest.ts'
import { type Command, exit } from './cli.ts'
import { table } from './text.ts'

export const list: Command<[]> = async ({ output }) => {
  const known = Object.entries(machines).map(([name, machine]) => ({
    name,
    version: machine.version ?? null,
    states: Object.keys(machine.states),
  }))
  await output.document({ machines: known }, () =>
    table(
      ['NAME', 'VERSION', 'STATES'],
      known.map(({ name, version, states }) => [name, version, states.join(' ')]),
    ),
  )
  return exit.done
}

export const exportOne: Command<[name: string, format: 'mermaid' | 'svg' | 'json']> = async (
  { output },
  name,
  format,
) => {
  const machine = Object.hasOwn(machines, name) ? machines[name as keyof typeof machines] : undefined
  if (machine === undefined)
    throw new InstarError('MACHINE_UNKNOWN', `there is no machine "${name}"${didYouMean(name, Object.keys(machines))}`)
  if (format === 'svg') {
    await output.print(await drawingOf(name))
    return exit.done
  }
  const { describeMachine } = await import('../diagram/describe.ts')
  const description = describeMachine(machine)
  if (format === 'json') await output.print(`${JSON.stringify({ schema: 1, machine: description })}\n`)
  else await output.print((await import('../diagram/mermaid.ts')).toMermaid(description))
  return exit.done
}
