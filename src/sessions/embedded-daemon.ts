/** For a host that is a session daemon's program too, such as one that is a single bundle. */
export { findDaemon } from './find-daemon.ts'
export { findKeeper, type KeeperSearch } from './keeper.ts'
export type { DaemonCommand } from './protocol.ts'
export { runDaemon } from './run-daemon.ts'
export { type DaemonStart, startDaemon } from './start-daemon.ts'
