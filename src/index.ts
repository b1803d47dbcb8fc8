/** What a host imports. */

export type { Candidate, Exit, Failure, ReleaseRef } from '../machines/index.ts'
export { type Config, loadConfig, parseConfig } from './config.ts'
export type { CloseOptions, Controller, ControllerState } from './controller.ts'
export type { Daemons } from './daemons.ts'
export { type EmbeddedOptions, openController } from './embedded.ts'
export { type ErrorRecord, errorFrom, errorRecord, InstarError, type InstarErrorCode } from './errors.ts'
export type { Logger } from './logger.ts'
export type { DaemonAsked, DaemonStatus, DaemonUpdate, ManagedDaemon } from './managed-daemon.ts'
export type {
  Asked,
  CheckOptions,
  CheckResult,
  LaunchOptions,
  ManagedRuntime,
  Running,
  RuntimeStatus,
} from './managed-runtime.ts'
export type { ManagedSessions } from './managed-sessions.ts'
export type { Procedures } from './procedures.ts'
export type { Notice } from './run/apply.ts'
export type { RunState } from './run/run.ts'
