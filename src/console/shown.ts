import type { Served } from '../control/verbs.ts'
import type { Controller } from '../controller.ts'
import type { Daemons } from '../daemons.ts'
import type { Procedures } from '../procedures.ts'

/** What the console needs of a controller. */
export type Shown = Served &
  Pick<Controller, 'watch' | 'history'> & {
    readonly daemons: Pick<Daemons, 'names' | 'sessions'>
    readonly procedures: Pick<Procedures, 'machines'>
  }
