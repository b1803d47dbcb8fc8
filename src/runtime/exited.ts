import type { Child, Exit } from '../../machines/runtime-launch.ts'
import { InstarError } from '../errors.ts'
import { familyOf } from './child.ts'
import { lastOutput, reasonIn } from './output.ts'
import { portHolder } from './ports.ts'

/**
 * Says how a runtime ended, with what it printed last and who holds its port now: what `attribute` needs to tell whose
 * fault it was. To be called before the child's files are removed.
 *
 * `RUNTIME_EXITED`, with `details`: `code`, `signal`, `lost`, `output` (its last lines), `portHolder`.
 */
export async function runtimeExited(child: Child, exit: Exit): Promise<InstarError> {
  const output = await lastOutput(child.record)
  const family = await familyOf(child, true)
  const holder = await portHolder(child.port, new Set(family.map(({ pid }) => pid)))
  const { code, signal, lost } = exit
  const how = lost ? 'while nobody watched' : signal === null ? `with code ${code}` : `by ${signal}`
  const reason = reasonIn(output)
  return new InstarError('RUNTIME_EXITED', `the runtime ended ${how}${reason && `: ${reason}`}`, {
    details: {
      code,
      signal,
      lost,
      output: [output.stderr, output.stdout].filter((text) => text !== '').join('\n'),
      portHolder: holder,
    },
  })
}
