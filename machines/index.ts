/** The statecharts, by name. The `instar/machines` subpath. */
import { runtimeAdjust } from './runtime-adjust.ts'
import { runtimeLaunch } from './runtime-launch.ts'
import { runtimeUpdate } from './runtime-update.ts'

export type { Failure } from './effect.ts'
export { effect, failureOf } from './effect.ts'
export type * from './runtime.ts'
export type { Adjusted, Adjustment } from './runtime-adjust.ts'
export type { Child, Ended, Exit, LaunchContext, LaunchNotice, LaunchOutcome, LaunchResult } from './runtime-launch.ts'
export type { Evidence, UpdateContext, UpdateNotice, UpdateOutcome, UpdateResult } from './runtime-update.ts'
export { runtimeAdjust, runtimeLaunch, runtimeUpdate }

export const machines = {
  'runtime-adjust': runtimeAdjust,
  'runtime-launch': runtimeLaunch,
  'runtime-update': runtimeUpdate,
} as const

export type MachineName = keyof typeof machines
