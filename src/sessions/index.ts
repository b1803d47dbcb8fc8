/** The client of session daemons alone: for a program that shows terminals and is no controller. */
export { InstarError, type InstarErrorCode } from '../errors.ts'
export {
  type Asking,
  type Chunk,
  type ClientEvent,
  type ConnectOptions,
  connectDaemon,
  type DaemonClient,
  type From,
  type Gap,
  type Output,
  type OutputOptions,
  type Reconnecting,
  type Session,
} from './client.ts'
export {
  type DaemonEvent,
  type DaemonInfo,
  type HandoffResult,
  type ParamsOf,
  protocolVersion,
  type SessionExit,
  type SessionInfo,
  type Size,
} from './protocol.ts'
