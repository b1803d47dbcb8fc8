import type { HttpLimits } from '../http/limits.ts'
import type { Area } from '../http/route.ts'
import type { TokenGate } from '../http/token-gate.ts'
import { eventsArea } from './events.ts'
import { machinesArea } from './machines.ts'
import { pageArea } from './page.ts'
import { runsArea } from './runs.ts'
import { sessionArea } from './session.ts'
import type { Shown } from './shown.ts'
import { terminalsArea } from './terminals.ts'
import { verbsArea } from './verbs.ts'

/** The console: a page that anybody may load, for it holds no data, and what it asks for with the cookie of its browser. */
export function consoleAreas(
  controller: Shown,
  gate: TokenGate,
  limits: HttpLimits,
  log: (message: string) => void,
): readonly Area[] {
  return [
    pageArea(),
    sessionArea(gate),
    machinesArea(controller, gate),
    eventsArea(controller, gate, limits, log),
    runsArea(controller, gate),
    verbsArea(controller, gate, limits),
    terminalsArea(controller, gate, limits),
  ]
}
