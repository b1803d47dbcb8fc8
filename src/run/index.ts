/** The durable interpreter, for machines of a host's own. The `instar/run` subpath. */
export type { Notice } from './apply.ts'
export type { AnyFlow, Effect, EffectContext, EffectsOf, Flow, Migration } from './flow.ts'
export { type Change, Detached, Interpreter, type InterpreterOptions, type StartOptions } from './interpreter.ts'
export { lintMachine } from './lint.ts'
export type { RecordLog } from './log.ts'
export type { RunState } from './run.ts'
export type { Clock } from './timers.ts'
